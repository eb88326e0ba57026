"""From folds of the merges to intervals whose coverage was measured on tokenizers of known mixtures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLD_WIDTH = 12.0
"""Half of an interval, in standard errors from folds of the merges, times `growth`."""

MERGES = 1000
"""Merges at which a standard error from folds is taken as it is."""

TEXT_WIDTH = 28.0
"""Half of an interval from the text that is counted: this times sqrt(s (1 - s) / bytes of the category), s the share.

Folds of merges don't see that a topic is more frequent in the counted text. Both widths were fitted on 40 tokenizers of
half of the languages and half of the programming languages (benchmarks/mixture_coverage.py).
"""

FLOOR = 6e-4
"""Half of an interval that is always there: a share that no fold moves off 0 is not known to be 0."""

SMALL_TEXT = 200_000
"""Bytes of a category's text under which the intervals were not tried."""

COVERAGE: dict[str, Any] = {
    "fitted": 0.9875,
    "held_out": 1.0,
    "held_out_shares": 1100,
    "other_source": 0.9925,
}
"""Part of the true shares inside their intervals: where the widths were fitted, in the other half of the categories,
and where the counted text is of another source than the training text. Five and ten categories at once, 1 to 10 MB.

benchmarks/results/mixture-coverage.json has them by group.
"""

NOMINAL = 0.95
"""What the intervals would have to hold, in held-out experiments, to be called by it."""


def growth(merges: int) -> float:
    """Return by how much errors exceed what folds of so many merges show, relative to that of 1,000.

    A word that is more frequent in one text than in another moves all the merges that it is made of: more merges
    are less independent than folds take them for. Errors over standard errors grew as the fourth root, from 300 merges
    to 3,000, for languages and for programming languages alike.
    """
    return (merges / MERGES) ** 0.25


def coverage_words() -> str:
    """Return what a person is told of the intervals."""
    name = f"{100 * NOMINAL:.0f} % intervals" if COVERAGE["held_out"] >= NOMINAL else "Intervals"
    return (
        f"{name}: in experiments with five to ten categories that they weren't fitted to they held the true share in "
        f"{100 * COVERAGE['held_out']:.1f} % of {COVERAGE['held_out_shares']:,} cases where the counted text was of "
        f"the training text's source, and in {100 * COVERAGE['other_source']:.1f} % where it was of another."
    )


def calibrated(
    shares: NDArray[np.float64], fold_error: NDArray[np.float64], text_bytes: NDArray[np.int64], merges: int
) -> NDArray[np.float64]:
    """Return intervals, Float[2 n], around shares of bytes, Float[n].

    `fold_error` are their standard errors from folds of the merges, Float[n], and `text_bytes` what was counted of each
    category, Int[n]; `merges` were explained.
    """
    text = TEXT_WIDTH**2 * shares * (1 - shares) / text_bytes
    half = np.sqrt((FOLD_WIDTH * growth(merges) * fold_error) ** 2 + text + FLOOR**2)
    return np.stack([np.maximum(shares - half, 0.0), np.minimum(shares + half, 1.0)])
