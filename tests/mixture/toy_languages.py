"""Small made-up languages, a plain BPE trainer over them, and brute force for what the replay and the program do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from tokswap.mixture.types import MergeList, WordCounts

LETTERS = "abcdefghijklmnop"
Pair = tuple[int, int]


def language(seed: int, words: int = 300) -> list[str]:
    """Words of a language whose letters follow each other by its own rule."""
    draw = np.random.default_rng(seed)
    follows = draw.dirichlet(np.full(len(LETTERS), 0.15), len(LETTERS))
    out: list[str] = []
    for length in draw.integers(1, 11, words):
        letters = [int(draw.integers(len(LETTERS)))]
        for _ in range(length - 1):
            letters.append(int(draw.choice(len(LETTERS), p=follows[letters[-1]])))
        out.append("".join(LETTERS[i] for i in letters))
    return out


def text_of(words: Sequence[str], tokens: int, seed: int) -> Counter[str]:
    """Counts of words in a text of `tokens` words, by Zipf's law."""
    rates = 1 / np.arange(1, len(words) + 1)
    drawn = np.random.default_rng(seed).multinomial(tokens, rates / rates.sum())
    counts: Counter[str] = Counter()
    for word, count in zip(words, drawn.tolist(), strict=True):
        counts[word] += count
    return +counts


def counted(texts: Mapping[str, Counter[str]]) -> WordCounts:
    words = tuple(sorted({word for text in texts.values() for word in text}))
    table = np.array([[text[word] for text in texts.values()] for word in words], dtype=np.int64)
    sizes = np.array([sum(len(w) * c for w, c in text.items()) for text in texts.values()])
    return WordCounts(tuple(texts), words, sp.csr_array(table), sizes)


def pair_counts(words: Sequence[Sequence[int]], counts: np.ndarray) -> dict[Pair, np.ndarray]:
    """Counts by category of all adjacent pairs; overlapping ones count each."""
    out: dict[Pair, np.ndarray] = {}
    for word, row in zip(words, counts, strict=True):
        for pair in pairwise(word):
            out[pair] = out.get(pair, 0) + row
    return {pair: row for pair, row in out.items() if row.any()}


def merged(word: Sequence[int], pair: Pair, result: int) -> list[int]:
    """Apply one merge from the left."""
    out: list[int] = []
    at = 0
    while at < len(word):
        if tuple(word[at : at + 2]) == pair:
            out.append(result)
            at += 2
        else:
            out.append(word[at])
            at += 1
    return out


def train(mixture: Mapping[str, float], merges: int) -> MergeList:
    """Learn merges from word frequencies, always the most frequent pair."""
    letters = LETTERS + "".join(sorted({c for word in mixture for c in word} - set(LETTERS)))
    cut = [[letters.index(c) for c in word] for word in mixture]
    counts = np.array(list(mixture.values()))[:, None]
    pairs: list[Pair] = []
    for rank in range(merges):
        best = max((float(row[0]), pair) for pair, row in pair_counts(cut, counts).items())[1]
        pairs.append(best)
        cut = [merged(word, best, len(letters) + rank) for word in cut]
    return merge_list(pairs, letters)


def merge_list(pairs: Sequence[Pair], letters: str = LETTERS) -> MergeList:
    texts = list(letters)
    for left, right in pairs:
        texts.append(texts[left] + texts[right])
    return MergeList(
        tokens=tuple(text.encode() for text in texts),
        texts=tuple(texts),
        alphabet={letter: i for i, letter in enumerate(letters)},
        pairs=np.array(pairs, dtype=np.int32).reshape(-1, 2),
        results=np.arange(len(letters), len(texts), dtype=np.int32),
        byte_fallback=False,
        notes=(),
        set_aside=0,
        shared_prefix=None,
    )


def mix(texts: Mapping[str, Counter[str]], shares: Sequence[float]) -> dict[str, float]:
    """Word frequencies of a mixture whose shares are of pairs: each text weighs its share over its pairs."""
    out: dict[str, float] = {}
    for text, share in zip(texts.values(), shares, strict=True):
        pairs = sum(count * (len(word) - 1) for word, count in text.items())
        for word, count in text.items():
            out[word] = out.get(word, 0.0) + share * count / pairs
    return out
