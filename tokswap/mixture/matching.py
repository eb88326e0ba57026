"""The best slacks of a mixture, as a matching.

With the mixture fixed, the program is the dual of a maximum-weight matching of steps with pairs: a row weighs what it
lacks, and each step and each pair has at most one row of the matching. The matching's weight is a lower bound of
the objective at this mixture and, as the same rows are there for every mixture, its rows give a bound everywhere.

It is found by an auction (Bertsekas 1992, "Auction algorithms for network flow problems"): steps bid for pairs until
each has the one that is worth most to it beyond its price, to within epsilon. Prices are slacks of pairs, and what
a pair is worth beyond its price is the slack of the merge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.compiled import compiled

NONE = -1


@dataclass(frozen=True)
class Matching:
    """Rows that share no step and no pair, and slacks that satisfy all the rows that were matched over."""

    rows: NDArray[np.int64]
    """(M,): which rows are matched."""
    weight: float
    """The sum of what they lack: the objective is at least that."""
    merge_slack: NDArray[np.float64]
    """(T,): v_t."""
    pair_slack: NDArray[np.float64]
    """(P,): v_p. The sum of all slacks is above the weight by at most epsilon for each row matched."""


def match(
    starts: NDArray[np.int64],
    pair: NDArray[np.int32],
    lacks: NDArray[np.float64],
    pairs: int,
    epsilon: float,
) -> Matching:
    """Match rows starts[t]:starts[t + 1] of step t with their `pair`, Int[R] under `pairs`, by weights `lacks`.

    `epsilon` > 0, in the unit of the weights, bounds how far each step's row is from its best one.
    """
    steps = len(starts) - 1
    price = np.zeros(pairs)
    taken = np.full(steps, NONE, dtype=np.int64)
    merge_slack = np.zeros(steps)
    _auction(starts, pair, lacks, epsilon, price, taken, merge_slack)
    rows = taken[taken >= 0]
    return Matching(rows, float(lacks[rows].sum()), merge_slack, price)


@compiled
def _auction(
    starts: NDArray[np.int64],
    pair: NDArray[np.int32],
    lacks: NDArray[np.float64],
    epsilon: float,
    price: NDArray[np.float64],
    taken: NDArray[np.int64],
    merge_slack: NDArray[np.float64],
) -> None:
    """Let steps bid, and write what they take, prices, and what is left to each step at the end."""
    steps = len(starts) - 1
    owner = np.full(len(price), NONE, dtype=np.int64)
    waiting = np.arange(steps)[::-1].copy()
    left = steps
    while left > 0:
        left -= 1
        step = waiting[left]
        row, best, second = _best(int(starts[step]), int(starts[step + 1]), pair, lacks, price)
        if row < 0:
            continue
        p = pair[row]
        price[p] += best - second + epsilon
        loser = owner[p]
        owner[p] = step
        taken[step] = row
        if loser >= 0:
            taken[loser] = NONE
            waiting[left] = loser
            left += 1
    for step in range(steps):
        merge_slack[step] = _best(int(starts[step]), int(starts[step + 1]), pair, lacks, price)[1]


@compiled
def _best(
    first: int, end: int, pair: NDArray[np.int32], lacks: NDArray[np.float64], price: NDArray[np.float64]
) -> tuple[int, float, float]:
    """Return the row that is worth most, its worth and that of the next; -1 and 0 where none is worth anything."""
    row, best, second = NONE, 0.0, 0.0
    for r in range(first, end):
        worth = lacks[r] - price[pair[r]]
        if worth > best:
            row, best, second = r, worth, best
        elif worth > second:
            second = worth
    return row, best, second
