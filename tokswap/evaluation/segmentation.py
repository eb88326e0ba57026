"""The part of the loss that comes from the new segmentation alone, apart from the new rows.

The body of a transplanted model has never seen text cut where the new tokenizer cuts it. To see what that costs,
the borders of the new tokens are kept, every token that the base lacks is split back into the base's own pieces,
and the base scores that: no row is new then, only the borders are. It is a reference, no bound: its softmax still
holds the tokens that the new vocabulary drops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Tokenized
from tokswap.evaluation.spans import Spans
from tokswap.pieces import spell

if TYPE_CHECKING:
    from tokswap.align import Alignment
    from tokswap.vocab import Vocab

Row = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The base ids that stand for one new token, and the bytes of each."""


def resegment(
    documents: Sequence[Tokenized],
    alignment: Alignment,
    new: Vocab,
    base_tokenizer: Mapping[str, Any],
    base: Vocab,
) -> list[Tokenized]:
    """Return documents under the new tokenizer in base tokens, a border wherever a new token ends.

    A shared token stays the base token whose row it has; any other becomes the base's pieces of its bytes. Bytes
    that the base can't spell go to a piece beside them; the spans then aren't exact. Raises TokswapError for a
    document of which the base can spell nothing.
    """
    used = np.unique(np.concatenate([document.ids for document in documents]))
    rows = _rows(used, alignment, new, base_tokenizer, base)
    return [_resegment(document, rows, new) for document in documents]


def _rows(
    used: NDArray[np.int64],
    alignment: Alignment,
    new: Vocab,
    base_tokenizer: Mapping[str, Any],
    base: Vocab,
) -> dict[int, Row]:
    """Return new id → its base ids, for the ids that occur."""
    source = alignment.source[used]
    rows = {
        int(i): _row([int(base_id)], base) for i, base_id in zip(used, source, strict=True) if base_id >= 0
    }
    lacking = [int(i) for i in used[source < 0]]
    pieces = spell(base_tokenizer, base, [new.bytes_of(i) for i in lacking])
    ids, starts = pieces.ids.tolist(), pieces.starts.tolist()
    for at, new_id in enumerate(lacking):
        rows[new_id] = _row(ids[starts[at] : starts[at + 1]], base)
    return rows


def _row(ids: Sequence[int], base: Vocab) -> Row:
    sizes = [len(base.bytes_of(i)) for i in ids]
    return np.asarray(ids, dtype=np.int64), np.asarray(sizes, dtype=np.int64)


def _resegment(document: Tokenized, rows: Mapping[int, Row], new: Vocab) -> Tokenized:
    ids: list[NDArray[np.int64]] = []
    ends: list[NDArray[np.int64]] = []
    exact = document.spans.exact
    for token_id, start, end in zip(document.ids, document.spans.starts, document.spans.ends, strict=True):
        pieces, sizes = rows[int(token_id)]
        exact &= int(sizes.sum()) == len(new.bytes_of(int(token_id)))
        if len(pieces):
            ids.append(pieces)
            ends.append(_piece_ends(sizes, int(start), int(end)))
    if not ids:
        raise TokswapError(
            "the base's tokenizer can't spell anything of a text", "leave that text out, or --segmentation"
        )
    flat = np.concatenate(ends)
    flat[-1] = document.spans.length
    return Tokenized(np.concatenate(ids), Spans(flat, document.spans.length, exact=exact))


def _piece_ends(sizes: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """Return where a token's pieces end in the document; counted from its end, since a first token may begin with
    a space that the document has not."""
    return np.clip(end - (sizes.sum() - np.cumsum(sizes)), start, end)
