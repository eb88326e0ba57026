"""BPE training from a text that is already cut into tokens, with a say in which pairs may be joined.

The pair that occurs most often is joined everywhere, from the left; of several the one with the lower ids, as in the
tokenizers library, whose trainer can't be told to leave pairs out. The text is one flat array, a linked list in
it, and pairs are found by where they stand: a join touches its own places and no others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Places = NDArray[np.int64]
NONE = -1
LEAST_COUNT = 2
"""A pair seen once teaches nothing."""


@dataclass
class MergeTrainer:
    """A text as it is being merged.

    `symbols` Int32[n] token ids, `breaks` Bool[n]: nothing is joined across the border behind this place; `texts` the
    tokens' bytes by id, extended by what is learnt, a token without bytes being joined with nothing; `allowed` says
    of two texts whether they may be joined. A join whose bytes are a token's already yields that token. `joined`
    tells of each merge how many tokens it saved.
    """

    symbols: Ids
    breaks: NDArray[np.bool_]
    texts: list[bytes]
    allowed: Callable[[bytes, bytes], bool]
    least_count: int = LEAST_COUNT
    counts: dict[int, int] = field(default_factory=dict[int, int])
    joined: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        n = len(self.symbols)
        places = np.arange(n, dtype=np.int32)
        self._next = np.where(self.breaks, NONE, places + 1).astype(np.int32)
        self._previous = np.full(n, NONE, dtype=np.int32)
        if n:
            self._next[-1] = NONE
            self._previous[1:] = np.where(self.breaks[:-1], NONE, places[:-1])
        self._id_of = {text: token_id for token_id, text in enumerate(self.texts)}
        self._found: dict[int, list[Ids]] = {}
        self._heap: list[tuple[int, int]] = []
        self._start(np.flatnonzero(self._next != NONE))

    def train(self, tokens: int, on_merge: Callable[[int], None] | None = None) -> list[tuple[int, int, int]]:
        """Learn until there are `tokens` texts or no pair is left; return the merges as (left, right, result)."""
        merges: list[tuple[int, int, int]] = []
        while len(self.texts) < tokens:
            pair = self._best()
            if pair is None:
                break
            left, right = pair >> 32, pair & 0xFFFFFFFF
            merges.append((left, right, self._join(left, right)))
            if on_merge is not None:
                on_merge(len(self.texts))
        return merges

    def _start(self, places: Places) -> None:
        """Count the pairs at all places; those places are kept sorted by pair."""
        codes = self._codes(places)
        order = np.argsort(codes, kind="stable")
        self._sorted_codes, self._sorted_places = codes[order], places[order].astype(np.int32)
        starts = _starts(self._sorted_codes)
        counts = np.diff(np.append(starts, len(codes)))
        often = counts >= self.least_count
        pairs = self._sorted_codes[starts[often]]
        for pair, count in zip(pairs.tolist(), counts[often].tolist(), strict=True):
            if self._may(pair):
                self.counts[pair] = count
                self._heap.append((-count, pair))
        heapq.heapify(self._heap)

    def _best(self) -> int | None:
        """Return the pair that occurs most often; entries of the heap may be out of date, and are put right here."""
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            count = self.counts.get(pair, 0)
            if count == -negative:
                return pair if count >= self.least_count else None
            if self.least_count <= count < -negative:
                heapq.heappush(self._heap, (-count, pair))
        return None

    def _join(self, left: int, right: int) -> int:
        at = self._places_of(left, right)
        self.joined.append(len(at))
        text = self.texts[left] + self.texts[right]
        known = self._id_of.get(text)
        result = len(self.texts) if known is None else known
        if known is None:
            self.texts.append(text)
            self._id_of[text] = result
        second = self._next[at]
        behind = self._next[second]
        self._count_down(np.concatenate([self._previous[at], at, second]))
        self.counts.pop((left << 32) | right, None)
        self.symbols[at], self.symbols[second] = result, NONE
        self._next[at] = behind
        linked = behind != NONE
        self._previous[behind[linked]] = at[linked]
        if known is None:
            self._count_up(np.concatenate([self._previous[at], at]))
        else:  # its pairs may have been too rare to be known: they are counted anew
            at = np.flatnonzero(self.symbols == result)
            self._count_up(np.concatenate([self._previous[at], at]))
        return result

    def _places_of(self, left: int, right: int) -> Places:
        """Return where a pair stands, in order; of overlapping ones (aaa) those that are joined from the left."""
        pair = (left << 32) | right
        first, last = np.searchsorted(self._sorted_codes, [pair, pair + 1])
        parts = [self._sorted_places[first:last], *self._found.pop(pair, [])]
        at = np.unique(np.concatenate(parts)).astype(np.int64)
        at = at[(self.symbols[at] == left) & (self._next[at] != NONE)]
        at = at[self.symbols[self._next[at]] == right]
        if left != right or len(at) < 2:
            return at
        begins = np.concatenate([[True], at[1:] != self._next[at[:-1]]])
        order = np.arange(len(at))
        return at[(order - np.maximum.accumulate(np.where(begins, order, 0))) % 2 == 0]

    def _count_down(self, places: NDArray[np.integer]) -> None:
        for pair, count, _ in self._pairs_at(places, with_places=False):
            if pair in self.counts:
                self.counts[pair] -= count

    def _count_up(self, places: NDArray[np.integer]) -> None:
        """Take over the pairs at places where one half is new, or all of them for a result known before."""
        for pair, count, where in self._pairs_at(places, with_places=True):
            if count >= self.least_count and self._may(pair):
                self.counts[pair] = count
                self._found[pair] = [where.astype(np.int32)]
                heapq.heappush(self._heap, (-count, pair))

    def _pairs_at(self, places: NDArray[np.integer], *, with_places: bool) -> list[tuple[int, int, Places]]:
        """Return (pair, count, places) of the pairs that begin at the places, each place counted once."""
        at = np.unique(places[places != NONE]).astype(np.int64)
        at = at[self._next[at] != NONE]
        codes = self._codes(at)
        order = np.argsort(codes, kind="stable") if with_places else np.argsort(codes)
        codes, at = codes[order], at[order]
        starts = _starts(codes)
        ends = np.append(starts, len(codes))[1:]
        return [
            (int(codes[start]), end - start, at[start:end])
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]

    def _codes(self, at: Places) -> NDArray[np.int64]:
        return (self.symbols[at].astype(np.int64) << 32) | self.symbols[self._next[at]]

    def _may(self, pair: int) -> bool:
        left, right = self.texts[pair >> 32], self.texts[pair & 0xFFFFFFFF]
        return bool(left and right) and self.allowed(left, right)


def _starts(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each run of equal numbers begins."""
    first = np.ones(len(ordered), dtype=np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return np.flatnonzero(first)
