"""The three rungs: what is trained, and the loss of a few snippets."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.arm import Tokenized
from tokswap.healing.chunks import chunk_of_tokens, common_ends, last_tokens
from tokswap.healing.losses import (
    chunk_sums,
    cross_entropy,
    likelihood_matching,
    state_distance,
    with_automatic_weight,
)
from tokswap.healing.snippets import Corpus, Snippet

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.healing.candidates import Draw
    from tokswap.healing.pair import Pair


class Rung(StrEnum):
    """New rows only; the body too, against the base's own likelihoods; the body too, on the text itself."""

    ROWS = "rows"
    ALM = "alm"
    LM = "lm"

    @property
    def trains_body(self) -> bool:
        """Whether anything but rows is trained."""
        return self is not Rung.ROWS

    @property
    def unit(self) -> str:
        """What the loss is counted in."""
        return {Rung.ROWS: "share of the states' length", Rung.ALM: "nats a chunk", Rung.LM: "nats a token"}[
            self
        ]


def rows_to_train(rung: Rung, corpus: Corpus, new_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows whose tokens stand in the text to train on: new ones, and above `rows` shared ones as well.

    The text says nothing of the others: their rows would only be pushed away from every state.
    """
    found = np.flatnonzero(corpus.seen)
    return found if rung.trains_body else found[np.isin(found, new_ids)]


class Objective:
    """The loss of snippets under a rung; what the teacher says of one is asked once and kept."""

    def __init__(self, rung: Rung, pair: Pair) -> None:
        self.rung = rung
        self._pair = pair
        self._layer = max(1, round(pair.depth / 3))
        self._kept: dict[str, Tensor] = {}

    def usable(self, snippets: Sequence[Snippet]) -> list[Snippet]:
        """Return the snippets that this rung learns from: `rows` needs new tokens."""
        return [s for s in snippets if s.new] if self.rung is Rung.ROWS else list(snippets)

    def loss(self, snippets: Sequence[Snippet], draw: Draw | None = None) -> Tensor:
        """Return the loss, with gradients to the pair's adapters, over all output rows or those of a draw."""
        import torch

        if self.rung is Rung.ROWS:
            return self._rows(snippets, draw)
        if self.rung is Rung.ALM:
            return self._alm(snippets, draw)
        return cross_entropy(
            torch.cat(self._pair.read([s.student.ids for s in snippets], draw=draw).log_probs)
        )

    def _alm(self, snippets: Sequence[Snippet], draw: Draw | None) -> Tensor:
        import torch

        teacher = self._teacher_chunks(snippets)  # before the student's activations are there
        log_probs = self._pair.read([s.student.ids for s in snippets], draw=draw).log_probs
        student = [
            _chunked(s, s.student, its, len(theirs))
            for s, its, theirs in zip(snippets, log_probs, teacher, strict=True)
        ]
        return likelihood_matching(torch.cat(student), torch.cat(teacher))

    def _teacher_chunks(self, snippets: Sequence[Snippet]) -> list[Tensor]:
        asked = [s for s in snippets if s.text not in self._kept]
        if asked:
            read = self._pair.read_as_teacher([s.teacher.ids for s in asked]).log_probs
            for snippet, its in zip(asked, read, strict=True):
                count = len(common_ends(snippet.student.spans, snippet.teacher.spans))
                self._kept[snippet.text] = _chunked(snippet, snippet.teacher, its, count)
        return [self._kept[s.text] for s in snippets]

    def _rows(self, snippets: Sequence[Snippet], draw: Draw | None) -> Tensor:
        import torch

        mine = self._pair.read([s.student.ids for s in snippets], layer=self._layer, draw=draw)
        theirs = self._pair.states_of_teacher([s.teacher.ids for s in snippets], self._layer)
        student, teacher = zip(*map(_at_common_ends, snippets, mine.states, theirs), strict=True)
        distance = state_distance(torch.cat(student), torch.cat(teacher))
        return with_automatic_weight(distance, cross_entropy(torch.cat(mine.log_probs)))


def _chunked(snippet: Snippet, read: Tokenized, log_probs: Tensor, count: int) -> Tensor:
    import torch

    chunks = chunk_of_tokens(read.spans, common_ends(snippet.student.spans, snippet.teacher.spans))
    return chunk_sums(log_probs, torch.from_numpy(chunks).to(log_probs.device), count)


def _at_common_ends(snippet: Snippet, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states of both where their tokens end together; before the first new token they are equal anyway."""
    import torch

    ends = common_ends(snippet.student.spans, snippet.teacher.spans)
    mine, theirs = last_tokens(snippet.student.spans, ends), last_tokens(snippet.teacher.spans, ends)
    return student[torch.from_numpy(mine)], teacher[torch.from_numpy(theirs)]
