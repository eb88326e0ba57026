"""The program as a function of the mixture alone: its least objective over all slacks, by matchings and sweeps.

A matching over the rows known so far gives the function from below, with a slope; its slacks of pairs and a sweep of
the events, which sees all rows, give it from above. Rows that the sweep finds violated are known from then on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.events import Events
from tokswap.mixture.known import KnownRows
from tokswap.mixture.level import Minimum, Value
from tokswap.mixture.matching import Matching
from tokswap.mixture.separation import Sweep, sweep

ROWS_A_MERGE = 3
"""Rows added for a step at once: fewer need more rounds, more a larger program."""

ROW_TOLERANCE = 1e-7
"""Rows violated by less, in pairs per million, are the solver's rounding."""

PART_OF_GAP = 0.1

SPREAD = 1.25
"""How much of a row's violation its pair is forgiven for the rest of a sweep: see `separation.sweep`."""

ACCURACY = 0.5
"""Matchings are as near to the best ones as this part of the gap, which is taken to be `COARSE` while it is larger."""

COARSE, FINEST = 0.05, 1e-3

MERGES_ONLY_PART = 0.1
"""An objective is more than this part of what it is where merges alone have slack."""

NEAR = 1.02
"""A mixture is swept where its objective may be a better one than the best, and every `PATIENCE` evaluations."""

PATIENCE = 8

RARELY, LARGE = 5, 0.1
"""Rows are put in order after so many sweeps, or when so large a part of them is new."""


@dataclass(frozen=True)
class Place:
    """A mixture with slacks."""

    alpha: NDArray[np.float64]
    pair_slack: NDArray[np.float64]
    merge_slack: NDArray[np.float64]

    @property
    def objective(self) -> float:
        """The sum of the slacks, in pairs per million."""
        return float(self.pair_slack.sum() + self.merge_slack.sum())

    def towards(self, other: Place, part: float) -> Place:
        """Return the place that lies `part` of the way to another."""
        mine, theirs = astuple(self), astuple(other)
        return Place(*((1 - part) * a + part * b for a, b in zip(mine, theirs, strict=True)))


def tolerance(found: Minimum, steps: int) -> float:
    """Return by how much a row must be violated to matter, in pairs per million.

    A tenth of what is between the bounds, for each step: where no row is violated by more, an objective is within a
    tenth of the gap of the least with its mixture. Rows that matter less wait for later.
    """
    between = found.upper - found.lower
    if not np.isfinite(between):
        return ROW_TOLERANCE
    return max(ROW_TOLERANCE, PART_OF_GAP * between / max(steps, 1))


def best_matching(known: KnownRows, alpha: NDArray[np.float64], found: Minimum) -> Matching:
    """Return the matching at a mixture, as near to the best one as the gap asks for."""
    lacks = known.lacks(alpha)
    scale = MERGES_ONLY_PART * known.greatest(lacks).sum()
    if np.isfinite(found.upper):
        scale = max(scale, found.upper)
    part = ACCURACY * min(max(found.gap, FINEST), COARSE)
    return known.match(lacks, max(part * scale / len(known.merge_frequency), ROW_TOLERANCE))


def over_known(known: KnownRows) -> Callable[[NDArray[np.float64], Minimum], Value]:
    """Return the program of the known rows alone as a function of the mixture."""

    def evaluate(alpha: NDArray[np.float64], found: Minimum) -> Value:
        matching = best_matching(known, alpha, found)
        upper = float(matching.merge_slack.sum() + matching.pair_slack.sum())
        return Value(matching.weight, known.slope(matching.rows), upper)

    return evaluate


class Objective:
    """The whole program as a function of the mixture, the rows it got to know, and the best place it saw."""

    def __init__(self, events: Events, first: int, rows: int) -> None:
        self._events, self._rows = events, rows
        self.known = KnownRows(events)
        self.used = self.known.merge_frequency.any(1) & (np.arange(events.steps) >= first)
        """(T,): the steps from `first` on whose merge some text holds."""
        self.steps = int(self.used.sum())
        self._pending: list[Sweep] = []
        self._unswept = 0
        self.best: Place | None = None

    def without_slack(self, alpha: NDArray[np.float64]) -> Place:
        """Return a place with no slack, which need not satisfy the rows."""
        return Place(alpha, np.zeros(len(self._events.pairs)), np.zeros(self._events.steps))

    def __call__(self, alpha: NDArray[np.float64], found: Minimum) -> Value:
        """Evaluate the objective at a mixture."""
        if not len(self.known):
            self._note(self.look(self.without_slack(alpha), found))
        matching = best_matching(self.known, alpha, found)
        slope = self.known.slope(matching.rows)
        if matching.weight > NEAR * found.upper and self._unswept < PATIENCE:
            self._unswept += 1
            return Value(matching.weight, slope, np.inf)
        self._unswept = 0
        place = Place(alpha, matching.pair_slack, matching.merge_slack)
        upper = self.complete(place).objective
        self._note(self.look(place, found))
        return Value(matching.weight, slope, upper)

    def complete(self, place: Place) -> Place:
        """Return a place that satisfies every row: slacks of merges are raised, or lowered, to what its pairs' leave.

        It is kept where it is better than the best so far.
        """
        slack = self._sweep(place, rows=1, tolerance=0.0, spread=0.0).slack
        whole = Place(place.alpha, place.pair_slack, slack)
        if self.best is None or whole.objective < self.best.objective:
            self.best = whole
        return whole

    def look(self, place: Place, found: Minimum) -> Sweep:
        """Return rows that a place violates."""
        return self._sweep(place, rows=self._rows, tolerance=tolerance(found, self.steps), spread=SPREAD)

    def merges_only(self, alpha: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the objective where only merges have slack, and a subgradient, Float[n]."""
        found = self._sweep(self.without_slack(alpha), rows=1, tolerance=0.0, spread=0.0)
        others = self.known.frequencies(found.step, found.pair)
        return float(found.slack.sum()), (others - self.known.merge_frequency[found.step]).sum(0)

    def _note(self, more: Sweep) -> None:
        self._pending.append(more)
        large = sum(len(one.step) for one in self._pending) > LARGE * len(self.known)
        if large or len(self._pending) >= RARELY:
            step = np.concatenate([one.step for one in self._pending])
            pair = np.concatenate([one.pair for one in self._pending])
            self.known.add(step, pair)
            self._pending.clear()

    def _sweep(self, place: Place, *, rows: int, tolerance: float, spread: float) -> Sweep:
        return sweep(
            self._events,
            place.alpha,
            place.pair_slack,
            place.merge_slack,
            used=self.used,
            rows=rows,
            tolerance=tolerance,
            spread=spread,
        )
