"""Texts by category as documents whose words are counted one by one, so that any of them add up to a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.mixture.corpus import category_files, read_texts, spans_of
from tokswap.mixture.types import WordCounts

Row = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of words, and how often each stands in a document."""


@dataclass(frozen=True)
class Documents:
    """A category's D documents and their sizes in bytes, Int[D]; `counted` has the words of those asked for so far."""

    texts: tuple[str, ...]
    sizes: NDArray[np.int64]
    counted: dict[int, Row] = field(default_factory=dict[int, Row])

    def first(self, order: NDArray[np.int64], most: float) -> NDArray[np.int64]:
        """Return the leading documents of an order that are together nearest to `most` bytes from above."""
        total = np.cumsum(self.sizes[order])
        return order[: int(np.searchsorted(total, most)) + 1] if most > 0 else order[:0]

    def words(self, documents: NDArray[np.int64], number: dict[str, int]) -> Row:
        """Return the words of documents, each once, as GPT-2's rules cut them; `number` gets those that are new."""
        from tokenizers.pre_tokenizers import ByteLevel

        cut: Any = ByteLevel(add_prefix_space=False)
        for at in documents.tolist():
            if at not in self.counted:
                found = Counter(word for word, _ in cut.pre_tokenize_str(self.texts[at]))
                numbers = [number.setdefault(word, len(number)) for word in found]
                self.counted[at] = np.array(numbers), np.array(list(found.values()))
        rows = [self.counted[at] for at in documents.tolist()]
        words, place = np.unique(np.concatenate([row[0] for row in rows]), return_inverse=True)
        counts = np.zeros(len(words), dtype=np.int64)
        np.add.at(counts, place, np.concatenate([row[1] for row in rows]))
        return words, counts


def read_documents(
    categories: Mapping[str, Sequence[Path]], *, page_bytes: int, most_bytes: float
) -> dict[str, Documents]:
    """Read at most `most_bytes` of each category in documents of about `page_bytes`, cut at the ends of lines.

    Raises TokswapError for a category of less than two.
    """
    return {name: _read(name, paths, page_bytes, most_bytes) for name, paths in categories.items()}


def _read(name: str, paths: Sequence[Path], page_bytes: int, most_bytes: float) -> Documents:
    files = category_files(name, paths)
    blocks = (text for spans in spans_of(files) for span in spans for text in read_texts(span, "text"))
    texts: list[str] = []
    sizes: list[int] = []
    left = most_bytes
    for text in pages(blocks, page_bytes):
        texts.append(text)
        sizes.append(len(text.encode()))
        left -= sizes[-1]
        if left <= 0:
            break
    if len(texts) < 2:
        raise TokswapError(
            f"the category {name!r} holds less than two documents of {page_bytes:,} bytes",
            "give it more text, or set page_bytes lower",
        )
    return Documents(tuple(texts), np.array(sizes))


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
    chosen: Mapping[str, tuple[Documents, NDArray[np.int64]]], number: dict[str, int]
) -> WordCounts:
    """Return the counts of the chosen documents of each category: the text that a mixture is inferred from."""
    from scipy.sparse import csc_array

    columns = [one.words(documents, number) for one, documents in chosen.values()]
    names = list(number)
    there = sorted(set(np.concatenate([words for words, _ in columns]).tolist()), key=names.__getitem__)
    place = np.zeros(len(names), dtype=np.int64)
    place[there] = np.arange(len(there))
    rows = np.concatenate([place[words] for words, _ in columns])
    starts = np.cumsum([0, *(len(words) for words, _ in columns)])
    data = np.concatenate([counts for _, counts in columns])
    return WordCounts(
        categories=tuple(chosen),
        words=tuple(names[i] for i in there),
        counts=csc_array((data, rows, starts), shape=(len(there), len(columns))).tocsr(),
        text_bytes=np.array([one.sizes[at].sum() for one, at in chosen.values()], dtype=np.int64),
    )
