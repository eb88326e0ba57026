"""Random chunks: their lengths, that they are the text, and what is learnt from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokswap.supertokens.chunks import LENGTHS, LONGEST_TOKEN, cut_at_random, length_shares, train_chunks
from tokswap.supertokens.files import thinned
from tokswap.supertokens.superbpe import Settings
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import read_vocab


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.integers(0, 9))
def test_chunks_are_the_text(text: str, seed: int) -> None:
    chunks = cut_at_random(text, np.random.default_rng(seed))
    assert "".join(chunks) == text
    assert all(4 <= len(chunk) <= 23 for chunk in chunks[:-1]) and all(chunks)


def test_lengths_are_as_likely_as_was_published() -> None:
    sizes, shares = length_shares()
    assert shares.sum() == pytest.approx(1) and sum(LENGTHS.values()) == pytest.approx(1.1)
    lengths = [len(chunk) for chunk in cut_at_random("x" * 400_000, np.random.default_rng(0))]
    for (start, stop), weight in LENGTHS.items():
        found = np.mean([start <= length <= stop for length in lengths])
        assert found == pytest.approx(weight / 1.1, abs=0.01)
    assert np.mean(lengths) == pytest.approx(sizes @ shares, rel=0.01)


def test_what_is_learnt_crosses_words_and_is_not_too_long() -> None:
    text = "At the end of the harbour wall, boats tie up. " * 200
    trained = train_chunks([text], Settings(400, 300))
    assert trained == train_chunks([text], Settings(400, 300))
    tokens = read_vocab(trained, {}).tokens
    assert max(map(len, tokens)) <= LONGEST_TOKEN
    assert any(b" " in token.strip() for token in tokens)
    engine = load_tokenizer(trained)
    assert engine.decode(engine.encode(text).ids) == text


@given(st.integers(0, 400), st.integers(1, 200), st.integers(1, 9))
def test_thinning_is_even(blocks: int, room: int, size: int) -> None:
    kept = [int(block) for block in thinned((f"{i:0{size + 2}}" for i in range(blocks)), room * (size + 2))]
    assert len(kept) == min(blocks, room)
    assert kept[:1] == [0][:blocks] and kept == sorted(kept)
    gaps = np.diff([*kept, blocks])
    assert not len(gaps) or gaps.max() <= 4 * blocks / len(kept)
    assert len(set(gaps[:-1].tolist())) <= 3


def test_thinning_keeps_one_block_of_any_size() -> None:
    assert list(thinned(["a long one", "b", "another"], 4)) == ["a long one"]
