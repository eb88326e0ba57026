"""How far mixtures differ that disjoint parts of the merges give.

Every merge is a measurement with its own noise, from the text that was counted and from the unknown text that the
tokenizer was trained on; folds of the text would show the first alone. Each fold of the steps is solved over the rows
that the whole program got to know, so that all folds together cost less than the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.known import KnownRows
from tokswap.mixture.level import minimise
from tokswap.mixture.master import Master
from tokswap.mixture.objective import over_known

FOLDS = 10
"""Folds: the standard error of ten is good to a quarter of itself, and a fold of few merges is biased."""

MOST_ENTRIES = 100_000
"""Rows by categories up to which the linear program of a fold is solved as it stands."""

GAP = 0.005
"""Relative gap of a larger fold: its mixture then moves by far less than from fold to fold."""


def solve_folds(
    known: KnownRows, *, on_progress: Callable[[str, int, int], None] | None = None
) -> NDArray[np.float64]:
    """Return the mixture of every tenth step, from each of the first ten on, Float[G n]: shares of pairs."""
    out: list[NDArray[np.float64]] = []
    for fold in range(FOLDS):
        out.append(_solved(known.part(known.step % FOLDS == fold)))
        if on_progress is not None:
            on_progress("folds", fold + 1, FOLDS)
    return np.stack(out)


def _solved(known: KnownRows) -> NDArray[np.float64]:
    """Return a mixture that is best by some rows alone, Float[n]: a vertex where few rows leave many that are best."""
    n, *_ = sizes = known.sizes
    if len(known) * n > MOST_ENTRIES:
        return minimise(over_known(known), np.full(n, 1 / n), GAP).alpha
    master = Master(*sizes)
    master.add(known.step, known.pair, known.coefficients(np.arange(len(known))))
    point = master.solve()
    assert point is not None, "no time was set"
    return point.alpha


def standard_error(folds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error, Float[n], of the mean of folds, Float[G n]."""
    return folds.std(0, ddof=1) / np.sqrt(len(folds))
