"""A tokenizer that goes on merging: old ids stay, no text takes more tokens, and the new ones are reached."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import tokenizer_families as families
from hypothesis import given, settings
from hypothesis import strategies as st

from tokswap.errors import TokswapError
from tokswap.supertokens.extend import Extended, digits_in, extend_bpe
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import unreachable
from tokswap.vocab import read_vocab

TEXT = "Note: the lighthouse keeper's 1234 boats. The lighthouse stood on the harbour wall.\n" * 30
FAMILIES = {"byte_level": families.byte_level, "sentencepiece": families.sentencepiece}


@cache
def extended(family: str, max_words: int = 1, add: int = 40) -> tuple[dict[str, Any], Extended]:
    tokenizer = FAMILIES[family]()
    vocab = read_vocab(tokenizer, {})
    return tokenizer, extend_bpe(tokenizer, vocab, [TEXT], add, max_words=max_words, most_bytes=10**6)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=50, deadline=None)
@given(
    text=st.lists(st.sampled_from([*TEXT.split(), " ", "\n", "light", "keep", "水", "5"]), max_size=12).map(
        " ".join
    )
    | st.text(max_size=20)
)
def test_no_text_takes_more_tokens_and_each_is_made_of_old_ones(family: str, text: str) -> None:
    old, found = extended(family)
    before, after = (load_engine(family, which) for which in (0, 1))
    ids, new = (engine.encode(text, add_special_tokens=False).ids for engine in (before, after))
    assert len(new) <= len(ids)
    assert after.decode(new) == before.decode(ids)
    assert old_pieces(family, new) == ids
    assert set(old["model"]["vocab"].items()) <= set(found.tokenizer["model"]["vocab"].items())


def old_pieces(family: str, new: list[int]) -> list[int]:
    """Take new tokens apart, as their merges put them together."""
    old, found = extended(family)
    vocab, merges = found.tokenizer["model"]["vocab"], found.tokenizer["model"]["merges"]
    halves = {vocab[a + b]: (vocab[a], vocab[b]) for a, b in merges[len(old["model"]["merges"]) :]}
    out: list[int] = []
    left = new[::-1]
    while left:
        token_id = left.pop()
        if token_id in halves and token_id >= found.added[0]:
            left += halves[token_id][::-1]
        else:
            out.append(token_id)
    return out


@cache
def load_engine(family: str, which: int) -> Any:
    old, found = extended(family)
    return load_tokenizer((old, found.tokenizer)[which])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_it_saves_is_what_the_text_then_takes(family: str) -> None:
    _, found = extended(family)
    before, after = (
        len(load_engine(family, which).encode(TEXT, add_special_tokens=False).ids) for which in (0, 1)
    )
    assert found.tokens == before and before - after == found.saved.sum() > 0
    assert (np.diff(found.saved) <= 0).all()
    assert 1 <= found.suggested <= len(found.added)
    vocab = read_vocab(found.tokenizer, {})
    tokens = [vocab.bytes_of(i) for i in found.added]
    assert not set(unreachable(load_engine(family, 1), vocab).unreachable) & set(found.added[-1:])
    assert all(len(token.split()) <= 1 for token in tokens)
    assert any(len(token) > 5 for token in tokens)


def test_words_are_joined() -> None:
    """SentencePiece merges whole lines; byte-level BPE is cut into words first, and is widened."""
    for family, longest in (("sentencepiece", 3), ("byte_level", 3)):
        _, found = extended(family, max_words=3, add=200)
        vocab = read_vocab(found.tokenizer, {})
        tokens = [vocab.bytes_of(i) for i in found.added]
        assert max(len(token.split()) for token in tokens) == longest
        assert not any(b": " in token or b"\nN" in token for token in tokens)


def test_numbers_stay_as_they_were() -> None:
    tokenizer = families.byte_level()
    longest = max(map(digits_in, read_vocab(tokenizer, {}).tokens))
    _, found = extended("byte_level", add=200)
    assert max(map(digits_in, read_vocab(found.tokenizer, {}).tokens)) == longest


def test_added_tokens_behind_the_vocabulary_keep_their_ids() -> None:
    tokenizer = families.byte_level()
    size = len(tokenizer["model"]["vocab"])
    tokenizer["added_tokens"].append(families.added(size, "<|im_end|>"))
    found = extend_bpe(tokenizer, read_vocab(tokenizer, {}), [TEXT + "<|im_end|>" * 9], 20, most_bytes=10**6)
    engine = load_tokenizer(found.tokenizer)
    assert found.added[0] == size + 1 and engine.token_to_id("<|im_end|>") == size
    assert engine.encode("<|im_end|>").ids == [size]


def test_the_bend_of_a_curve() -> None:
    flat = Extended({}, (1, 2, 3, 4, 5), np.asarray([50, 40, 2, 2, 1]), 100, 0)
    assert flat.suggested == 2


def test_other_models_are_refused() -> None:
    tokenizer = families.wordpiece()
    with pytest.raises(TokswapError, match="only BPE"):
        extend_bpe(tokenizer, read_vocab(tokenizer, {}), [TEXT], 5, most_bytes=100)
