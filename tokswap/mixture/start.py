"""A mixture to start from: the best one when only merges, and no pairs, may have slack.

Then each v_t is known as soon as the mixture is, and the objective is a convex function of n numbers: the sum over
steps of how much the most frequent other pair exceeds the merge. A sweep gives its value and a subgradient, and cuts
within a box around the best point so far (Marsten, Hogan and Blankenship 1975) find its minimum. It is less accurate
than the whole program's, and close to it: rows that are violated there are rows that matter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.cuts import Cuts

Evaluate = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]

FIRST_BOX = 0.25
SMALLEST_BOX = 1e-5
"""Half the side of the box, in shares: as wide as a typical share at first, and well under any error at last."""

GROWTH, SHRINKAGE = 2.0, 0.5
ENOUGH = 0.02
"""Relative gap, within the box, at which a better start would save nothing."""

MOST_CUTS = 200


def start_mixture(evaluate: Evaluate, categories: int) -> NDArray[np.float64]:
    """Return a mixture, Float[n], whose value by `evaluate` (value and subgradient at a mixture) is nearly least."""
    best = np.full(categories, 1 / categories)
    value, slope = evaluate(best)
    cuts = Cuts(categories)
    cuts.add(best, value, slope)
    box = FIRST_BOX
    for _ in range(MOST_CUTS):
        there = cuts.least(np.maximum(best - box, 0.0), np.minimum(best + box, 1.0))
        promised = cuts.value(there)
        if value - promised <= ENOUGH * value or box < SMALLEST_BOX:
            break
        tried, slope = evaluate(there)
        cuts.add(there, tried, slope)
        if value - tried >= 0.5 * (value - promised):
            box *= GROWTH
        elif tried >= value:
            box *= SHRINKAGE
        if tried < value:
            best, value = there, tried
    return best
