"""How many of a draft's tokens its target would keep, beside what the draft could do under its own tokenizer.

Both models read a text, and at each of its tokens what they expect next is compared. Where the draft came from is
asked the same at the places where its own tokens begin too. Tokens are all that it can propose there: those that both
vocabularies have, with its probabilities of them renormalised (Timor et al. 2025, arXiv:2502.05202, algorithm TLI,
which transformers calls universal speculative decoding).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.align import align
from tokswap.errors import TokswapError
from tokswap.evaluation.acceptance_figures import Accepted, acceptance_report
from tokswap.evaluation.arm import Arm, Tokenized, document_windows, fit_windows, open_arm
from tokswap.evaluation.texts import Text
from tokswap.report import Report
from tokswap.speculation import greedy_acceptance, sampled_acceptance

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.spans import Window
    from tokswap.vocab import Vocab

WINDOW_BYTES = 2048
SLICE_BYTES = 64 * 1024**2
"""Bytes of one slice of one model's fp32 logits: some six arrays of this size live at once."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Side:
    """A loaded model and what turns documents into its states; `start_id` stands before every window."""

    arm: Arm
    lm: LanguageModel
    start_id: int


@dataclass(frozen=True)
class Shared:
    """Int[m] `target` ids and the `own` ids of the same bytes, by place; `bytes_of` both sides' ids."""

    target: Tensor
    own: Tensor
    target_bytes: Callable[[int], bytes]
    own_bytes: Callable[[int], bytes]


def measure_acceptance(
    draft: Checkpoint,
    target: Checkpoint,
    texts: Mapping[str, Text],
    *,
    against: Checkpoint | None = None,
    tokens: int | None = None,
    cost: float | None = None,
    device: str = "auto",
    dtype: str = "auto",
    max_bytes: int | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Report:
    """Return greedy and sampled acceptance of `draft` by `target` on `texts`, and the speed that follows from it.

    `against` is the model that the draft came from, asked under its own tokenizer. `tokens` are drafted for one call
    of the target, None standing for the best number. `cost` is the time of one token of the draft over one call of the
    target, None standing for the bytes of weights that each reads. All models are in memory at once.

    Raises TokswapError for a draft of another vocabulary than the target's, and for models, texts and numbers that
    can't be used.
    """
    _check_numbers(texts, tokens, cost)
    if max_bytes is not None:
        texts = {name: text.first(max_bytes) for name, text in texts.items()}
    arms = [open_arm(its) for its in (target, draft, against) if its is not None]
    require_same_ids(arms[1].vocab, arms[0].vocab)
    documents = {name: [arms[0].tokenize(d) for d in text.documents] for name, text in texts.items()}
    own = {name: [arms[-1].tokenize(d) for d in text.documents] for name, text in texts.items()}
    flat = [its for several in documents.values() for its in several]
    own_flat = [its for several in own.values() for its in several]
    window, stride = fit_windows(
        [(arms[0], flat), (arms[1], flat), (arms[-1], own_flat)], WINDOW_BYTES, WINDOW_BYTES // 2
    )
    sides = [_load(arm, arms[0] if i < 2 else arm, device, dtype, on_progress) for i, arm in enumerate(arms)]
    shared = _shared_tokens(arms[0].vocab, arms[2].vocab, sides[0].lm) if against is not None else None
    found: dict[str, list[Accepted]] = {name: [] for name in texts}
    done, total = 0, sum(text.bytes for text in texts.values())
    for name, several in documents.items():
        for document, its in zip(several, own[name], strict=True):
            if on_progress is not None:
                on_progress("accept", done, total)
            found[name].append(_compare(sides, document, its, (window, stride), shared))
            done += document.spans.length
    return acceptance_report(
        found, draft=draft, target=target, base=against, tokens=tokens, cost=cost, seed=seed, texts=texts,
        facts={"device": str(sides[0].lm.device), "dtype": str(sides[0].lm.dtype).removeprefix("torch.")},
    )  # fmt: skip


def require_same_ids(draft: Vocab, target: Vocab) -> None:
    """Raise TokswapError unless both give every id the same token and have as many rows."""
    hint = "make one that fits with: tokswap transplant --base DRAFT --for-draft-of TARGET --out DIR"
    if draft.rows != target.rows:
        raise TokswapError(
            f"the draft's vocabulary has {draft.rows:,} rows and the target's {target.rows:,}: no engine takes it",
            hint,
        )
    ours, theirs = (
        {i: text for i, text in zip(v.ids.tolist(), v.texts, strict=True) if i < v.rows}
        for v in (draft, target)
    )
    if ours == theirs:
        return
    first = min(i for i in ours.keys() | theirs.keys() if ours.get(i) != theirs.get(i))
    raise TokswapError(
        f"id {first} is {ours.get(first)!r} to the draft and {theirs.get(first)!r} to the target", hint
    )


def predicting_states(
    lm: LanguageModel, ids: NDArray[np.int64], windows: Sequence[Window], start_id: int
) -> Tensor:
    """Return Float[n d]: the final state from which each of a document's tokens is predicted, in its window."""
    import torch

    from tokswap.evaluation.language_model import final_states

    parts: list[Tensor] = []
    for window in windows:
        read = [start_id, *ids[window.first : window.stop - 1].tolist()]
        states = final_states(lm, torch.tensor([read]))[0]
        parts.append(states[window.start - window.first : window.stop - window.first])
    return torch.cat(parts)


def _check_numbers(texts: Mapping[str, Text], tokens: int | None, cost: float | None) -> None:
    if not texts:
        raise TokswapError("there is no text to measure on", "name a file of plain text, or leave out --text")
    if tokens is not None and tokens < 1:
        raise TokswapError(f"{tokens} tokens can't be drafted", "give 1 or more with --tokens")
    if cost is not None and not 0 < cost < 1e6:
        raise TokswapError(f"a cost of {cost} is no ratio of times", "give a number above 0 with --cost")


def _load(arm: Arm, starting: Arm, device: str, dtype: str, on_progress: Progress | None) -> Side:
    from tokswap.evaluation.language_model import load_language_model

    if on_progress is not None:
        on_progress(f"load {arm.source}", 0, 1)
    lm = load_language_model(arm.folder, known_ids=arm.vocab.ids, device=device, dtype=dtype)
    return Side(arm, lm, starting.start_id)


def _shared_tokens(target: Vocab, own: Vocab, lm: LanguageModel) -> Shared:
    import torch

    alignment = align(own, target)
    ids = alignment.anchor_ids[alignment.anchor_ids < lm.rows]
    if not len(ids):
        raise TokswapError(
            "the model that the draft came from shares no token with the target",
            "leave out --against: it could propose nothing",
        )
    new, old = torch.from_numpy(ids), torch.from_numpy(alignment.source[ids])
    return Shared(new.to(lm.device), old.to(lm.device), target.bytes_of, own.bytes_of)


def _compare(
    sides: Sequence[Side], document: Tokenized, own: Tokenized, size: tuple[int, int], shared: Shared | None
) -> Accepted:
    """Compare what the models expect at each token of a document; the third one where its own tokens begin."""
    import torch

    from tokswap.evaluation.language_model import logits

    states = [
        predicting_states(side.lm, its.ids, document_windows(its, *size), side.start_id)
        for side, its in zip(sides, (document, document, own), strict=False)
    ]
    at, own_at = common_borders(document.spans.starts, own.spans.starts) if shared else ([], [])
    places = np.full(len(document.ids), -1)
    places[at] = own_at
    columns: list[Tensor] = []
    step = max(1, SLICE_BYTES // (4 * sides[0].lm.rows))
    for first in range(0, len(document.ids), step):
        part = slice(first, first + step)
        target = logits(sides[0].lm, states[0][part])
        draft = logits(sides[1].lm, states[1][part]).to(target.device)
        p = target.softmax(-1)
        rows = torch.zeros(5, len(p), device=p.device)
        rows[0] = greedy_acceptance(target, draft)
        rows[1] = sampled_acceptance(p, draft.softmax(-1))
        if shared is not None and (there := np.flatnonzero(places[part] >= 0)).size:
            theirs = logits(sides[2].lm, states[2][places[part][there]]).to(p.device)
            rows[2:, there] = _under_own_tokens(p[there], theirs, shared)
        columns.append(rows.cpu())
    found = torch.cat(columns, dim=1).numpy().astype(np.float64)
    return Accepted(found[0], found[1], places >= 0, found[2], found[3], found[4])


def _under_own_tokens(p: Tensor, own: Tensor, shared: Shared) -> Tensor:
    """Return Float[3 n]: greedy and sampled acceptance of shared tokens alone, and the most that text could match.

    `p` (n, V) are the target's probabilities, `own` (n, W) logits under the draft's own tokenizer. A draft that is
    matched as text may spell the target's token in several of its own: at most where one is the beginning of the other.
    """
    import torch

    q = own[:, shared.own].softmax(-1)  # (n, shared)
    best = p.argmax(-1)
    greedy = shared.target[q.argmax(-1)] == best
    sampled = sampled_acceptance(p[:, shared.target], q)
    pairs = zip(best.tolist(), own.argmax(-1).tolist(), strict=True)
    spelt = [(shared.target_bytes(new), shared.own_bytes(old)) for new, old in pairs]
    most = torch.tensor([a.startswith(b) or b.startswith(a) for a, b in spelt], device=p.device)
    return torch.stack([greedy.float(), sampled, most.float()])


def common_borders(
    starts: NDArray[np.int64], others: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places in both of the bytes at which a token begins in both, each byte once.

    Of tokens that begin at one byte, all but the last have no byte of their own (a space put before a text).

    >>> [its.tolist() for its in common_borders(np.array([0, 3, 5]), np.array([0, 2, 5]))]
    [[0, 2], [0, 2]]
    """
    last, other_last = (np.flatnonzero(np.append(np.diff(its) > 0, True)) for its in (starts, others))
    _, at, other_at = np.intersect1d(
        starts[last], others[other_last], assume_unique=True, return_indices=True
    )
    return last[at], other_last[other_at]
