"""Merges against a loop that counts everything anew for each; words are never crossed; texts keep their base ids."""

from __future__ import annotations

import doctest
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tokswap.dynamic.merging
from tokswap.dynamic.merging import Merges, find_merges, merged

SIZE = 6
WORDS = st.lists(
    st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12
)


def by_counting(
    words: list[tuple[int, ...]], count: int, longest: int | None
) -> tuple[list[tuple[int, int]], list[tuple[int, ...]]]:
    """The paper's algorithm as it is written: count all pairs of the batch, merge the most frequent, begin again."""
    pairs: list[tuple[int, int]] = []
    spelt = {i: (i,) for i in range(SIZE)}
    for symbol in range(SIZE, SIZE + count):
        counts = Counter(pair for word in words for pair in pairwise(word))
        fit = [
            (-times, pair)
            for pair, times in counts.items()
            if times > 1 and (longest is None or len(spelt[pair[0]] + spelt[pair[1]]) <= longest)
        ]
        if not fit:
            break
        pair = min(fit)[1]
        spelt[symbol] = spelt[pair[0]] + spelt[pair[1]]
        pairs.append(pair)
        replaced: list[tuple[int, ...]] = []
        for word in words:
            out: list[int] = []
            for token in word:
                out.append(token)
                if tuple(out[-2:]) == pair and len(out) > 1:
                    out[-2:] = [symbol]
            replaced.append(tuple(out))
        words = replaced
    return pairs, words


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WORDS, st.integers(0, 12), st.sampled_from([None, 2, 3]))
def test_merges_are_those_of_counting_anew(
    words: list[tuple[int, ...]], count: int, longest: int | None
) -> None:
    pairs, expected = by_counting(words, count, longest)
    found = find_merges(words, count, size=SIZE, longest=longest)
    assert list(found.pairs) == pairs
    assert found.apply(words) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WORDS, WORDS)
def test_other_text_keeps_its_words_and_their_base_ids(
    words: list[tuple[int, ...]], other: list[tuple[int, ...]]
) -> None:
    merges = find_merges(words, 8, size=SIZE)
    read = merges.apply(other)
    assert [tuple(i for symbol in word for i in merges.spelling(symbol)) for word in read] == other
    assert sum(map(len, read)) <= sum(map(len, other))


def test_fewer_merges_are_the_first_ones() -> None:
    words = [(0, 1, 2, 3), (0, 1, 2), (0, 1)] * 2
    all_of_them = find_merges(words, 3, size=SIZE)
    assert all_of_them.first(1) == find_merges(words, 1, size=SIZE)
    assert all_of_them.apply([(0, 1, 2, 3)]) == [(8,)] and all_of_them.spelling(8) == (0, 1, 2, 3)


def test_a_pair_over_the_border_of_words_is_no_pair() -> None:
    assert find_merges([(1,), (2,)] * 50, 5, size=SIZE) == Merges(SIZE, (), ())


@pytest.mark.parametrize(
    ("word", "expected"), [((1, 1, 1), (9, 1)), ((1, 1, 1, 1), (9, 9)), ((2, 1), (2, 1))]
)
def test_pairs_of_equal_tokens_are_taken_from_the_left(
    word: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert merged(word, (1, 1), 9) == expected


def test_the_examples_in_the_docstrings_hold() -> None:
    done = doctest.testmod(tokswap.dynamic.merging)
    assert done.attempted and not done.failed
