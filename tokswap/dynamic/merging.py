"""Merges of a batch: its most frequent pair of neighbouring tokens again and again, within words (arXiv 2411.18553).

Symbols are base ids below `size`, and `size` + i for what merge i makes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Pair = tuple[int, int]
Word = tuple[int, ...]


@dataclass(frozen=True)
class Merges:
    """Pairs of symbols in the order in which they were merged; `spellings` are the base ids of each."""

    size: int
    pairs: tuple[Pair, ...]
    spellings: tuple[Word, ...]

    def apply(self, words: Sequence[Word]) -> list[Word]:
        """Return the words of a text in symbols: every merge in its order, from left to right.

        >>> find_merges([(1, 2, 3), (1, 2)], 2, size=10).apply([(1, 2, 3), (2, 1, 2)])
        [(10, 3), (2, 10)]
        """
        ranks = {pair: rank for rank, pair in enumerate(self.pairs)}
        known = {word: _applied(word, ranks, self.size) for word in set(words)}
        return [known[word] for word in words]

    def spelling(self, symbol: int) -> Word:
        """Return the base ids that a symbol stands for."""
        return (symbol,) if symbol < self.size else self.spellings[symbol - self.size]

    def first(self, count: int) -> Merges:
        """Return only the first merges."""
        return Merges(self.size, self.pairs[:count], self.spellings[:count])


def find_merges(words: Sequence[Word], count: int, *, size: int, longest: int | None = None) -> Merges:
    """Return at most `count` merges of a batch's words, which are tuples of base ids below `size`.

    Each merges the most frequent pair of neighbours, of equally frequent ones the smaller; a pair that stands once
    gains nothing and ends it. `longest` bounds the base ids of a symbol.
    """
    batch = _Batch(words)
    spellings: list[Word] = []
    pairs: list[Pair] = []

    def spelt(symbol: int) -> Word:
        return (symbol,) if symbol < size else spellings[symbol - size]

    while len(pairs) < count:
        pair = batch.best(
            lambda pair: longest is None or len(spelt(pair[0])) + len(spelt(pair[1])) <= longest
        )
        if pair is None:
            break
        spellings.append(spelt(pair[0]) + spelt(pair[1]))
        batch.merge(pair, size + len(pairs))
        pairs.append(pair)
    return Merges(size, tuple(pairs), tuple(spellings))


def merged(word: Word, pair: Pair, symbol: int) -> Word:
    """Return a word in which a pair has become a symbol, from left to right.

    >>> merged((1, 1, 1, 2), (1, 1), 9)
    (9, 1, 2)
    """
    out: list[int] = []
    at = 0
    while at < len(word):
        found = word[at : at + 2] == pair
        out.append(symbol if found else word[at])
        at += 1 + found
    return tuple(out)


def _applied(word: Word, ranks: Mapping[Pair, int], size: int) -> Word:
    while True:
        found = min((pair for pair in pairwise(word) if pair in ranks), key=ranks.__getitem__, default=None)
        if found is None:
            return word
        word = merged(word, found, size + ranks[found])


class _Batch:
    """Different words and how often they stand, with their pairs counted."""

    def __init__(self, words: Sequence[Word]) -> None:
        self.words: dict[int, Word] = {}
        self.times: dict[int, int] = {}
        self.counts: Counter[Pair] = Counter()
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)
        for number, (word, times) in enumerate(Counter(words).items()):
            self.times[number] = times
            self._put(number, word)

    def best(self, allowed: Callable[[Pair], bool]) -> Pair | None:
        """Return the most frequent pair that is allowed and stands twice or more."""
        fit = ((times, pair) for pair, times in self.counts.items() if times > 1 and allowed(pair))
        return min(fit, key=lambda found: (-found[0], found[1]), default=(0, None))[1]

    def merge(self, pair: Pair, symbol: int) -> None:
        for number in list(self.places[pair]):
            word = self.words[number]
            self._take(number)
            self._put(number, merged(word, pair, symbol))

    def _put(self, number: int, word: Word) -> None:
        self.words[number] = word
        for pair in pairwise(word):
            self.counts[pair] += self.times[number]
            self.places[pair].add(number)

    def _take(self, number: int) -> None:
        for pair in pairwise(self.words[number]):
            self.counts[pair] -= self.times[number]
            self.places[pair].discard(number)
            if not self.counts[pair]:
                del self.counts[pair]
