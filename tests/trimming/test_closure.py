"""What a kept token needs, against BPE by the book: with it texts are cut as before, without it they are not."""

from __future__ import annotations

from collections import Counter
from typing import Any

import brute_encoding
import numpy as np
import pytest
from brute_encoding import WORDS, tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from tokswap.errors import TokswapError
from tokswap.trimming.keep import choose_kept, closure
from tokswap.trimming.needs import last_merge, merge_pairs, needs_of
from tokswap.trimming.tokenizer import trimmed_tokenizer

MANY = settings(max_examples=50, deadline=None)


def texts_of(tokenizer: dict[str, Any]) -> list[str]:
    return list(tokenizer["model"]["vocab"])


def only(tokenizer: dict[str, Any], ids: Any) -> dict[str, Any]:
    return trimmed_tokenizer(tokenizer, {old: new for new, old in enumerate(sorted(map(int, ids)))})


def by_library(tokenizer: dict[str, Any], word: str) -> list[str]:
    model = tokenizer["model"]
    engine = Tokenizer(models.BPE(model["vocab"], list(merge_pairs(model))))
    return engine.encode(word).tokens


@MANY
@given(tokenizers(), WORDS)
def test_words_of_kept_tokens_are_cut_as_before(tokenizer: dict[str, Any], words: list[str]) -> None:
    """The brute force on both merge lists, and the library on the trimmed one."""
    merges = list(merge_pairs(tokenizer["model"]))
    before = [brute_encoding.encode(word, merges) for word in words]
    ids = tokenizer["model"]["vocab"]
    trimmed = only(tokenizer, closure({ids[t] for word in before for t in word}, needs_of(tokenizer)))
    left = list(merge_pairs(trimmed["model"]))
    assert [brute_encoding.encode(word, left) for word in words] == before
    assert [by_library(trimmed, word) for word in words] == before


@MANY
@given(tokenizers(), WORDS)
def test_every_need_is_needed(tokenizer: dict[str, Any], words: list[str]) -> None:
    """Take one token out of the closure: some word of kept tokens is then cut otherwise."""
    merges = list(merge_pairs(tokenizer["model"]))
    ids, texts = tokenizer["model"]["vocab"], texts_of(tokenizer)
    used = {ids[t] for word in words for t in brute_encoding.encode(word, merges)}
    kept = closure(used, needs_of(tokenizer))
    for gone in kept - used:
        left = [m for m in merges if {ids[m[0]], ids[m[1]], ids[m[0] + m[1]]} <= kept - {gone}]
        assert any(brute_encoding.encode(texts[t], left) != [texts[t]] for t in used)


@MANY
@given(tokenizers())
def test_the_last_merge_is_what_brute_force_joins_last(tokenizer: dict[str, Any]) -> None:
    merges = list(merge_pairs(tokenizer["model"]))
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    for text in texts_of(tokenizer):
        without = [pair for pair in merges if pair[0] + pair[1] != text]
        parts = brute_encoding.encode(text, without)
        reached = len(parts) == 2 and tuple(parts) in ranks
        assert last_merge(text, ranks) == (tuple(parts) if reached else None)


@MANY
@given(tokenizers(), st.data())
def test_the_choice_is_closed_and_as_large_as_asked_for(
    tokenizer: dict[str, Any], data: st.DataObject
) -> None:
    needs = needs_of(tokenizer)
    size = len(texts_of(tokenizer))
    counts = np.asarray(data.draw(st.lists(st.integers(0, 30), min_size=size, max_size=size)))
    protected = set(data.draw(st.lists(st.integers(0, size - 1), max_size=3)))
    if data.draw(st.booleans()):
        asked = data.draw(st.floats(0.05, 1))
        kept = choose_kept(counts, protected, needs, coverage=asked)
        assert kept.coverage >= asked - 1e-12
    else:
        must = len(closure(protected, needs))
        keep = data.draw(st.integers(max(must, 1), size))
        kept = choose_kept(counts, protected, needs, keep=keep, candidates=range(size))
        assert len(kept.ids) == keep
    chosen = set(kept.ids.tolist())
    assert protected <= chosen and closure(chosen, needs) == chosen
    assert kept.coverage == (pytest.approx(counts[kept.ids].sum() / counts.sum()) if counts.any() else 1)
    assert kept.protected + kept.used + kept.needed + kept.filled == len(chosen)


def test_coverage_lets_go_of_what_is_used_least_and_of_no_more() -> None:
    counts = np.asarray([0, 50, 30, 15, 4, 1])
    none = needs_of({"model": {"type": "Unigram"}})
    for asked, left in ((1.0, 5), (0.99, 4), (0.96, 4), (0.95, 3), (0.8, 2), (0.5, 1)):
        assert choose_kept(counts, (), none, coverage=asked).ids.tolist() == list(range(1, left + 1))


def test_what_a_text_loses_falls_to_what_it_was_merged_from() -> None:
    """cd goes first, and c and d then count for it: only one of them is still to go, and ab with a and b stays."""
    counts = np.asarray([1, 0, 9, 9, 20, 10])  # a b c d ab cd
    merged_from = {4: (0, 1), 5: (2, 3)}
    kept = choose_kept(counts, (), lambda i: merged_from.get(i, ()), keep=4)
    assert kept.ids.tolist() == [0, 1, 2, 4]


def test_too_few_tokens_are_refused_with_the_least_that_will_do() -> None:
    with pytest.raises(TokswapError, match="3 must stay"):
        choose_kept(np.asarray([0, 0, 5]), (2,), lambda i: (0, 1) if i == 2 else (), keep=2)


def test_groups_stay_or_go_together() -> None:
    counts = Counter({0: 3})
    array = np.asarray([counts[i] for i in range(4)])
    assert choose_kept(array, (), lambda _: (), [[0, 2]]).ids.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"type": "WordLevel", "vocab": {}}, "no smaller pieces"),
        ({"type": "BPE", "vocab": {}, "merges": [], "continuing_subword_prefix": "@@"}, "'@@'"),
    ],
)
def test_models_of_unknown_needs_are_refused(model: dict[str, Any], words: str) -> None:
    with pytest.raises(TokswapError, match=words):
        needs_of({"model": model})
