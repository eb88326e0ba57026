"""How far mixtures differ that disjoint parts of the merges give.

Every merge is a measurement with its own noise, from the text that was counted and from the unknown text that the
tokenizer was trained on; folds of the text would show the first alone. Each fold of the steps is solved over the rows
that the whole program needed, so that all folds together cost less than the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.master import Master

FOLDS = 10
"""Folds: the standard error of ten is good to a quarter of itself, and a fold of few merges is biased."""


def solve_folds(
    master: Master, *, on_progress: Callable[[str, int, int], None] | None = None
) -> NDArray[np.float64]:
    """Return the mixture of every tenth step, from each of the first ten on, Float[G n]: shares of pairs."""
    out: list[NDArray[np.float64]] = []
    for fold in range(FOLDS):
        out.append(master.part(master.step % FOLDS == fold).solve().alpha)
        if on_progress is not None:
            on_progress("folds", fold + 1, FOLDS)
    return np.stack(out)


def standard_error(folds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard error, Float[n], of the mean of folds, Float[G n]."""
    return folds.std(0, ddof=1) / np.sqrt(len(folds))
