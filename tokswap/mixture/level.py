"""The level method: a convex function of the mixture, from values and slopes, down to a proved gap.

Lemaréchal, Nemirovskii and Nesterov 1995, "New variants of bundle methods". The cuts' least value over all mixtures
is a bound; the next mixture that is tried is the one nearest to the best so far among those where the cuts are
under a level between the bound and the best value. In n dimensions that takes some n evaluations, whatever the
number of rows that stand behind the function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.cuts import Cuts

LEVEL = 0.7
"""The level, between the bound and the best value: 0.3 takes half as many evaluations again."""

SETTLED = 0.2
"""A mixture is tried again while its value is known to no better than this part: the second time costs little."""

TRIES = 5

FIRST_EVALUATIONS, EVALUATIONS_A_CATEGORY = 40, 20
"""At most so many evaluations: some times more than were ever needed."""

NEGLIGIBLE = 1e-6
"""An objective, in pairs per million, that rounding can leave where the merges are explained exactly."""


@dataclass(frozen=True)
class Value:
    """A function at a mixture: at least `lower` there and `lower` + `slope` (alpha - mixture) everywhere."""

    lower: float
    slope: NDArray[np.float64]
    upper: float
    """At most that at this mixture; infinite where it wasn't looked for."""


@dataclass
class Minimum:
    """The best mixture so far, its value, and the bound."""

    alpha: NDArray[np.float64]
    upper: float = np.inf
    lower: float = 0.0
    evaluations: int = 0

    @property
    def gap(self) -> float:
        """How far the value can be above the least, relative to it."""
        return gap_of(self.upper, self.lower)


def gap_of(upper: float, lower: float) -> float:
    """Return (upper - lower) / upper, 0 where even the upper bound is nothing, 1 where there is none."""
    if upper <= NEGLIGIBLE:
        return 0.0
    return min(1.0, max(upper - lower, 0.0) / upper) if np.isfinite(upper) else 1.0


Evaluate = Callable[[NDArray[np.float64], Minimum], Value]


def minimise(
    evaluate: Evaluate,
    start: NDArray[np.float64],
    gap: float,
    *,
    stop: Callable[[Minimum], bool] = lambda _: False,
) -> Minimum:
    """Return the mixture, Float[n], whose value is within `gap` of the least, or as near as `stop` lets it come.

    `evaluate` gets a mixture and what is known so far; `stop` is asked after each evaluation.
    """
    cuts, found, at, tries = Cuts(len(start)), Minimum(start), start, 0
    for _ in range(FIRST_EVALUATIONS + EVALUATIONS_A_CATEGORY * len(start)):
        value = evaluate(at, found)
        cuts.add(at, value.lower, value.slope)
        cuts.least()
        found.evaluations += 1
        found.lower = max(found.lower, cuts.bound())
        if value.upper < found.upper:
            found.alpha, found.upper = at, value.upper
        if stop(found) or found.gap <= gap:
            break
        tries += 1
        unsettled = np.isfinite(value.upper) and value.upper - value.lower > SETTLED * value.upper
        if (unsettled and tries < TRIES) or not np.isfinite(found.upper):
            continue
        tries = 0
        at = cuts.nearest(found.alpha, found.lower + LEVEL * (found.upper - found.lower))
    return found
