"""A text as the flat array of tokens that stage 2 merges: ids, and the borders that nothing may cross."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.tokenization import load_tokenizer

BLOCKS = 4  # of a quarter of a megabyte, encoded at once: some 100 MB of results
Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EncodedText:
    """`symbols` Int32[n] ids, `breaks` Bool[n] whether a word ends behind each, and the bytes that were read."""

    symbols: NDArray[np.int32]
    breaks: NDArray[np.bool_]
    read: int


def encode_text(
    tokenizer: Mapping[str, Any], blocks: Iterable[str], most_bytes: int, on_progress: Say | None = None
) -> EncodedText:
    """Encode the first `most_bytes` bytes; a word is what the tokenizer's own pre-tokenizer cuts off.

    Raises TokswapError where there is no text.
    """
    engine = load_tokenizer(tokenizer)
    symbols: list[NDArray[np.int32]] = []
    breaks: list[NDArray[np.bool_]] = []
    read = 0
    for several in up_to(blocks, most_bytes):
        for found in engine.encode_batch(several, add_special_tokens=False):
            if found.ids:
                words = np.asarray(found.word_ids, dtype=np.int32)
                symbols.append(np.asarray(found.ids, dtype=np.int32))
                breaks.append(np.append(words[1:] != words[:-1], True))
        read += sum(len(block.encode()) for block in several)
        if on_progress is not None:
            on_progress("encode", min(read, most_bytes), most_bytes)
    if not symbols:
        raise TokswapError("there is no text to learn from", "give files of plain text with --text")
    return EncodedText(np.concatenate(symbols), np.concatenate(breaks), read)


def up_to(blocks: Iterable[str], most_bytes: int) -> Iterator[list[str]]:
    """Yield lists of blocks until about `most_bytes` bytes have been handed on."""
    left = iter(blocks)
    while most_bytes > 0 and (several := list(islice(left, BLOCKS))):
        most_bytes -= sum(len(block.encode()) for block in several)
        yield several


def after_colons(symbols: NDArray[np.int32], texts: Sequence[bytes]) -> NDArray[np.bool_]:
    """Return Bool[n]: this token ends with a colon and the next begins with a space."""
    return _between(symbols, [t.endswith(b":") for t in texts], [t.startswith(b" ") for t in texts])


def after_lines(symbols: NDArray[np.int32], texts: Sequence[bytes]) -> NDArray[np.bool_]:
    """Return Bool[n]: this token ends a line and the next begins with anything but white space."""
    return _between(symbols, [t.endswith(b"\n") for t in texts], [not t[:1].isspace() for t in texts])


def words_in(text: bytes) -> int:
    """Return how many words a token holds parts of: what white space separates.

    >>> words_in(b" of the"), words_in(b"s of th"), words_in(b" ")
    (2, 3, 0)
    """
    return len(text.split())


def _between(symbols: NDArray[np.int32], left: Sequence[bool], right: Sequence[bool]) -> NDArray[np.bool_]:
    out = np.zeros(len(symbols), dtype=np.bool_)
    out[:-1] = np.asarray(left)[symbols[:-1]] & np.asarray(right)[symbols[1:]]
    return out
