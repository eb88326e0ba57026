"""What a replay yields: by step, the pairs whose counts change, and by how much in which category."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.compiled import compiled


@dataclass(frozen=True)
class Run:
    """Changes with ascending codes: those of event e are category[k], change[k] for k in starts[e]:starts[e + 1]."""

    codes: NDArray[np.int64]
    starts: NDArray[np.int64]
    category: NDArray[np.int16]
    change: NDArray[np.int64]

    @classmethod
    def empty(cls) -> Run:
        """Return the run of no words."""
        none = np.zeros(0, dtype=np.int64)
        return cls(none, np.zeros(1, dtype=np.int64), none.astype(np.int16), none)


@dataclass(frozen=True)
class Events:
    """A replay over T steps, P pairs and n categories.

    Group 0 holds the counts before the first merge, group g < T the changes by merge g - 1, so that the counts at
    step t, when merge t is chosen, are the sums of groups 0 … t.
    """

    pairs: NDArray[np.int32]
    """(P, 2): left and right symbol."""
    merges: NDArray[np.int32]
    """(T,): the number of each step's merge among the pairs, -1 where no text ever holds it."""
    groups: NDArray[np.int64]
    """(T + 1,): the events of group g are groups[g]:groups[g + 1]."""
    pair: NDArray[np.int32]
    """(E,): the pair of each event, ascending within a group."""
    starts: NDArray[np.int64]
    """(E + 1,): the entries of event e are starts[e]:starts[e + 1]."""
    category: NDArray[np.int16]
    change: NDArray[np.int64]
    totals: NDArray[np.int64]
    """(n,): pairs before the first merge, N_i."""

    @property
    def steps(self) -> int:
        """T."""
        return len(self.merges)

    @property
    def categories(self) -> int:
        """n."""
        return len(self.totals)


def merge_runs(a: Run, b: Run) -> Run:
    """Return the sum of two runs."""
    if not len(a.codes) or not len(b.codes):
        return a if len(a.codes) else b
    return Run(*_merged(a.codes, a.starts, a.category, a.change, b.codes, b.starts, b.category, b.change))


@compiled
def _merged(
    codes: NDArray[np.int64],
    starts: NDArray[np.int64],
    category: NDArray[np.int16],
    change: NDArray[np.int64],
    codes2: NDArray[np.int64],
    starts2: NDArray[np.int64],
    category2: NDArray[np.int16],
    change2: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int16], NDArray[np.int64]]:
    """Walk both runs in order; entries of a code in both are added by category, sums of zero left out."""
    most, room = len(codes) + len(codes2), len(change) + len(change2)
    out_codes = np.empty(most, dtype=np.int64)
    out_starts = np.zeros(most + 1, dtype=np.int64)
    out_category = np.empty(room, dtype=np.int16)
    out_change = np.empty(room, dtype=np.int64)
    i = j = events = used = 0
    while i < len(codes) or j < len(codes2):
        first = i < len(codes) and (j == len(codes2) or codes[i] <= codes2[j])
        second = j < len(codes2) and (i == len(codes) or codes2[j] <= codes[i])
        code = codes[i] if first else codes2[j]
        k, end = (starts[i], starts[i + 1]) if first else (0, 0)
        k2, end2 = (starts2[j], starts2[j + 1]) if second else (0, 0)
        begin = used
        used = _added(category, change, k, end, category2, change2, k2, end2, out_category, out_change, used)
        if used > begin:
            out_codes[events] = code
            events += 1
            out_starts[events] = used
        i += 1 if first else 0
        j += 1 if second else 0
    return (
        out_codes[:events].copy(),
        out_starts[: events + 1].copy(),
        out_category[:used].copy(),
        out_change[:used].copy(),
    )


@compiled
def _added(
    category: NDArray[np.int16],
    change: NDArray[np.int64],
    k: int,
    end: int,
    category2: NDArray[np.int16],
    change2: NDArray[np.int64],
    k2: int,
    end2: int,
    out_category: NDArray[np.int16],
    out_change: NDArray[np.int64],
    used: int,
) -> int:
    """Add the entries k … end - 1 and k2 … end2 - 1 of one code, and return how many entries there are now."""
    while k < end or k2 < end2:
        mine = k < end and (k2 == end2 or category[k] <= category2[k2])
        theirs = k2 < end2 and (k == end or category2[k2] <= category[k])
        out_category[used] = category[k] if mine else category2[k2]
        amount = 0
        if mine:
            amount += change[k]
            k += 1
        if theirs:
            amount += change2[k2]
            k2 += 1
        if amount != 0:
            out_change[used] = amount
            used += 1
    return used


def numbered(run: Run, merges: NDArray[np.int32], size: int, categories: int) -> Events:
    """Return the run of T merges, Int[T 2] over `size` symbols, with its pairs numbered from 0."""
    group, key = np.divmod(run.codes, size * size)
    keys, pair = np.unique(key, return_inverse=True)
    merge_keys = merges[:, 0].astype(np.int64) * size + merges[:, 1]
    at = np.minimum(np.searchsorted(keys, merge_keys), max(len(keys) - 1, 0))
    found = keys[at] == merge_keys if len(keys) else np.zeros(len(merges), dtype=np.bool_)
    groups = np.searchsorted(group, np.arange(len(merges) + 1)).astype(np.int64)
    first = run.starts[groups[1]] if len(groups) > 1 else 0
    totals = np.zeros(categories, dtype=np.int64)
    np.add.at(totals, run.category[:first], run.change[:first])
    return Events(
        pairs=np.stack(np.divmod(keys, size), axis=1).astype(np.int32),
        merges=np.where(found, at, -1).astype(np.int32),
        groups=groups,
        pair=pair.astype(np.int32),
        starts=run.starts,
        category=run.category,
        change=run.change,
        totals=totals,
    )
