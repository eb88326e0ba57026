"""Text for a hypernetwork: snippets in an order, and the tokenizers drawn for them by a worker of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.healing.snippets import HELD_OUT, SNIPPET_BYTES, cut
from tokswap.hypernet.sampling import Vocabulary, sample_vocabulary
from tokswap.hypernet.settings import Settings
from tokswap.vocab import Vocab

QUEUE = 16
"""Batches of text that a tokenizer is drawn from: those that it serves, and those before."""
HELD_OUT_BYTES = 4096
"""Most bytes that are held out: each look at them costs the time of a step or two."""
HELD_OUT_SEED = 2**31
"""In the place of a tokenizer's number: the one that held-out text is read with, which training never draws."""


@dataclass
class Stream:
    """Snippets to train on and those held out; `vocabulary` gives the tokenizer of a step.

    With `worker` tokenizers are drawn in a process of its own, the next one while this one is in use. `donor` is a
    real tokenizer that serves every other turn.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    settings: Settings
    base: Mapping[str, Any]
    vocab: Vocab
    donor: Vocabulary | None = None
    worker: bool = True
    _held: Vocabulary | None = None
    _pool: ProcessPoolExecutor | None = None
    _drawn: dict[int, Future[Vocabulary] | Vocabulary] = field(default_factory=dict[int, Any])

    @property
    def train_bytes(self) -> int:
        """Bytes to train on, in one pass."""
        return sum(len(text.encode()) for text in self.train)

    def batch(self, step: int) -> list[str]:
        """Return the snippets of a step of text; which they are follows from its number alone."""
        size = max(self.settings.accumulate, round(self.settings.step_bytes / SNIPPET_BYTES))
        places = range(step * size, (step + 1) * size)
        passes = {
            n: np.random.default_rng([self.settings.seed, n]).permutation(len(self.train))
            for n in {place // len(self.train) for place in places}
        }
        return [self.train[passes[p // len(self.train)][p % len(self.train)]] for p in places]

    def vocabulary(self, step: int) -> Vocabulary:
        """Return the tokenizer of a step of text."""
        turn = step // self.settings.serves
        if self.donor is not None and turn % 2:
            return self.donor
        found = self._drawn.pop(turn, None) or self._draw(turn)
        made = found.result() if isinstance(found, Future) else found
        following = turn + (1 if self.donor is None else 2)
        later = self._drawn.get(following)
        self._drawn = {turn: made}  # a run keeps one tokenizer, and the next one in the making
        if self._pool is not None:
            self._drawn[following] = later or self._draw(following)
        return made

    def held_out_vocabulary(self) -> Vocabulary:
        """Return the tokenizer that held-out text is read with: the donor's, or one that training never draws."""
        if self.donor is not None:
            return self.donor
        if self._held is None:
            self._held = self._sample([HELD_OUT_SEED], self.train[: self._texts])()
        return self._held

    def close(self) -> None:
        """End the worker."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    @property
    def _texts(self) -> int:
        return QUEUE * max(1, self.settings.step_bytes // SNIPPET_BYTES)

    def _draw(self, turn: int) -> Future[Vocabulary] | Vocabulary:
        last = (turn + 1) * self.settings.serves - 1
        texts = [text for step in range(max(0, last - QUEUE + 1), last + 1) for text in self.batch(step)]
        job = self._sample([turn], texts)
        if not self.worker:
            return job()
        if self._pool is None:
            from multiprocessing import get_context

            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        return self._pool.submit(job)

    def _sample(self, seed: Sequence[int], texts: Sequence[str]) -> Callable[[], Vocabulary]:
        return _Job(tuple(texts), self.base, self.vocab, self.settings.pieces, (self.settings.seed, *seed))


@dataclass(frozen=True)
class _Job:
    """A tokenizer to be drawn, as it is sent to the worker."""

    texts: tuple[str, ...]
    base: Mapping[str, Any]
    vocab: Vocab
    size: int
    seed: tuple[int, ...]

    def __call__(self) -> Vocabulary:
        return sample_vocabulary(self.texts, self.base, self.vocab, self.size, self.seed)


def snippets_of(texts: Mapping[str, Text]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cut texts into snippets and return those to train on and those held out, every tenth, 4 kB of them at most.

    Raises TokswapError for text that is too short.
    """
    documents = (document for text in texts.values() for document in text.documents)
    made = [piece for document in documents for piece in cut(document, SNIPPET_BYTES) if piece.strip()]
    held_out = made[HELD_OUT // 2 :: HELD_OUT]
    if not held_out:
        raise TokswapError(
            f"the text is too short: it is cut into {len(made)} snippets, and none of them can be held out",
            f"give at least {HELD_OUT * SNIPPET_BYTES // 1000} kB, better a hundred times as much",
        )
    count = max(1, min(len(held_out), HELD_OUT_BYTES // SNIPPET_BYTES))
    kept = np.linspace(0, len(held_out) - 1, count).round().astype(int).tolist()
    train = tuple(text for i, text in enumerate(made) if i % HELD_OUT != HELD_OUT // 2)
    return train, tuple(held_out[i] for i in kept)
