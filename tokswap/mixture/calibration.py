"""From folds of the merges to intervals whose coverage was measured on tokenizers of known mixtures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.folds import standard_error

WIDTH = 3.0
"""Standard errors to each side."""

FLOOR = 1e-4
"""Added to a standard error: a share that no fold moves off 0 is not known to be 0."""

COVERAGE = ""


def calibrated(shares: NDArray[np.float64], folds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intervals, Float[2 n], around `shares`, Float[n], from those of folds of the merges, Float[G n]."""
    half = WIDTH * (standard_error(folds) + FLOOR)
    return np.stack([np.maximum(shares - half, 0.0), np.minimum(shares + half, 1.0)])
