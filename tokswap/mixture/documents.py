"""Texts by category as documents whose words are counted one by one, so that any of them add up to a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.mixture.corpus import category_files, read_texts, spans_of
from tokswap.mixture.types import WordCounts

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Documents:
    """A category's D documents, their sizes in bytes, Int[D], and how often each holds each word, (D, W)."""

    texts: tuple[str, ...]
    sizes: NDArray[np.int64]
    words: csr_array

    def first(self, order: NDArray[np.int64], most: float) -> NDArray[np.int64]:
        """Return the leading documents of an order that are together nearest to `most` bytes from above."""
        total = np.cumsum(self.sizes[order])
        return order[: int(np.searchsorted(total, most)) + 1] if most > 0 else order[:0]


def read_documents(
    categories: Mapping[str, Sequence[Path]], *, page_bytes: int, most_bytes: float, words: dict[str, int]
) -> dict[str, Documents]:
    """Read at most `most_bytes` of each category in documents of about `page_bytes`, cut at the ends of lines.

    `words` numbers the words, as GPT-2's rules cut them, and gets those that are new. Raises TokswapError for a
    category without text.
    """
    from scipy.sparse import csr_array

    counted = {
        name: _counted(name, paths, page_bytes, most_bytes, words) for name, paths in categories.items()
    }
    out: dict[str, Documents] = {}
    for name, (texts, rows) in counted.items():
        columns = np.concatenate([row[0] for row in rows])
        counts = np.concatenate([row[1] for row in rows])
        starts = np.cumsum([0, *(len(row[0]) for row in rows)])
        table = csr_array((counts, columns, starts), shape=(len(rows), len(words)))
        out[name] = Documents(texts, np.array([len(text.encode()) for text in texts]), table)
    return out


_Row = tuple[NDArray[np.int32], NDArray[np.int64]]


def _counted(
    name: str, paths: Sequence[Path], page_bytes: int, most_bytes: float, words: dict[str, int]
) -> tuple[tuple[str, ...], list[_Row]]:
    from tokenizers.pre_tokenizers import ByteLevel

    cut = ByteLevel(add_prefix_space=False)
    files = category_files(name, paths)
    blocks = (text for spans in spans_of(files) for span in spans for text in read_texts(span, "text"))
    texts: list[str] = []
    rows: list[_Row] = []
    left = most_bytes
    for text in pages(blocks, page_bytes):
        counts = Counter(words.setdefault(word, len(words)) for word, _ in cut.pre_tokenize_str(text))
        rows.append((np.array(list(counts), dtype=np.int32), np.array(list(counts.values()), dtype=np.int64)))
        texts.append(text)
        left -= len(text.encode())
        if left <= 0:
            break
    if len(texts) < 2:
        raise TokswapError(
            f"the category {name!r} holds less than two documents of {page_bytes:,} bytes",
            "give it more text, or set page_bytes lower",
        )
    return tuple(texts), rows


def pages(blocks: Iterable[str], page_bytes: int) -> Iterator[str]:
    """Yield lines that stand together, cut after the first that brings them to `page_bytes`."""
    page: list[str] = []
    size = 0
    for block in blocks:
        for line in block.splitlines(keepends=True):
            page.append(line)
            size += len(line.encode())
            if size >= page_bytes:
                yield "".join(page)
                page, size = [], 0
    if page:
        yield "".join(page)


def word_counts(
    chosen: Mapping[str, tuple[Documents, NDArray[np.int64]]], words: Sequence[str]
) -> WordCounts:
    """Return the counts of the chosen documents of each category: the text that a mixture is inferred from."""
    from scipy.sparse import csr_array, vstack

    rows = [csr_array(np.ones((1, len(at)), dtype=np.int64)) @ one.words[at] for one, at in chosen.values()]
    # Categories that were read earlier know fewer words.
    same = [csr_array((row.data, row.indices, row.indptr), shape=(1, len(words))) for row in rows]
    table: Any = vstack(same, format="csc").astype(np.int64)
    there: list[int] = np.flatnonzero(np.diff(table.indptr)).tolist()
    order = sorted(there, key=words.__getitem__)
    return WordCounts(
        categories=tuple(chosen),
        words=tuple(words[i] for i in order),
        counts=csr_array(table[:, order].T),
        text_bytes=np.array([one.sizes[at].sum() for one, at in chosen.values()], dtype=np.int64),
    )
