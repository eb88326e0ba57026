"""Cuts: a convex function of the mixture from below, by its values and slopes at the mixtures that were tried."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.solver import INFINITY, silent_solver

STEP_BACK = 0.3
"""How far towards the least mixture one is taken where no nearest one is found."""

ITERATIONS_A_SIDE = 20

EMPTY = 1e-10
"""What is left of 1 where a level has no mixture under it, by rounding."""


class Cuts:
    """min z over mixtures, with z above every cut: columns 0 … n - 1 are the mixture, n is z."""

    def __init__(self, categories: int) -> None:
        self._n = categories
        self._highs = silent_solver()
        self._columns = np.arange(categories, dtype=np.int32)
        for _ in range(categories):
            self._highs.addVar(0.0, 1.0)
        self._highs.addVar(0.0, INFINITY)
        self._highs.changeColCost(categories, 1.0)
        self._highs.addRow(1.0, 1.0, categories, self._columns, np.ones(categories))
        self._slopes = np.zeros((0, categories))
        self._offsets = np.zeros(0)

    def add(self, at: NDArray[np.float64], value: float, slope: NDArray[np.float64]) -> None:
        """Add z >= value + slope (alpha - at)."""
        offset = value - float(slope @ at)
        self._highs.addRow(
            offset, INFINITY, self._n + 1, np.append(self._columns, self._n), np.append(-slope, 1.0)
        )
        self._slopes = np.vstack([self._slopes, slope])
        self._offsets = np.append(self._offsets, offset)

    def least(
        self, low: float | NDArray[np.float64] = 0.0, high: float | NDArray[np.float64] = 1.0
    ) -> NDArray[np.float64]:
        """Return the mixture between `low` and `high` where z is least."""
        bounds = np.full(self._n, low, dtype=np.float64), np.full(self._n, high, dtype=np.float64)
        self._highs.changeColsBounds(self._n, self._columns, *bounds)
        self._highs.run()
        return _mixture(np.asarray(self._highs.getSolution().col_value)[: self._n])

    def value(self, alpha: NDArray[np.float64]) -> float:
        """Return the greatest cut at a mixture."""
        return float(np.max(self._slopes @ alpha + self._offsets, initial=0.0))

    def bound(self) -> float:
        """Return a z that no mixture is under, whatever the accuracy of the solver, after `least()`.

        Any weights of the cuts that sum to 1 give one: the least share's worth of the weighted cut.
        """
        weight = np.maximum(np.asarray(self._highs.getSolution().row_dual)[1:], 0.0)
        if not weight.sum() > 0:
            return 0.0
        weight /= max(weight.sum(), 1.0)
        return max(0.0, float((weight @ self._slopes).min() + weight @ self._offsets))

    def nearest(self, centre: NDArray[np.float64], level: float) -> NDArray[np.float64]:
        """Return the mixture nearest to `centre` with no cut above `level`.

        It is on the way to the least one where none is found: rounding can leave a level empty that is a bound.
        """
        scale = np.abs(self._slopes).max(1, initial=0.0)
        scale[scale == 0] = 1.0
        found = project(centre, self._slopes / scale[:, None], (level - self._offsets) / scale)
        if found is not None:
            return _mixture(found)
        there = self.least()
        return centre + STEP_BACK * (there - centre)


def project(
    centre: NDArray[np.float64], table: NDArray[np.float64], limit: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the mixture with `table` alpha <= `limit` nearest to `centre`, None where there is none.

    A least-distance problem, which is one of non-negative least squares (Lawson and Hanson 1974, chapter 23). The
    steps from the centre sum to 0: they are looked for in the n - 1 dimensions where that is so.
    """
    from scipy.optimize import nnls

    n = len(centre)
    across = _summing_to_nothing(n)
    sides = np.vstack([-table @ across, across])
    least = np.concatenate([table @ centre - limit, -centre])
    norm = np.linalg.norm(sides, axis=1)
    norm[norm == 0] = 1.0
    sides, least = sides / norm[:, None], least / norm
    furthest = float(np.abs(least).max())
    if furthest == 0:
        return centre
    wanted = np.append(np.zeros(n - 1), 1.0)
    system = np.vstack([sides.T, least / furthest])
    try:
        weights, _ = nnls(system, wanted, maxiter=ITERATIONS_A_SIDE * len(sides))
    except RuntimeError:  # it went round in circles
        return None
    rest = system @ weights - wanted
    if rest[-1] > -EMPTY:
        return None
    return centre - across @ (rest[:-1] / rest[-1]) * furthest


def _summing_to_nothing(n: int) -> NDArray[np.float64]:
    """Return an orthonormal basis, Float[n n-1], of the vectors whose numbers sum to 0."""
    # The reflection that takes the vector of ones to the first axis takes the other axes to the basis.
    mirror = np.full(n, n**-0.5)
    mirror[0] += 1.0
    mirror /= np.linalg.norm(mirror)
    return (np.eye(n) - 2 * np.outer(mirror, mirror))[:, 1:]


def _mixture(value: NDArray[np.float64]) -> NDArray[np.float64]:
    alpha = np.maximum(value, 0.0)
    return alpha / alpha.sum()
