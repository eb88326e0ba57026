"""What a base holds of words at low layers, read in pieces: new tokens, and some of its own that are split for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.spans import Spans
from tokswap.judging import Progress, held_out
from tokswap.pieces import spell
from tokswap.plan import Plan
from tokswap.states import GAP, encoder, fitting_windows

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.texts import Text
    from tokswap.methods import Pieces

# Of how many shared tokens of the text one is read in pieces, so that the others are left as context.
SPLIT_ONE_IN = 2
# Layers that are read at the most, evenly from the first to the middle of the body.
MOST_LAYERS = 6


@dataclass(frozen=True)
class InnerReading:
    """States at the last pieces, averaged over the places of each token in the texts that are not held out.

    `known` Float32[l k d] of k base tokens in l layers and `misses` Float32[k e], their input rows less the mean of
    their pieces'; `new` Float32[l r d] of the new tokens `ids` Int[r], and `means` Float32[r e] of their pieces' rows.
    """

    known: Tensor
    misses: Tensor
    new: Tensor
    means: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Spelling:
    """Token → the base ids that it is read as. The states of `known`, shared tokens in pieces, and of `new` are wanted.

    All are ids of the new vocabulary.
    """

    pieces: dict[int, list[int]]
    known: list[int]
    new: list[int]

    @cached_property
    def slots(self) -> dict[int, int]:
        """A number for each token whose states are wanted, those of the known ones first."""
        return {token: slot for slot, token in enumerate([*self.known, *self.new])}


def read_inside(
    plan: Plan, lm: LanguageModel, texts: list[Text], tokenizer: Any, on_progress: Progress | None = None
) -> InnerReading:
    """Run the base over `texts`, once, cut as the new `tokenizer` (its tokenizer.json) cuts them."""
    import torch

    documents = list(map(encoder(tokenizer, plan.new_vocab), (d for text in texts for d in text.documents)))
    spelling = _spelling(plan, np.unique(np.concatenate([ids for ids, _ in documents])))
    layers = inner_layers(lm)
    told = None if on_progress is None else partial(on_progress, "calibrate: words in pieces")
    table = lm.model.get_input_embeddings().weight
    sums = torch.zeros(len(layers), len(spelling.slots), plan.base.hidden_size)
    seen = torch.zeros(len(spelling.slots))
    offset = 0
    for done, (ids, spans) in enumerate(documents, 1):
        _read_document(plan, lm, layers, _cut(ids, spans, spelling, offset), sums, seen)
        offset += spans.length + GAP
        if told is not None:
            told(done, len(documents))
    mean = sums / seen.clamp_min(1)[:, None]
    known, new = ([i for i in its if seen[spelling.slots[i]]] for its in (spelling.known, spelling.new))
    own = table[torch.from_numpy(plan.alignment.source[known])].float().cpu()

    def pick(ids: list[int]) -> Tensor:
        return mean[:, [spelling.slots[i] for i in ids]]

    return InnerReading(
        known=pick(known),
        misses=own - _means(table, [spelling.pieces[i] for i in known]),
        new=pick(new),
        means=_means(table, [spelling.pieces[i] for i in new]),
        ids=torch.tensor(new, dtype=torch.long),
    )


def inner_layers(lm: LanguageModel) -> list[int]:
    """Return the layers that are read, 1 being what comes out of the first."""
    half = max(1, int(lm.model.config.get_text_config().num_hidden_layers) // 2)
    return sorted({round(layer) for layer in np.linspace(1, half, min(MOST_LAYERS, half)).tolist()})


def _spelling(plan: Plan, used: NDArray[np.int64]) -> Spelling:
    """Decide how the ids `used` are read: new ones, and one in SPLIT_ONE_IN of the shared, in pieces."""
    source = plan.alignment.source
    copied = {int(i): [int(source[i])] for i in used if source[i] >= 0}
    shared = used[np.isin(used, plan.alignment.anchor_ids)].tolist()
    split = [i for i in shared if len(plan.new_vocab.bytes_of(i)) > 1][::SPLIT_ONE_IN]
    known = {
        i: its for i, its in _spelt(plan, split, {int(source[i]) for i in split}).items() if len(its) > 1
    }
    others = {
        i: its for i, its in _spelt(plan, [int(i) for i in used if source[i] < 0], set()).items() if its
    }
    made = set(
        plan.alignment.new_ids.tolist()
    )  # composed and silent tokens are spelt too, and keep their rows
    return Spelling(copied | known | others, list(known), [i for i in others if i in made])


def _spelt(plan: Plan, ids: list[int], without: set[int]) -> dict[int, list[int]]:
    """Return new id → the base's pieces of its bytes; none where the base can't spell them all."""
    tokens = [plan.new_vocab.bytes_of(i) for i in ids]
    pieces = spell(plan.base.tokenizer, plan.base_vocab, tokens, without)
    return {i: p if whole else [] for i, p, whole in zip(ids, *_lists(pieces, tokens), strict=True)}


def _lists(pieces: Pieces, tokens: Sequence[bytes]) -> tuple[list[list[int]], list[bool]]:
    ids, lengths, starts = pieces.ids.tolist(), pieces.lengths.tolist(), pieces.starts.tolist()
    borders = list(pairwise(starts))
    whole = [sum(lengths[a:b]) == len(token) for (a, b), token in zip(borders, tokens, strict=True)]
    return [ids[a:b] for a, b in borders], whole


@dataclass(frozen=True)
class _Cut:
    """A document in base ids; `slots` Int[n] of what ends at each id, -1 for nothing that is wanted."""

    ids: NDArray[np.int64]
    slots: NDArray[np.int64]
    spans: Spans


def _cut(ids: NDArray[np.int64], spans: Spans, spelling: Spelling, offset: int) -> _Cut:
    """Spell a document; what is held out has no slot. A piece ends, for windows, where its token does."""
    import torch

    judged = held_out(torch.from_numpy(spans.starts + offset)).tolist()
    out: list[int] = []
    slots: list[int] = []
    ends: list[int] = []
    for token, end, hidden in zip(ids.tolist(), spans.ends.tolist(), judged, strict=True):
        parts = spelling.pieces.get(token, [])
        out += parts
        ends += [end] * len(parts)
        slots += [-1] * (len(parts) - 1) + (
            [-1 if hidden else spelling.slots.get(token, -1)] if parts else []
        )
    if ends:
        ends[-1] = spans.length
    cut = Spans(np.array(ends or [spans.length], dtype=np.int64), spans.length, exact=False)
    return _Cut(np.array(out, dtype=np.int64), np.array(slots, dtype=np.int64), cut)


def _read_document(
    plan: Plan, lm: LanguageModel, layers: list[int], cut: _Cut, sums: Tensor, seen: Tensor
) -> None:
    """Add the states at the last pieces to `sums` Float32[l slots d], and their number to `seen`."""
    import torch

    if not len(cut.ids):
        return
    start = [] if plan.base_vocab.start_id is None else [plan.base_vocab.start_id]
    for window in fitting_windows(cut.spans, lm.max_tokens):
        wanted = np.flatnonzero(cut.slots[window.start : window.stop] >= 0) + window.start
        if not len(wanted):
            continue
        read = start + cut.ids[window.first : window.stop].tolist()
        states = hidden_states(lm, torch.tensor([read]), layers)
        at = torch.from_numpy(wanted - window.first + len(start))
        slots = torch.from_numpy(cut.slots[wanted])
        sums.index_add_(1, slots, states[:, at])
        seen.index_add_(0, slots, torch.ones(len(slots)))


def hidden_states(lm: LanguageModel, ids: Tensor, layers: list[int]) -> Tensor:
    """Return Float32[l T d]: what comes out of these layers for ids Int[1 T]."""
    import torch

    from tokswap.evaluation.head import captured

    with torch.no_grad(), captured(lm.model, skip_head=True):
        out: Any = lm.model(input_ids=ids.to(lm.device), output_hidden_states=True, use_cache=False)
    return torch.stack([out.hidden_states[layer][0].float().cpu() for layer in layers])


def _means(table: Tensor, pieces: list[list[int]]) -> Tensor:
    """Return Float32[n e]: the mean of the rows of each list of ids."""
    import torch

    rows = [table[parts].float().mean(0).cpu() for parts in pieces]
    return torch.stack(rows) if rows else torch.zeros(0, table.shape[1])
