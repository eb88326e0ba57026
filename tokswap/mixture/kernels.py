"""Compiled loops of the replay: ranks by pair, the merges of a word, and sums of changes over categories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.compiled import compiled

ABSENT = -1
NO_RANK = 2**31 - 1
# Fibonacci hashing (Knuth, volume 3, 6.4): 2^63 over the golden ratio, odd.
SPREAD = 5700357409661599241


@dataclass(frozen=True)
class RankTable:
    """An open-addressed table from a pair's key, left × symbols + right, to the rank of its merge."""

    keys: NDArray[np.int64]
    ranks: NDArray[np.int32]


def rank_table(pairs: NDArray[np.int64], size: int) -> RankTable:
    """Return the table of merges, Int[T 2] over `size` symbols; a pair that is listed twice has its first rank."""
    slots = 1 << max(4, int(4 * len(pairs)).bit_length())
    table = RankTable(np.full(slots, ABSENT, dtype=np.int64), np.zeros(slots, dtype=np.int32))
    _fill(pairs[:, 0] * size + pairs[:, 1], table.keys, table.ranks)
    return table


@compiled
def _slot(key: int, keys: NDArray[np.int64]) -> int:
    """Return where a key stands, or the free slot where it would."""
    mask = len(keys) - 1
    at = ((key * SPREAD) >> 20) & mask
    while keys[at] != ABSENT and keys[at] != key:
        at = (at + 1) & mask
    return at


@compiled
def _fill(wanted: NDArray[np.int64], keys: NDArray[np.int64], ranks: NDArray[np.int32]) -> None:
    for rank in range(len(wanted)):
        at = _slot(wanted[rank], keys)
        if keys[at] == ABSENT:
            keys[at] = wanted[rank]
            ranks[at] = rank


@compiled
def _rank(key: int, keys: NDArray[np.int64], ranks: NDArray[np.int32]) -> int:
    at = _slot(key, keys)
    return ranks[at] if keys[at] == key else NO_RANK


@compiled
def replay_words(
    symbols: NDArray[np.int32],
    starts: NDArray[np.int64],
    keys: NDArray[np.int64],
    ranks: NDArray[np.int32],
    pairs: NDArray[np.int32],
    results: NDArray[np.int32],
    size: int,
    codes: NDArray[np.int64],
    signed: NDArray[np.int32],
) -> int:
    """Write each word's changes and return how many there are.

    A code is (group × size + left) × size + right: group 0 holds the pairs of the words as they are cut, group
    r + 1 what the merge of rank r changes. `signed` is the word's number + 1, negative where a pair goes.
    `symbols` is used up.
    """
    used = 0
    for word in range(len(starts) - 1):
        part = symbols[starts[word] : starts[word + 1]]
        length = len(part)
        for i in range(length - 1):
            used = _note(0, part[i], part[i + 1], size, word + 1, codes, signed, used)
        done = -1
        while length > 1:
            rank = NO_RANK
            for i in range(length - 1):
                found = _rank(part[i] * np.int64(size) + part[i + 1], keys, ranks)
                if done < found < rank:
                    rank = found
            if rank == NO_RANK:
                break
            left, right = pairs[rank, 0], pairs[rank, 1]
            length, used = _merge(
                part, length, rank, left, right, results[rank], size, word + 1, codes, signed, used
            )
            done = rank
    return used


@compiled
def _note(
    group: int,
    left: int,
    right: int,
    size: int,
    sign: int,
    codes: NDArray[np.int64],
    signed: NDArray[np.int32],
    used: int,
) -> int:
    codes[used] = (np.int64(group) * size + left) * size + right
    signed[used] = sign
    return used + 1


@compiled
def _merge(
    part: NDArray[np.int32],
    length: int,
    rank: int,
    left: int,
    right: int,
    result: int,
    size: int,
    word: int,
    codes: NDArray[np.int64],
    signed: NDArray[np.int32],
    used: int,
) -> tuple[int, int]:
    """Apply one merge to a word in place, from the left; return its new length and the changes written so far.

    Only pairs beside a merged place change: each of them goes, and one with the result comes.
    """
    at = kept = 0
    before, was = -1, False  # the symbol that stood before this place, and whether it was merged
    while at < length:
        here = at + 1 < length and part[at] == left and part[at + 1] == right
        symbol = result if here else part[at]
        if at > 0 and (here or was):
            used = _note(rank + 1, before, part[at], size, -word, codes, signed, used)
            used = _note(rank + 1, part[kept - 1], symbol, size, word, codes, signed, used)
        if here:
            used = _note(rank + 1, left, right, size, -word, codes, signed, used)
        before, was = (right if here else part[at]), here
        part[kept] = symbol
        kept += 1
        at += 2 if here else 1
    return kept, used


@compiled
def summed(
    codes: NDArray[np.int64],
    signed: NDArray[np.int32],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int64],
    counts: NDArray[np.int64],
    categories: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int16], NDArray[np.int64]]:
    """Sum sorted changes over words: codes Int[E], and for each the categories and changes that aren't zero.

    Returns codes, offsets Int[E + 1], categories and changes.
    """
    room = 0
    for e in range(len(codes)):
        word = abs(signed[e]) - 1
        room += indptr[word + 1] - indptr[word]
    out_codes = np.empty(len(codes), dtype=np.int64)
    out_starts = np.zeros(len(codes) + 1, dtype=np.int64)
    out_category = np.empty(room, dtype=np.int16)
    out_change = np.empty(room, dtype=np.int64)
    sums = np.zeros(categories, dtype=np.int64)
    events = used = e = 0
    while e < len(codes):
        code = codes[e]
        while e < len(codes) and codes[e] == code:
            word = abs(signed[e]) - 1
            sign = 1 if signed[e] > 0 else -1
            for k in range(indptr[word], indptr[word + 1]):
                sums[indices[k]] += sign * counts[k]
            e += 1
        start = used
        for category in range(categories):
            if sums[category] != 0:
                out_category[used] = category
                out_change[used] = sums[category]
                sums[category] = 0
                used += 1
        if used > start:
            out_codes[events] = code
            events += 1
            out_starts[events] = used
    return (
        out_codes[:events].copy(),
        out_starts[: events + 1].copy(),
        out_category[:used].copy(),
        out_change[:used].copy(),
    )
