"""From folds of the merges to intervals whose coverage was measured on tokenizers of known mixtures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH = 2.0
"""Standard errors to each side."""

TEXT_NOISE = 8.0
"""Standard error of a share s from the text that is counted: this times sqrt(s (1 - s) / bytes of the category).

Fitted to 40 tokenizers of known mixtures of languages (benchmarks/mixture_experiments.py, seeds 0 and 300), on text
of 0.2 and 1 MB a category: folds of merges don't see that a topic is more frequent in the counted text.
"""

FLOOR = 3e-4
"""Standard error that is always there: a share that no fold moves off 0 is not known to be 0."""

SMALL_TEXT = 200_000
"""Bytes of a category's text under which the intervals were not tried."""

COVERAGE = (
    "Two standard errors, fitted to 40 tokenizers of known mixtures of five languages: there they held 98 % of the "
    "true shares with 1 MB of text a category, and 83 % with 0.2 MB. Text of another domain than the training "
    "text's errs by more."
)
"""What a person is told of the intervals, which is why they aren't called 95 % intervals."""


def calibrated(
    shares: NDArray[np.float64], fold_error: NDArray[np.float64], text_bytes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return intervals, Float[2 n], around shares of bytes, Float[n].

    `fold_error` are their standard errors from folds of the merges, Float[n], and `text_bytes` what was counted of each
    category, Int[n].
    """
    text = TEXT_NOISE**2 * shares * (1 - shares) / text_bytes
    half = WIDTH * np.sqrt(fold_error**2 + text + FLOOR**2)
    return np.stack([np.maximum(shares - half, 0.0), np.minimum(shares + half, 1.0)])
