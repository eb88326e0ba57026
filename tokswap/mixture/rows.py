"""The coefficients of rows: how much rarer or more frequent a step's merge is than another pair, by category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.compiled import compiled
from tokswap.mixture.events import Events
from tokswap.mixture.separation import SCALE


@dataclass(frozen=True)
class PairIndex:
    """The events of each pair in order of time: those of pair p are events[starts[p]:starts[p + 1]]."""

    starts: NDArray[np.int64]
    events: NDArray[np.int64]


def pair_index(events: Events) -> PairIndex:
    """Return where each pair's events are."""
    starts = np.zeros(len(events.pairs) + 1, dtype=np.int64)
    starts[1:] = np.cumsum(np.bincount(events.pair, minlength=len(events.pairs)))
    return PairIndex(starts, np.argsort(events.pair, kind="stable"))


def frequencies(
    events: Events, index: PairIndex, step: NDArray[np.int32], pair: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return how frequent each pair is at its step, Float[R n], in pairs per million of each category; -1: zero."""
    out = np.zeros((len(step), events.categories))
    _frequencies(
        events.groups,
        events.starts,
        events.category,
        events.change,
        index.starts,
        index.events,
        step,
        pair,
        out,
    )
    out *= SCALE / events.totals
    return out


@compiled
def _frequencies(
    groups: NDArray[np.int64],
    starts: NDArray[np.int64],
    category: NDArray[np.int16],
    change: NDArray[np.int64],
    first: NDArray[np.int64],
    order: NDArray[np.int64],
    step: NDArray[np.int32],
    pair: NDArray[np.int32],
    out: NDArray[np.float64],
) -> None:
    for row in range(len(step)):
        if pair[row] < 0:
            continue
        end = groups[step[row] + 1]
        for i in range(first[pair[row]], first[pair[row] + 1]):
            e = order[i]
            if e >= end:
                break
            for k in range(starts[e], starts[e + 1]):
                out[row, category[k]] += change[k]
