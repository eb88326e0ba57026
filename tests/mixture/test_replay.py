"""The replay's events against brute force: all merges applied to all words, one after the other."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from toy_languages import (
    LETTERS,
    counted,
    language,
    merge_list,
    merged,
    mix,
    pair_counts,
    text_of,
    train,
)

from tokswap.errors import TokswapError
from tokswap.mixture import replay as module
from tokswap.mixture.events import Events
from tokswap.mixture.replay import replay
from tokswap.mixture.types import MergeList, WordCounts


def texts(n: int = 3) -> dict[str, Counter[str]]:
    shared = language(99, 100)
    return {f"t{i}": text_of(language(i, 120) + shared, 3000, seed=i) for i in range(n)}


def counts_by_step(events: Events) -> list[dict[tuple[int, int], np.ndarray]]:
    """Sum the groups of events up to each step."""
    now = np.zeros((len(events.pairs), events.categories), dtype=np.int64)
    out: list[dict[tuple[int, int], np.ndarray]] = []
    for step in range(events.steps):
        for e in range(events.groups[step], events.groups[step + 1]):
            for k in range(events.starts[e], events.starts[e + 1]):
                now[events.pair[e], events.category[k]] += events.change[k]
        held = np.flatnonzero(now.any(1))
        out.append({tuple(events.pairs[p].tolist()): now[p].copy() for p in held})
    return out


def brute_force(merges: MergeList, words: WordCounts, steps: int) -> list[dict[tuple[int, int], np.ndarray]]:
    cut = [merges.symbols(word) for word in words.words]
    table = words.counts.toarray()
    out: list[dict[tuple[int, int], np.ndarray]] = []
    for pair, result in zip(merges.pairs[:steps].tolist(), merges.results.tolist(), strict=False):
        out.append(pair_counts(cut, table))
        cut = [merged(word, tuple(pair), result) for word in cut]
    return out


def agree(merges: MergeList, words: WordCounts, steps: int) -> Events:
    events = replay(merges, words, steps=steps)
    expected = brute_force(merges, words, steps)
    for step, (found, wanted) in enumerate(zip(counts_by_step(events), expected, strict=True)):
        assert found.keys() == wanted.keys(), step
        assert all((found[pair] == wanted[pair]).all() for pair in wanted), step
    return events


def test_counts_are_those_of_brute_force() -> None:
    given = texts()
    merges = train(mix(given, [0.2, 0.5, 0.3]), 60)
    words = counted(given)
    events = agree(merges, words, 60)
    lengths = np.array([len(word) - 1 for word in words.words])
    assert (events.totals == lengths @ words.counts.toarray()).all()
    assert (events.pairs[events.merges] == merges.pairs).all()


def test_overlaps_repeats_and_merges_that_come_back() -> None:
    a, b, c = 0, 1, 2
    first = len(LETTERS)
    # aa twice over, a pair with itself again, and a merge that could act again after a later one makes its half.
    merges = merge_list([(a, a), (first, first), (first, a), (b, c), (a, b), (first + 4, c), (c, b)])
    given = {
        "x": Counter({"aaaaaaa": 3, "aaab": 2, "abcabc": 5, "bcbcb": 1, "a": 9}),
        "y": Counter({"cbcb": 7}),
    }
    agree(merges, counted(given), 7)


def test_a_result_with_two_merges_is_replayed_in_order() -> None:
    merges = merge_list([(0, 1), (1, 2), (16, 2), (0, 17), (16, 0)])
    # "abc" from ab + c and from a + bc is one symbol, as in lists that were converted from SentencePiece.
    results = merges.results.copy()
    results[3] = results[2]
    merges = MergeList(**{**merges.__dict__, "results": results})
    agree(merges, counted({"x": Counter({"abcab": 3, "bcabc": 2, "abab": 1})}), 5)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    given = texts()
    merges, words = train(mix(given, [0.2, 0.5, 0.3]), 40), counted(given)
    whole = replay(merges, words, steps=40)
    monkeypatch.setattr(module, "CHUNK_PAIRS", 50)
    seen: list[int] = []
    parts = replay(
        merges, words, steps=40, on_progress=lambda _, done, total: seen.append(done * 100 // total)
    )
    for name in ("pairs", "merges", "groups", "pair", "starts", "category", "change", "totals"):
        assert (getattr(whole, name) == getattr(parts, name)).all(), name
    assert len(seen) > 5 and seen == sorted(seen) and seen[-1] == 100


def test_merges_that_no_text_holds_have_no_pair() -> None:
    merges = merge_list([(0, 1), (14, 15)])
    events = replay(merges, counted({"x": Counter({"abab": 1})}), steps=2)
    assert events.merges.tolist()[1] == -1 and events.merges[0] >= 0


def test_characters_without_a_symbol_part_a_word() -> None:
    merges = merge_list([(0, 1), (1, 2)])
    plain = replay(merges, counted({"x": Counter({"ab": 4, "bc": 4, "c": 1})}), steps=2)
    parted = replay(merges, counted({"x": Counter({"ab?bc!": 4, "?c": 1})}), steps=2)
    assert (plain.change == parted.change).all() and (plain.pairs == parted.pairs).all()
    assert plain.totals.tolist() == [8]


def test_what_can_not_be_replayed() -> None:
    merges = merge_list([(0, 1)])
    with pytest.raises(TokswapError, match="'y' holds no pair"):
        replay(merges, counted({"x": Counter({"ab": 1}), "y": Counter({"a": 3})}), steps=1)
    with pytest.raises(ValueError, match="2 steps"):
        replay(merges, counted({"x": Counter({"ab": 1})}), steps=2)
