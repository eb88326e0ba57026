"""How often each token stands in a text that is streamed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.tokenizer_traits import encode

# Blocks of a quarter of a megabyte encoded at once: their results take some tens of megabytes.
BLOCKS = 4


@dataclass(frozen=True)
class Counted:
    """`counts` Int64[V] of tokens by id, and the bytes of UTF-8 that they were cut from."""

    counts: NDArray[np.int64]
    bytes: int

    @property
    def tokens(self) -> int:
        """The tokens of the text."""
        return int(self.counts.sum())

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text that a token stands for, 0 for no text."""
        return self.bytes / max(self.tokens, 1)


def count_tokens(engine: Any, blocks: Iterable[str], size: int) -> Counted:
    """Count the tokens of a text by id (below `size`), without special tokens put around it."""
    counts = np.zeros(size, dtype=np.int64)
    read = 0
    left = iter(blocks)
    while several := list(islice(left, BLOCKS)):
        for ids in encode(engine, several):
            counts += np.bincount(np.asarray(ids, dtype=np.int64), minlength=size)
        read += sum(len(block.encode()) for block in several)
    return Counted(counts, read)
