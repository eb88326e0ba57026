"""How far the mixture moves when merges and pairs are weighed at random: the weighted bootstrap.

Every merge is a measurement with its own noise, from the text that was counted and from the unknown text that the
tokenizer was trained on. Weights from Exp(1) on the slacks of merges and of pairs (Rubin 1981, for two crossed
factors as Owen and Eckles 2012) show what that noise does to the mixture, and need no second replay: the rows that
the solution needed are solved again with other costs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.master import Master

RESAMPLES = 20
"""Resamples: a standard deviation of twenty is good to a sixth of itself."""


def resample(
    master: Master,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> NDArray[np.float64]:
    """Return mixtures, Float[B n], of a solved master whose slacks are weighed at random. The costs end as they were."""
    draw = np.random.default_rng(seed)
    out: list[NDArray[np.float64]] = []
    for i in range(resamples):
        master.weigh(draw.exponential(size=master.columns))
        out.append(master.solve().alpha)
        if on_progress is not None:
            on_progress("resample", i + 1, resamples)
    master.weigh(np.ones(master.columns))
    return np.stack(out)
