"""Final hidden states of the base model at the borders that both tokenizers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.spans import Spans, Window, token_spans, windows
from tokswap.evaluation.texts import Text

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.vocab import Vocab


# Text that the base reads at once, in bytes: half of it is context, which is plenty for a mean.
WINDOW_BYTES = 2048
# Bytes from the end of one document to the beginning of the next, as places count them: more than any token has.
GAP = 1 << 20


@dataclass(frozen=True)
class States:
    """`hidden` Float32[n d] final states; `targets` Int[n] the new token that begins where each state predicts.

    `texts` Int[n]: which of the texts a state is from. `places` Int[n]: the byte at which the target begins, counted
    over all documents, GAP from one to the next; texts that are read twice have the same places.
    """

    hidden: Tensor
    targets: Tensor
    texts: Tensor
    places: Tensor


def collect_states(
    lm: LanguageModel,
    base: tuple[Mapping[str, Any], Vocab],
    new: tuple[Mapping[str, Any], Vocab],
    start_id: int | None,
    texts: Iterable[Text],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> States:
    """Run the base over `texts`; `base` and `new` are (tokenizer.json, vocab); `start_id` precedes every window.

    A state counts where a base token and a new token begin at the same byte.
    """
    import torch

    from tokswap.evaluation.language_model import final_states

    encode_base, encode_new = encoder(*base), encoder(*new)
    documents = [(number, document) for number, text in enumerate(texts) for document in text.documents]
    hidden: list[Tensor] = []
    targets: list[Tensor] = []
    origins: list[Tensor] = []
    places: list[Tensor] = []
    offset = 0
    for done, (number, document) in enumerate(documents):
        ids, spans = encode_base(document)
        new_ids, new_spans = encode_new(document)
        begins = dict(zip(new_spans.starts.tolist(), new_ids.tolist(), strict=True))
        for window in fitting_windows(spans, lm.max_tokens):
            read = [] if start_id is None else [start_id]
            read += ids[window.first : window.stop - 1].tolist()
            if not read:
                continue
            # The state before token t sits at t - first, one earlier where nothing precedes the window.
            shift = window.first + (start_id is None)
            wanted = [
                (t - shift, begins[at], offset + at)
                for t, at in enumerate(spans.starts[window.start : window.stop].tolist(), window.start)
                if at in begins and t >= shift
            ]
            out = final_states(lm, torch.tensor([read]))[0].float().cpu()
            hidden.append(out[[row for row, _, _ in wanted]])
            targets.append(torch.tensor([target for _, target, _ in wanted], dtype=torch.long))
            places.append(torch.tensor([place for _, _, place in wanted], dtype=torch.long))
            origins.append(torch.full((len(wanted),), number))
        offset += spans.length + GAP
        if on_progress is not None:
            on_progress(done + 1, len(documents))
    return States(torch.cat(hidden), torch.cat(targets), torch.cat(origins), torch.cat(places))


def own_states(
    lm: LanguageModel,
    tokenizer: Mapping[str, Any],
    vocab: Vocab,
    start_id: int | None,
    texts: Iterable[Text],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> States:
    """Run a model over `texts` under its own tokenizer: every state, and the token that comes next."""
    return collect_states(
        lm, (tokenizer, vocab), (tokenizer, vocab), start_id, texts, on_progress=on_progress
    )


def fitting_windows(spans: Spans, positions: int | None) -> list[Window]:
    """Return windows, halved until each fits the model's positions with its start token."""
    size = WINDOW_BYTES
    while positions is not None and size > 2 and any(w.tokens > positions for w in _halves(spans, size)):
        size //= 2
    return _halves(spans, size)


def _halves(spans: Spans, size: int) -> list[Window]:
    return windows(spans, window_bytes=size, stride_bytes=size // 2)


def encoder(tokenizer: Mapping[str, Any], vocab: Vocab) -> Callable[[str], tuple[NDArray[np.int64], Spans]]:
    """Return what turns a document into ids Int[n] and their spans, without special tokens."""
    from tokswap.tokenization import load_tokenizer

    engine = load_tokenizer(tokenizer)

    def encode(document: str) -> tuple[NDArray[np.int64], Spans]:
        encoding = engine.encode(document, add_special_tokens=False)
        spans = token_spans(document, [vocab.bytes_of(i) for i in encoding.ids], encoding.offsets)
        return np.asarray(encoding.ids, dtype=np.int64), spans

    return encode
