"""The linear program of data mixture inference, solved to a proved gap (METHODS 7).

    min  sum_t v_t + sum_p v_p   over  alpha, v >= 0,  sum alpha = 1
    with sum_i alpha_i (c_i,m - c_i,p)(t) / N_i + v_t + v_p >= 0   at each step t, for its merge m and each pair p

Hayase et al. 2024, arXiv:2407.16607, section 3. With 30,000 merges and a million pairs that is more rows than could
be written down. But it has few variables that matter: once the mixture is known the slacks are those of a matching
(`matching`), and what is left is a convex function of n shares (`objective`), for which there is the level
method (`level`). A gap too small for that is left to the linear program over the rows found by then (`generation`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.events import Events
from tokswap.mixture.generation import finish
from tokswap.mixture.known import KnownRows
from tokswap.mixture.level import Minimum, gap_of, minimise
from tokswap.mixture.objective import ROWS_A_MERGE, Objective
from tokswap.mixture.start import start_mixture

GAP = 0.01
"""The default relative gap: the mixture then moves by far less than from one sample of text to another."""

FINE = 0.001
"""A gap down to which matchings are found fast enough; a smaller one is left to the program over the rows."""

SMALLEST_GAP = 1e-9
"""What floating-point sums can show."""


@dataclass(frozen=True)
class Solution:
    """A mixture over pairs, the proof of how good it is, and the rows that gave it."""

    alpha: NDArray[np.float64]
    """(n,): shares of pairs, which sum to 1."""
    merge_slack: NDArray[np.float64]
    """(T,): v_t, in pairs per million."""
    pair_slack: NDArray[np.float64]
    """(P,): v_p, in pairs per million."""
    objective: float
    lower_bound: float
    rounds: int
    """Mixtures that were tried."""
    known: KnownRows

    @property
    def rows(self) -> int:
        """Rows that had to be written down."""
        return len(self.known)

    @property
    def gap(self) -> float:
        """How far the objective can be above the optimum, relative to it."""
        return gap_of(self.objective, self.lower_bound)

    @property
    def merge_frequency(self) -> NDArray[np.float64]:
        """(T, n): how frequent each merge is at its step, in pairs per million of each category."""
        return self.known.merge_frequency


def solve(
    events: Events,
    *,
    first: int = 0,
    gap: float = GAP,
    seconds: float = np.inf,
    rows: int = ROWS_A_MERGE,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Solution:
    """Return the mixture that explains the merges from `first` on best, to a relative gap of the objective.

    After `seconds` the best one so far is returned, whose gap is larger, and proved as well. Merges that no
    category's text holds at their step play no part: they say nothing of its mixture. Raises TokswapError where the
    solver fails.
    """
    until = monotonic() + seconds
    objective = Objective(events, first, rows)

    def stop(found: Minimum) -> bool:
        if on_progress is not None:
            on_progress("solve", *_digits(found.gap, gap))
        return monotonic() > until

    start = start_mixture(objective.merges_only, events.categories)
    found = minimise(objective, start, max(gap, FINE), stop=stop)
    if found.gap > gap and monotonic() < until:
        found = finish(objective, found, gap, stop=stop, left=lambda: until - monotonic())
    best = objective.best
    assert best is not None
    return Solution(
        alpha=best.alpha,
        merge_slack=best.merge_slack,
        pair_slack=best.pair_slack,
        objective=best.objective,
        lower_bound=min(found.lower, best.objective),
        rounds=found.evaluations,
        known=objective.known,
    )


def _digits(reached: float, wanted: float) -> tuple[int, int]:
    """Return the progress of a gap towards the one that is wanted, on a scale of logarithms, out of 1,000."""
    floor = max(wanted, SMALLEST_GAP)
    return min(1000, round(1000 * np.log(max(reached, floor)) / np.log(floor))), 1000
