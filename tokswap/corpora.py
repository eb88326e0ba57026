"""Texts of any size, streamed from the files, folders and patterns that a person names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.mixture.corpus import read_texts, spans_of, text_files


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

    def blocks(self, on_stored: Callable[[int], None] | None = None) -> Iterator[str]:
        """Yield the text in blocks that cut no word.

        `on_stored` is told how many of the `size` stored bytes have been read: exactly for plain text and between
        files, and within a packed one as if it held no more text than it takes.
        """
        done = 0
        for span in (span for group in spans_of(self.files) for span in group):
            stored, read = span.stop - span.start, 0
            for block in filter(None, read_texts(span, self.field)):
                yield block
                read += len(block.encode())
                if on_stored is not None:
                    on_stored(done + min(read, stored))
            done += stored
            if on_stored is not None:
                on_stored(done)

    def beginning(self, most_bytes: int) -> Text:
        """Return about the first `most_bytes` bytes; raises TokswapError where there is no text."""
        block = next(self.blocks(), "")
        if not block.strip():
            raise TokswapError(f"{self.name} holds no text", "give a file of a few kilobytes or more")
        return Text(self.name, (block,)).first(most_bytes)


def open_corpora(sources: Sequence[str | Path], field: str = "text") -> list[Corpus]:
    """Return a corpus for each file, folder or pattern; raises TokswapError for one that names nothing."""
    out: dict[str, Corpus] = {}
    for source in sources:
        name = Path(source).name or str(source)
        name = name if name not in out else str(source)
        out[name] = Corpus(name, tuple(text_files([source])), field)
    return list(out.values())
