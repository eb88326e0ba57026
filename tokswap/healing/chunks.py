"""The chunks of a text that two tokenizations have in common (arXiv 2503.20083, section 3).

Wherever a token of both ends at the same byte a chunk ends: both then say how likely the same bytes are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.spans import Spans


def common_ends(one: Spans, other: Spans) -> NDArray[np.int64]:
    """Return Int[c]: the bytes at which tokens of both end, rising; the last is the length of the text.

    >>> a, b = Spans(np.array([1, 3, 6]), 6), Spans(np.array([3, 5, 6]), 6)
    >>> common_ends(a, b).tolist()
    [3, 6]
    """
    shared = np.intersect1d(one.ends, other.ends)
    return shared[shared > 0]  # a first token without bytes (SentencePiece's space) is no chunk


def chunk_of_tokens(spans: Spans, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return Int[n]: the chunk that each token lies in, where `ends` come from `common_ends`."""
    return np.searchsorted(ends, spans.ends, side="left")


def last_tokens(spans: Spans, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return Int[c]: the token that ends each chunk; of several without bytes of their own the last."""
    return np.searchsorted(spans.ends, ends, side="right") - 1
