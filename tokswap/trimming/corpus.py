"""The text that decides: streamed from files of any size, counted by token, and its beginning to measure on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.mixture.corpus import category_files, read_texts, spans_of
from tokswap.tokenizer_traits import encode

# Blocks of a quarter of a megabyte encoded at once: their results take some tens of megabytes.
BLOCKS = 8


@dataclass(frozen=True)
class Corpus:
    """Files under the name of the source that a person gave; `field` holds the text of .jsonl and .parquet."""

    name: str
    files: tuple[Path, ...]
    field: str = "text"

    @property
    def size(self) -> int:
        """Bytes of all files as they are stored."""
        return sum(file.stat().st_size for file in self.files)

    def blocks(self) -> Iterator[str]:
        """Yield the text in blocks that cut no word."""
        for group in spans_of(self.files):
            for span in group:
                yield from (block for block in read_texts(span, self.field) if block)

    def beginning(self, most_bytes: int) -> Text:
        """Return about the first `most_bytes` bytes; raises TokswapError where there is no text."""
        block = next(self.blocks(), "")
        if not block.strip():
            raise TokswapError(f"{self.name} holds no text", "give a file of a few kilobytes or more")
        return Text(self.name, (block,)).first(most_bytes)


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


def open_corpora(sources: Sequence[str | Path], field: str = "text") -> list[Corpus]:
    """Return a corpus for each file, folder or pattern; raises TokswapError for one that names nothing."""
    out: dict[str, Corpus] = {}
    for source in sources:
        name = Path(source).name or str(source)
        name = name if name not in out else str(source)
        out[name] = Corpus(name, tuple(category_files(name, [source])), field)
    return list(out.values())


def count_tokens(
    engine: Any, blocks: Iterable[str], size: int, on_bytes: Callable[[int], None] | None = None
) -> Counted:
    """Count the tokens of a text by id (below `size`), without special tokens put around it."""
    counts = np.zeros(size, dtype=np.int64)
    read = 0
    left = iter(blocks)
    while several := list(islice(left, BLOCKS)):
        for ids in encode(engine, several):
            counts += np.bincount(np.asarray(ids, dtype=np.int64), minlength=size)
        read += sum(len(block.encode()) for block in several)
        if on_bytes is not None:
            on_bytes(read)
    return Counted(counts, read)
