"""The linear program of data mixture inference, solved by adding the rows that are violated (METHODS 7).

    min  sum_t v_t + sum_p v_p   over  alpha, v >= 0,  sum alpha = 1
    with sum_i alpha_i (c_i,m - c_i,p)(t) / N_i + v_t + v_p >= 0   at each step t, for its merge m and each pair p

Hayase et al. 2024, arXiv:2407.16607, section 3. With 30,000 merges and a million pairs that is more rows than could
be written down; at the optimum a few per merge matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.events import Events
from tokswap.mixture.master import Master
from tokswap.mixture.rows import frequencies, pair_index
from tokswap.mixture.separation import Sweep, sweep
from tokswap.mixture.start import start_mixture

ROWS_A_MERGE = 2
"""Rows added for a step at once: fewer need more rounds, more a larger master."""

ROW_TOLERANCE = 1e-7
"""Rows violated by less, in pairs per million, are the solver's rounding."""

PART_OF_GAP = 0.1

SPREAD = 1.25
"""How much of a row's violation its pair is forgiven for the rest of a sweep: see `separation.sweep`."""

INWARD = 0.5
"""How far from the best solution towards the master's rows are looked for."""

GAP = 0.01
"""The default relative gap: the mixture then moves by far less than from one sample of text to another."""

NEGLIGIBLE = 1e-6
"""An objective, in pairs per million, that rounding can leave where the merges are explained exactly."""

SMALLEST_GAP = 1e-9
"""What floating-point sums can show."""

MOST_ROUNDS = 500


@dataclass(frozen=True)
class Solution:
    """A mixture over pairs, the proof of how good it is, and the program that gave it."""

    alpha: NDArray[np.float64]
    """(n,): shares of pairs, which sum to 1."""
    merge_slack: NDArray[np.float64]
    """(T,): v_t, in pairs per million."""
    pair_slack: NDArray[np.float64]
    """(P,): v_p, in pairs per million."""
    objective: float
    lower_bound: float
    rounds: int
    master: Master
    merge_frequency: NDArray[np.float64]
    """(T, n): how frequent each merge is at its step, in pairs per million of each category."""

    @property
    def rows(self) -> int:
        """Rows that had to be written down."""
        return len(self.master.step)

    @property
    def gap(self) -> float:
        """How far the objective can be above the optimum, relative to it."""
        return gap_of(self.objective, self.lower_bound)


def gap_of(upper: float, lower: float) -> float:
    """Return (upper - lower) / upper, 0 where even the upper bound is nothing."""
    if upper <= NEGLIGIBLE:
        return 0.0
    return min(1.0, max(upper - lower, 0.0) / upper)


def solve(
    events: Events,
    *,
    first: int = 0,
    gap: float = GAP,
    rows: int = ROWS_A_MERGE,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Solution:
    """Return the mixture that explains the merges from `first` on best, to a relative gap of the objective.

    Merges that no category's text holds at their step play no part: they say nothing of its mixture. Raises
    TokswapError where the solver fails.
    """
    search = _Search(events, first, rows)
    for _ in range(MOST_ROUNDS):
        more = search.separate()
        if on_progress is not None:
            on_progress("solve", *_digits(search.best.gap, gap))
        if search.best.gap <= gap:
            break
        if more:
            search.resolve()
        elif search.tolerance() <= ROW_TOLERANCE:
            break
    return search.best


@dataclass(frozen=True)
class _Place:
    """A mixture with slacks, where rows are looked for."""

    alpha: NDArray[np.float64]
    pair_slack: NDArray[np.float64]
    merge_slack: NDArray[np.float64]

    def towards(self, other: _Place, part: float) -> _Place:
        """Return the place that lies `part` of the way to another."""
        mine, theirs = astuple(self), astuple(other)
        return _Place(*((1 - part) * a + part * b for a, b in zip(mine, theirs, strict=True)))


class _Search:
    """The state between rounds: the master, the place where it stands, and the best solution so far."""

    def __init__(self, events: Events, first: int, rows: int) -> None:
        self._events, self._rows = events, rows
        self._index = pair_index(events)
        every = np.arange(events.steps, dtype=np.int32)
        self._merge_frequency = frequencies(events, self._index, every, events.merges)
        self._used = self._merge_frequency.any(1) & (every >= first)
        self._master = Master(events.categories, events.steps, len(events.pairs))
        self._known = np.zeros(0, dtype=np.int64)
        self._new = np.zeros((2, 0), dtype=np.int32)
        self._none = np.zeros(len(events.pairs)), np.zeros(events.steps)
        self._at = _Place(start_mixture(self._merges_only, events.categories), *self._none)
        self._best_at = self._at
        self.best = Solution(
            alpha=self._at.alpha,
            merge_slack=self._at.merge_slack,
            pair_slack=self._at.pair_slack,
            objective=np.inf,
            lower_bound=0.0,
            rounds=0,
            master=self._master,
            merge_frequency=self._merge_frequency,
        )

    def separate(self) -> bool:
        """Look for violated rows, and tell whether there are any.

        They are looked for halfway between the best solution and the master's, where fewer of them are in vain
        (Ben-Ameur and Neto 2007), and at the master's where there are none.
        """
        halfway = self._best_at.towards(self._at, INWARD)
        return self._look(halfway) or self._look(self._at)

    def tolerance(self) -> float:
        """Return by how much rows must be violated to be added now.

        A tenth of what is between the bounds, for each step: where no row is violated by more, the objective of the
        master's place is within a tenth of that of the lower bound. Rows that matter less wait for later rounds.
        """
        between = self.best.objective - self.best.lower_bound
        if not np.isfinite(between):
            return ROW_TOLERANCE
        return max(ROW_TOLERANCE, PART_OF_GAP * between / max(int(self._used.sum()), 1))

    def resolve(self) -> None:
        """Add the rows of the last sweep and solve the master again."""
        step, pair = self._new
        others = frequencies(self._events, self._index, step, pair)
        self._master.add(step, pair, self._merge_frequency[step] - others)
        point = self._master.solve()
        self._at = _Place(point.alpha, point.pair_slack, point.merge_slack)
        self.best = replace(
            self.best,
            lower_bound=max(self.best.lower_bound, self._master.lower_bound(point.dual)),
            rounds=self.best.rounds + 1,
        )

    def _look(self, at: _Place) -> bool:
        """Keep a place's solution where that is better, note the rows that it violates, and tell whether any is new."""
        self._keep(replace(at, merge_slack=self._sweep(at, rows=1, spread=0.0).slack))
        found = self._sweep(at, rows=self._rows, spread=SPREAD)
        codes = found.step.astype(np.int64) * len(self._events.pairs) + found.pair
        fresh = ~np.isin(codes, self._known)
        self._known = np.concatenate([self._known, codes[fresh]])
        self._new = np.stack([found.step[fresh], found.pair[fresh]])
        return bool(fresh.any())

    def _sweep(self, at: _Place, *, rows: int, spread: float) -> Sweep:
        return sweep(
            self._events,
            at.alpha,
            at.pair_slack,
            at.merge_slack,
            used=self._used,
            rows=rows,
            tolerance=self.tolerance(),
            spread=spread,
        )

    def _keep(self, at: _Place) -> None:
        """Keep a place that satisfies every row, where it is better than the best so far."""
        objective = float(at.merge_slack.sum() + at.pair_slack.sum())
        if objective < self.best.objective:
            self._best_at = at
            self.best = replace(
                self.best,
                alpha=at.alpha,
                merge_slack=at.merge_slack,
                pair_slack=at.pair_slack,
                objective=objective,
            )

    def _merges_only(self, alpha: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective where only merges have slack, and a subgradient, Float[n]."""
        found = sweep(self._events, alpha, *self._none, used=self._used, rows=1, tolerance=0.0)
        others = frequencies(self._events, self._index, found.step, found.pair)
        return float(found.slack.sum()), (others - self._merge_frequency[found.step]).sum(0)


def _digits(reached: float, wanted: float) -> tuple[int, int]:
    """Return the progress of a gap towards the one that is wanted, on a scale of logarithms, out of 1,000."""
    floor = max(wanted, SMALLEST_GAP)
    return min(1000, round(1000 * np.log(max(reached, floor)) / np.log(floor))), 1000
