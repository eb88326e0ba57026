"""From resampled mixtures to intervals whose coverage was measured on tokenizers of known mixtures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 3.0
"""Standard deviations of the resampled shares to each side."""

FLOOR = 1e-4
"""Added to a standard deviation: a share that no resample moves off 0 is not known to be 0."""

COVERAGE = ""


def calibrated(shares: NDArray[np.float64], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return intervals, Float[2 n], around `shares`, Float[n], from resampled ones, Float[B n]."""
    half = WIDTH * (drawn.std(0, ddof=1) + FLOOR)
    return np.stack([np.maximum(shares - half, 0.0), np.minimum(shares + half, 1.0)])
