"""Separation: for a mixture and pair slacks, the violated rows and the best merge slacks, in one sweep of the events.

Row (t, p): sum_i alpha_i (c_i,m - c_i,p)(t) / N_i + v_t + v_p >= 0, m being the merge of step t. The sweep keeps
x_p = sum_i alpha_i c_i,p / N_i - v_p and needs at each step only the greatest of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.compiled import compiled
from tokswap.mixture.events import Events
from tokswap.mixture.tops import NOTHING, greatest, lowered, raised, tree_of

SCALE = 1e6
"""Frequencies are in pairs per million, so that a solver's absolute tolerances mean the same for any text."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep finds: rows that are violated, and by step the least v_t that satisfies all of its rows."""

    step: NDArray[np.int32]
    pair: NDArray[np.int32]
    slack: NDArray[np.float64]
    """(T,): pairs per million."""


def sweep(
    events: Events,
    alpha: NDArray[np.float64],
    pair_slack: NDArray[np.float64],
    merge_slack: NDArray[np.float64],
    *,
    used: NDArray[np.bool_],
    rows: int,
    tolerance: float,
    spread: float = 0.0,
) -> Sweep:
    """Sweep the steps that are `used`, Bool[T], for `alpha` Float[n], `pair_slack` Float[P], `merge_slack` Float[T].

    At most `rows` rows a step are returned, the most violated ones, each violated by more than `tolerance`. A pair
    that is too frequent is so at thousands of steps, and a few of those rows say it all: with `spread` > 1 the slack
    of a row's pair is raised, for the steps to come, by `spread` times what the row lacks. Each further row of the
    pair is then more violated than its last; the slacks of merges that come out are too small.
    """
    weight = alpha * SCALE / events.totals
    step, pair, slack = _sweep(
        events.groups,
        events.pair,
        events.starts,
        events.category,
        events.change,
        events.merges,
        weight,
        pair_slack,
        merge_slack,
        used,
        rows,
        tolerance,
        spread,
        tree_of(len(events.pairs)),
    )
    return Sweep(step, pair, slack)


@compiled
def _sweep(
    groups: NDArray[np.int64],
    pair: NDArray[np.int32],
    starts: NDArray[np.int64],
    category: NDArray[np.int16],
    change: NDArray[np.int64],
    merges: NDArray[np.int32],
    weight: NDArray[np.float64],
    pair_slack: NDArray[np.float64],
    merge_slack: NDArray[np.float64],
    used: NDArray[np.bool_],
    rows: int,
    tolerance: float,
    spread: float,
    tree: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    steps = len(merges)
    pair_slack = pair_slack.copy()
    values: NDArray[np.float64] = np.negative(pair_slack)
    out_step = np.empty(steps * rows, dtype=np.int32)
    out_pair = np.empty(steps * rows, dtype=np.int32)
    slack = np.zeros(steps)
    taken = np.empty(rows, dtype=np.int64)
    found = 0
    for step in range(steps):
        _advance(groups[step], groups[step + 1], pair, starts, category, change, weight, values, tree)
        if not used[step]:
            continue
        merge = int(merges[step])
        mine = float(values[merge] + pair_slack[merge])
        lowered(tree, merge, NOTHING)
        count = 0
        above = mine  # what the first pair must exceed for a slack, the others for a violation
        while count < rows:
            p = greatest(tree, values, above)
            if p < 0:
                break
            if count == 0:
                slack[step] = values[p] - mine
                above = mine + merge_slack[step] + tolerance
                if values[p] <= above:
                    break
            out_step[found] = step
            out_pair[found] = p
            found += 1
            taken[count] = p
            count += 1
            lowered(tree, p, NOTHING)
        for i in range(count):
            p = int(taken[i])
            more = spread * (values[p] - mine - merge_slack[step])
            values[p] -= more
            pair_slack[p] += more
            raised(tree, p, values[p])
        raised(tree, merge, values[merge])
    return out_step[:found].copy(), out_pair[:found].copy(), slack


@compiled
def _advance(
    first: int,
    end: int,
    pair: NDArray[np.int32],
    starts: NDArray[np.int64],
    category: NDArray[np.int16],
    change: NDArray[np.int64],
    weight: NDArray[np.float64],
    values: NDArray[np.float64],
    tree: NDArray[np.float64],
) -> None:
    """Let the events first … end - 1 happen."""
    for e in range(first, end):
        moved = 0.0
        for k in range(starts[e], starts[e + 1]):
            moved += weight[category[k]] * change[k]
        p = int(pair[e])
        values[p] += moved
        if moved > 0:
            raised(tree, p, values[p])
