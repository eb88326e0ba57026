"""Which bytes of a document each token stands for, and windows that are counted in bytes.

Models with different tokenizers are comparable only over the same bytes with the same context, so windows are
laid over the bytes, and every token is scored once: in the window where its last byte falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError


@dataclass(frozen=True)
class Spans:
    """The bytes of each token of a document of `length` bytes: token i is bytes ends[i-1] to ends[i].

    `ends` Int[n] never falls, and the last is `length`: each byte belongs to one token. Tokens without bytes of
    their own are allowed (one of several tokens for one character that the tokenizer rewrites).
    `exact`: the tokens' bytes are the document's; else the borders are the tokenizer's own offsets.
    """

    ends: NDArray[np.int64]
    length: int
    exact: bool = True

    def __post_init__(self) -> None:
        if (
            not len(self.ends)
            or self.ends[-1] != self.length
            or bool((np.diff(self.ends, prepend=0) < 0).any())
        ):
            raise ValueError("spans must rise and cover the document")

    @property
    def starts(self) -> NDArray[np.int64]:
        """Int[n]: the first byte of each token."""
        return np.concatenate([[0], self.ends[:-1]])

    @property
    def last_bytes(self) -> NDArray[np.int64]:
        """Int[n]: the byte at which a token is complete, which decides its window."""
        return np.maximum(self.ends - 1, 0)


@dataclass(frozen=True)
class Window:
    """Tokens `first` to `stop` are read, after the start token; those from `start` on are scored."""

    first: int
    start: int
    stop: int

    @property
    def tokens(self) -> int:
        """Tokens that the model reads, with the start token."""
        return self.stop - self.first + 1


def token_spans(document: str, tokens: Sequence[bytes], offsets: Sequence[tuple[int, int]]) -> Spans:
    """Return the spans of `tokens` (exact bytes each) in `document`.

    A space that the tokenizer puts before the text (SentencePiece) belongs to no byte. Where the bytes differ
    from the document (a tokenizer that normalises), `offsets`, the tokenizer's (start, end) characters, decide.
    """
    content = document.encode()
    joined = b"".join(tokens)
    prefix = 1 if joined == b" " + content else 0
    if joined[prefix:] != content:
        return Spans(_ends_by_offsets(document, offsets), len(content), exact=False)
    ends = np.cumsum(np.fromiter(map(len, tokens), dtype=np.int64, count=len(tokens)))
    return Spans(np.maximum(ends - prefix, 0), len(content))


def _ends_by_offsets(document: str, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return byte ends from character offsets; what lies between two tokens goes to the later one."""
    widths = [len(character.encode()) for character in document]
    at_byte = np.concatenate([[0], np.cumsum(np.asarray(widths, dtype=np.int64))])
    ends = np.asarray([min(stop, len(document)) for _, stop in offsets], dtype=np.int64)
    rising = np.maximum.accumulate(at_byte[ends])
    rising[-1] = at_byte[-1]
    return rising


def check_windows(window_bytes: int, stride_bytes: int) -> None:
    """Raise TokswapError unless 0 < stride <= window / 2: every byte needs at least half a window of context."""
    if not 0 < 2 * stride_bytes <= window_bytes:
        raise TokswapError(
            f"a window of {window_bytes} bytes can't move by {stride_bytes}",
            "the stride must be above 0 and at most half of the window",
        )


def windows(spans: Spans, *, window_bytes: int = 2048, stride_bytes: int = 1024) -> list[Window]:
    """Return windows in which each token is scored once, with `window_bytes - stride_bytes` of context.

    A window's context is every token that starts within that many bytes before the bytes it scores.
    """
    check_windows(window_bytes, stride_bytes)
    borders = np.arange(0, spans.length, stride_bytes)
    start = np.searchsorted(spans.last_bytes, borders, side="left")
    stop = np.append(start[1:], len(spans.ends))
    first = np.searchsorted(spans.starts, borders - (window_bytes - stride_bytes), side="left")
    rows = zip(np.minimum(first, start).tolist(), start.tolist(), stop.tolist(), strict=True)
    return [Window(a, b, c) for a, b, c in rows if c > b]


def spread(values: NDArray[np.float64], spans: Spans) -> NDArray[np.float64]:
    """Spread a value of each token evenly over its bytes: Float[n] to Float[length], with the same sum."""
    widths = np.diff(spans.ends, prepend=0)
    out = np.repeat(values / np.maximum(widths, 1), widths)
    bare = widths == 0  # these have no byte of their own: the byte that completed them takes all
    np.add.at(out, spans.last_bytes[bare], values[bare])
    return out
