"""The last of a gap by row generation: the linear program itself, over the rows that are violated.

Where matchings leave a gap that is small, and a smaller one is wanted, the rows that matter are nearly all known. HiGHS
solves the program over them, rows that its solution violates are added, and so on. With thousands of rows that is
exact to rounding; with hundreds of thousands it takes hours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.level import Minimum
from tokswap.mixture.master import Master
from tokswap.mixture.objective import ROW_TOLERANCE, Objective, Place, tolerance

INWARD = 0.5
"""How far from the best place towards the master's rows are looked for."""

MOST_ROUNDS = 500

TIGHT = 1e-3
"""Rows with less to spare, relative to the slacks of an average step, are in the first master."""


def finish(
    objective: Objective,
    found: Minimum,
    gap: float,
    *,
    stop: Callable[[Minimum], bool],
    left: Callable[[], float],
) -> Minimum:
    """Return a minimum to a smaller gap than `found`, and add the rows that it took to those known.

    `left` tells how many seconds the solver may take. Raises TokswapError where it fails.
    """
    search = _Generation(objective, found)
    search.begin()
    for _ in range(MOST_ROUNDS):
        if not search.resolve(left()) or stop(found) or found.gap <= gap:
            break
        more = search.separate()
        if stop(found) or found.gap <= gap or not (more or search.coarse):
            break
    objective.known.add(search.master.step, search.master.pair)
    return found


class _Generation:
    """The state between rounds: the master and where it stands; `found` is what is known of the minimum."""

    def __init__(self, objective: Objective, found: Minimum) -> None:
        assert objective.best is not None
        self._objective, self._found = objective, found
        self._at = self._best = objective.best
        known = objective.known
        self.master = Master(*known.sizes)
        self._codes = np.zeros(0, dtype=np.int64)

    @property
    def coarse(self) -> bool:
        """Whether rows were only looked for that are violated by more than rounding."""
        return tolerance(self._found, self._objective.steps) > ROW_TOLERANCE

    def begin(self) -> None:
        """Put the rows into the master that are nearly tight at the best place."""
        known, place = self._objective.known, self._best
        spare = place.merge_slack[known.step] + place.pair_slack[known.pair] - known.lacks(place.alpha)
        rows = np.flatnonzero(spare <= TIGHT * place.objective / max(self._objective.steps, 1))
        self._add(known.step[rows], known.pair[rows])

    def resolve(self, seconds: float) -> bool:
        """Solve the master within `seconds` and stand where its solution is; tell whether there was time to."""
        point = self.master.solve(seconds)
        if point is None:
            return False
        self._at = Place(point.alpha, point.pair_slack, point.merge_slack)
        self._found.lower = max(self._found.lower, self.master.lower_bound(point.dual))
        self._found.evaluations += 1
        return True

    def separate(self) -> bool:
        """Add violated rows to the master, and tell whether there were any.

        They are looked for halfway between the best place and the master's, where fewer of them are in vain
        (Ben-Ameur and Neto 2007), and at the master's where there are none.
        """
        return self._look(self._best.towards(self._at, INWARD)) or self._look(self._at)

    def _look(self, at: Place) -> bool:
        whole = self._objective.complete(at)
        if whole.objective < self._found.upper:
            self._best, self._found.alpha, self._found.upper = whole, whole.alpha, whole.objective
        more = self._objective.look(at, self._found)
        return self._add(more.step, more.pair)

    def _add(self, step: NDArray[np.int32], pair: NDArray[np.int32]) -> bool:
        codes = step.astype(np.int64) * self._objective.known.sizes[2] + pair
        new = ~np.isin(codes, self._codes)
        if new.any():
            known = self._objective.known
            step, pair = step[new], pair[new]
            self.master.add(step, pair, known.merge_frequency[step] - known.frequencies(step, pair))
            self._codes = np.concatenate([self._codes, codes[new]])
        return bool(new.any())
