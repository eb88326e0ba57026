"""Texts to score and to calibrate on: plain UTF-8 files, cut into documents before any tokenizer sees them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokswap.data_files import data_folder
from tokswap.errors import TokswapError

SEPARATOR = re.compile(r"^%%[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
"""A line `%%` stands between two documents of a file."""


MOST_TEXT_BYTES = 256 * 1024**2
"""Larger files are refused: a text is read whole, and a CPU scores some kilobytes a second."""


@dataclass(frozen=True)
class Text:
    """Documents under one name; a model sees each document from its start, without the others."""

    name: str
    documents: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.documents or not all(self.documents):
            raise ValueError(f"the text {self.name!r} has an empty document, or none")

    @property
    def bytes(self) -> int:
        """The length of all documents in bytes of UTF-8."""
        return sum(len(document.encode()) for document in self.documents)

    def first(self, most_bytes: int) -> Text:
        """Return the text cut after about `most_bytes` bytes, at the end of a character; never empty."""
        kept: list[str] = []
        left = most_bytes
        for document in self.documents:
            part = document.encode()[: max(left, 0)].decode(errors="ignore")
            kept.append(part if part or kept else document[0])
            left -= len(document.encode())
        return Text(self.name, tuple(part for part in kept if part))


def load_texts(paths: Sequence[Path]) -> dict[str, Text]:
    """Read text files, and the *.txt of folders, into texts named after the files: `fr.txt` is "fr".

    Raises TokswapError for what is missing, empty, no UTF-8, or there twice.
    """
    files = [file for path in paths for file in _files(path)]
    texts: dict[str, Text] = {}
    for file in files:
        name = _short_name(file, files)
        if name in texts:
            raise TokswapError(
                f"two texts are called {name!r}", "rename one: figures are listed by file name"
            )
        texts[name] = Text(name, _documents(file))
    return texts


def default_texts(kind: Literal["evaluation", "calibration", "prompts"] = "evaluation") -> dict[str, Text]:
    """Return the texts that come with tokswap: to score models ("evaluation"), to calibrate them, or to continue.

    The kinds share no text, so that a model isn't judged on what it was calibrated with.
    """
    return load_texts([data_folder("data") / "texts" / kind])


def split_documents(content: str) -> tuple[str, ...]:
    """Cut at lines that are `%%`; documents of nothing but white space are left out.

    >>> split_documents("one\\n%%\\ntwo\\n")
    ('one\\n', 'two\\n')
    """
    return tuple(part for part in SEPARATOR.split(content) if part.strip())


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.txt"))
    if not found:
        raise TokswapError(f"the folder {path} holds no .txt file", "name the text files themselves")
    return found


def _short_name(file: Path, files: Sequence[Path]) -> str:
    """Return the name up to its first dot, or all of it where that would be another file's name too."""
    short = file.name.lstrip(".").split(".")[0]
    return short if sum(other.name.lstrip(".").split(".")[0] == short for other in files) == 1 else file.name


def read_text(file: Path, encoding: str = "utf-8-sig") -> str:
    """Return what a file of text holds; raises TokswapError for devices, huge files and other encodings."""
    if file.exists() and not file.is_file():
        raise TokswapError(
            f"{file} is no file of text", "a device or pipe has no end: save its text to a file first"
        )
    try:
        if file.stat().st_size > MOST_TEXT_BYTES:
            raise TokswapError(
                f"{file} holds more than {MOST_TEXT_BYTES:,} bytes",
                "cut a sample from it: scoring it would take weeks",
            )
        return file.read_bytes().decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.upper().removesuffix("-SIG")
        raise TokswapError(
            f"{file} isn't {name} (byte {error.start})", "convert it first, as with iconv -t utf-8"
        ) from error
    except OSError as error:
        raise TokswapError(f"{file} can't be read: {error.strerror}", "name a file of plain text") from error


def _documents(file: Path) -> tuple[str, ...]:
    documents = split_documents(read_text(file))
    if not documents:
        raise TokswapError(f"{file} holds no text", "give a file of a few kilobytes or more")
    return documents
