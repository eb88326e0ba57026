"""The rows found so far, by step: what each lacks at a mixture, and how that changes with it.

A row's pair is in a few categories' text, its merge often in many: the pairs' frequencies are kept sparse, and the
merges' once for all rows.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.events import Events
from tokswap.mixture.matching import Matching, match
from tokswap.mixture.rows import PairIndex, frequencies, pair_index

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BATCH = 1 << 22
"""Frequencies, rows by categories, that are looked up at once: 32 MB."""


class KnownRows:
    """Rows (step, pair), ordered by step and pair, with their coefficients in pairs per million."""

    def __init__(self, events: Events) -> None:
        from scipy.sparse import csr_array

        self._events = events
        self._index: PairIndex = pair_index(events)
        every = np.arange(events.steps, dtype=np.int32)
        self.merge_frequency = frequencies(events, self._index, every, events.merges)
        """(T, n): how frequent each merge is at its step."""
        self.step = np.zeros(0, dtype=np.int32)
        self.pair = np.zeros(0, dtype=np.int32)
        self._others: csr_array = csr_array((0, events.categories))
        self._starts = np.zeros(events.steps + 1, dtype=np.int64)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """n, T and P."""
        return self._events.categories, self._events.steps, len(self._events.pairs)

    def __len__(self) -> int:
        return len(self.step)

    def add(self, step: NDArray[np.int32], pair: NDArray[np.int32]) -> int:
        """Add those of the rows that aren't there, and return how many that are."""
        from scipy.sparse import vstack

        pairs = len(self._events.pairs)
        old = self.step.astype(np.int64) * pairs + self.pair
        wanted: NDArray[np.int64] = np.unique(step.astype(np.int64) * pairs + pair)
        new = wanted[~np.isin(wanted, old)]
        if not len(new):
            return 0
        codes = np.concatenate([old, new])
        order = np.argsort(codes, kind="stable")
        steps, self.pair = (part.astype(np.int32) for part in np.divmod(codes[order], pairs))
        self.step = steps
        self._others = cast("Any", vstack([self._others, *self._looked_up(new)], format="csr"))[order]
        self._starts = np.searchsorted(steps, np.arange(self._events.steps + 1)).astype(np.int64)
        return len(new)

    def part(self, kept: NDArray[np.bool_]) -> KnownRows:
        """Return some of the rows, Bool[R], by themselves."""
        other = copy(self)
        other.step, other.pair = self.step[kept], self.pair[kept]
        other._others = cast("Any", self._others)[kept]
        other._starts = np.searchsorted(other.step, np.arange(self._events.steps + 1)).astype(np.int64)
        return other

    def lacks(self, alpha: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how much each row is violated where there are no slacks, Float[R]."""
        return self._others @ alpha - (self.merge_frequency @ alpha)[self.step]

    def slope(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the gradient of the sum of what some rows lack, Float[n]."""
        others = cast("Any", self._others)[rows].sum(0)
        return np.asarray(others).ravel() - self.merge_frequency[self.step[rows]].sum(0)

    def coefficients(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return g of some rows, Float[R n]."""
        return self.merge_frequency[self.step[rows]] - cast("Any", self._others)[rows].toarray()

    def greatest(self, lacks: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what the worst row of each step that has rows lacks, at least 0."""
        some = self._starts[:-1][np.diff(self._starts) > 0]
        return np.maximum(np.maximum.reduceat(lacks, some), 0.0) if len(some) else np.zeros(0)

    def match(self, lacks: NDArray[np.float64], epsilon: float) -> Matching:
        """Return the best matching by what rows lack, to `epsilon` a row."""
        return match(self._starts, self.pair, lacks, len(self._events.pairs), epsilon)

    def frequencies(self, step: NDArray[np.int32], pair: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return how frequent pairs are at steps, Float[R n], in pairs per million of each category."""
        return frequencies(self._events, self._index, step, pair)

    def _looked_up(self, codes: NDArray[np.int64]) -> list[csr_array]:
        from scipy.sparse import csr_array

        events, batch = self._events, max(1, BATCH // self._events.categories)
        out: list[csr_array] = []
        for first in range(0, len(codes), batch):
            step, pair = np.divmod(codes[first : first + batch], len(events.pairs))
            found = self.frequencies(step.astype(np.int32), pair.astype(np.int32))
            out.append(csr_array(found))
        return out
