"""The text that heals: cut into snippets by bytes, read by both tokenizers, a part held out, the rest put in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.evaluation.arm import SMALLEST_WINDOW, Arm, Tokenized
from tokswap.evaluation.texts import Text

SNIPPET_BYTES = 1024
"""Bytes of a snippet: some 250 tokens, of which most have seen enough to be judged by."""
HELD_OUT = 10
"""Of so many snippets one is held out."""
HELD_OUT_BYTES = 8 * 1024
"""Most bytes held out: each look at them costs the time of about four steps."""


@dataclass(frozen=True)
class Snippet:
    """A piece of text under both tokenizers; `new` counts its tokens that the base lacks."""

    text: str
    student: Tokenized
    teacher: Tokenized
    new: int

    @property
    def bytes(self) -> int:
        """The length in bytes of UTF-8."""
        return self.student.spans.length


@dataclass(frozen=True)
class Corpus:
    """Snippets to train on and those held out; `seen` Int[V]: how often each token stands in the training part."""

    train: tuple[Snippet, ...]
    held_out: tuple[Snippet, ...]
    seen: NDArray[np.int64]

    @property
    def train_bytes(self) -> int:
        """Bytes to train on, in one pass."""
        return sum(snippet.bytes for snippet in self.train)


def make_corpus(
    texts: Mapping[str, Text], student: Arm, teacher: Arm, new_ids: NDArray[np.int64], rows: int
) -> Corpus:
    """Cut texts and read them under both tokenizers; every tenth snippet is held out.

    `new_ids` are the student's tokens that the base lacks, `rows` its rows. Raises TokswapError for texts that are
    too short to be parted, or that a tokenizer can't read.
    """
    is_new = np.zeros(rows, dtype=np.bool_)
    is_new[new_ids[new_ids < rows]] = True
    size = SNIPPET_BYTES
    while not _fit(made := _read(texts, student, teacher, is_new, size), student, teacher):
        size //= 2
        if size < SMALLEST_WINDOW:
            raise TokswapError(
                "a model has too few positions for a snippet of text",
                "its max_position_embeddings should be in the hundreds",
            )
    held_out = made[HELD_OUT // 2 :: HELD_OUT]
    if not held_out:
        raise TokswapError(
            f"the text is too short: it is cut into {len(made)} snippets, and none of them can be held out",
            f"give at least {HELD_OUT * size // 1000} kB, better a hundred times as much",
        )
    train = tuple(s for i, s in enumerate(made) if i % HELD_OUT != HELD_OUT // 2)
    ids = np.concatenate([snippet.student.ids for snippet in train])
    return Corpus(train, _sample(held_out), np.bincount(ids, minlength=rows))


def cut(document: str, most_bytes: int) -> Iterator[str]:
    """Cut a document into pieces of at most `most_bytes` bytes: after a line, else before a space, else anywhere.

    >>> list(cut("one\\ntwo three", 8))
    ['one\\n', 'two', ' three']
    """
    content = document.encode()
    at = 0
    while len(content) - at > most_bytes:
        window = content[at : at + most_bytes]
        size = window.rfind(b"\n", most_bytes // 4) + 1 or max(window.rfind(b" ", most_bytes // 4), 0)
        size = size or len(window.decode(errors="ignore").encode())
        yield content[at : at + size].decode()
        at += size
    if at < len(content):
        yield content[at:].decode()


def ordered(snippets: Sequence[Snippet], seed: int, epoch: int) -> list[int]:
    """Return a random order of one pass in which snippets with more new tokens tend to come early.

    Each draw is by weight among those that are left (Efraimidis and Spirakis 2006), so that a short run sees the text
    that the new tokenizer cuts otherwise, and a long one all of it.
    """
    weights = np.asarray([1.0 + snippet.new for snippet in snippets])
    draws = np.random.default_rng([seed, epoch]).exponential(size=len(weights))
    return np.argsort(draws / weights, kind="stable").tolist()


def text_hashes(texts: Mapping[str, Text]) -> dict[str, str]:
    """Return the sha256 of each text's documents, each of them ended by a NUL."""
    return {
        name: hashlib.sha256("".join(f"{d}\0" for d in text.documents).encode()).hexdigest()
        for name, text in texts.items()
    }


def _read(
    texts: Mapping[str, Text], student: Arm, teacher: Arm, is_new: NDArray[np.bool_], size: int
) -> list[Snippet]:
    documents = (document for text in texts.values() for document in text.documents)
    return [_snippet(piece, student, teacher, is_new) for piece in _pieces(documents, size)]


def _pieces(documents: Iterable[str], size: int) -> Iterator[str]:
    return (piece for document in documents for piece in cut(document, size) if piece.strip())


def _snippet(text: str, student: Arm, teacher: Arm, is_new: NDArray[np.bool_]) -> Snippet:
    mine = student.tokenize(text)
    return Snippet(text, mine, teacher.tokenize(text), int(is_new[mine.ids].sum()))


def _fit(made: Sequence[Snippet], student: Arm, teacher: Arm) -> bool:
    """Tell whether every snippet fits the positions of both models, after a start token."""
    return all(
        arm.max_tokens is None or all(len(read.ids) < arm.max_tokens for read in its)
        for arm, its in ((student, [s.student for s in made]), (teacher, [s.teacher for s in made]))
    )


def _sample(snippets: Sequence[Snippet]) -> tuple[Snippet, ...]:
    """Return evenly spread snippets of at most HELD_OUT_BYTES together."""
    total = sum(snippet.bytes for snippet in snippets)
    count = max(1, min(len(snippets), int(len(snippets) * HELD_OUT_BYTES / max(total, 1))))
    return tuple(snippets[i] for i in np.linspace(0, len(snippets) - 1, count).round().astype(int).tolist())
