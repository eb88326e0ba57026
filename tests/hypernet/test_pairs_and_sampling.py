"""What is learnt from: merges of the base, and tokenizers that are drawn from text."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from test_surfaces import unigram
from tiny_models import CORPUS, byte_level

from tokswap.errors import TokswapError
from tokswap.hypernet.pairs import merge_pairs
from tokswap.hypernet.sampling import (
    EVERY,
    LONGEST,
    Vocabulary,
    noisy_pieces,
    sample_vocabulary,
    substring_counts,
)
from tokswap.hypernet.settings import make_settings
from tokswap.hypernet.streams import Stream, snippets_of
from tokswap.methods import Pieces
from tokswap.vocab import gpt2_alphabet, read_vocab

BASE = byte_level(merges=60)
VOCAB = read_vocab(BASE, {})


def spelt(pieces: Pieces, vocab: object = VOCAB) -> list[bytes]:
    rows = [pieces.ids[a:b].tolist() for a, b in zip(pieces.starts, pieces.starts[1:], strict=False)]
    return [b"".join(map(vocab.bytes_of, row)) for row in rows]  # type: ignore[attr-defined]


def test_every_spelling_gives_the_tokens_bytes_back() -> None:
    pairs = merge_pairs(BASE, VOCAB, VOCAB.ids, 0)
    assert len(pairs.tokens) + len(pairs.held_out) == 60 and not set(pairs.tokens) & set(pairs.held_out)
    assert spelt(pairs.spelt(pairs.held_out, 7)) == [VOCAB.bytes_of(i) for i in pairs.held_out]
    lengths: Counter[int] = Counter()
    for seed in range(20):
        ids, pieces = pairs.batch(30, 5, [seed])
        assert spelt(pieces) == [VOCAB.bytes_of(i) for i in ids] and set(ids) <= set(pairs.tokens)
        assert pieces.lengths.tolist() == [len(VOCAB.bytes_of(i)) for i in pieces.ids.tolist()]
        lengths.update(pieces.starts.diff().tolist())
    assert min(lengths) == 2 and max(lengths) <= 5 and lengths[2] > lengths[3] > lengths[4] > 0


def test_rows_that_were_not_trained_are_in_no_spelling() -> None:
    dead = next(i for i in VOCAB.ids.tolist() if len(VOCAB.bytes_of(i)) == 2)
    pairs = merge_pairs(BASE, VOCAB, np.setdiff1d(VOCAB.ids, [dead]), 0)
    used = {*pairs.tokens, *pairs.held_out, *pairs.left, *pairs.right}
    assert dead not in used and len(used) > 40


def test_a_base_that_was_not_made_by_merging_is_cut_in_the_middle() -> None:
    tokenizer = unigram()
    tokenizer["model"]["vocab"] += [(c * k, -5.0 - k) for c in "xyz" for k in range(1, 10)]
    vocab = read_vocab(tokenizer, {})
    pairs = merge_pairs(tokenizer, vocab, vocab.ids, 0)
    for token in (*pairs.tokens, *pairs.held_out):
        a, b = vocab.bytes_of(pairs.left[token]), vocab.bytes_of(pairs.right[token])
        assert a + b == vocab.bytes_of(token) and abs(len(a) - len(b)) <= 1


def test_a_base_without_merges_is_refused() -> None:
    with pytest.raises(TokswapError, match="too few"):
        merge_pairs(byte_level(merges=3), read_vocab(byte_level(merges=3), {}), VOCAB.ids, 0)


@pytest.mark.parametrize("phase", range(EVERY))
def test_substrings_are_counted_from_every_fourth_place_of_the_text(phase: int) -> None:
    words = ["Ġthe", "Ġharbour", "Ċ", "x" * 40, "ab"]
    starts = [(w, i) for w in words for i in range(len(w))]
    expected: Counter[str] = Counter()
    for place, (word, i) in enumerate(starts):
        if (place + phase) % EVERY == 0:
            expected.update(word[i : i + n] for n in range(1, min(LONGEST, len(word) - i) + 1))
    assert substring_counts(words, phase) == expected


def test_pieces_hold_all_bytes_and_the_likeliest_substrings() -> None:
    counts = Counter({"the": 5000, "th": 5100, "rare": 1, "e": 9000})
    kept = noisy_pieces(counts, 258, np.random.default_rng(1))
    texts = [text for text, _ in kept]
    assert texts[:256] == list(gpt2_alphabet()) and set(texts[256:]) == {"the", "th"}
    assert (
        all(score <= 0 for _, score in kept)
        and len(noisy_pieces(counts, 10, np.random.default_rng(0))) == 256
    )


def drawn(seed: int = 0) -> Vocabulary:
    return sample_vocabulary(CORPUS, BASE, VOCAB, 600, [seed])


def test_a_drawn_tokenizer_reads_any_text_and_knows_its_rows() -> None:
    made = drawn()
    text = CORPUS[0] + CORPUS[2] + "\x00 水路"
    read = made.reader().tokenize(text)
    assert b"".join(made.vocab.bytes_of(int(i)) for i in read.ids) == text.encode()
    assert read.spans.length == len(text.encode())
    shared = [made.vocab.bytes_of(int(i)) for i in made.shared]
    assert shared == [VOCAB.bytes_of(int(i)) for i in made.base] and len(shared) >= 256
    new = [made.vocab.bytes_of(int(i)) for i in made.new]
    assert spelt(made.pieces) == new and len(new) > 100 and not set(new) & set(VOCAB.tokens)


def test_each_number_draws_its_own_tokenizer_and_always_the_same() -> None:
    assert drawn(1).tokenizer == drawn(1).tokenizer != drawn(2).tokenizer


def stream(worker: bool) -> Stream:
    settings = make_settings(["lm=9"], pieces=400, serves=2, accumulate=1, step_bytes=1024)
    return Stream(tuple(CORPUS * 3), (CORPUS[0],), settings, BASE, VOCAB, worker=worker)


def test_the_worker_draws_what_the_trainer_would() -> None:
    alone, apart = stream(False), stream(True)
    try:
        for step in (0, 1, 2, 5):
            mine, theirs = alone.vocabulary(step), apart.vocabulary(step)
            assert mine.tokenizer == theirs.tokenizer and mine.pieces.ids.equal(theirs.pieces.ids)
        assert alone.vocabulary(4) is alone.vocabulary(5), "one tokenizer serves two steps"
    finally:
        apart.close()


def test_the_real_donor_takes_every_other_turn() -> None:
    made = stream(False)
    made.donor = drawn(7)
    assert [made.vocabulary(step) is made.donor for step in range(8)] == [False, False, True, True] * 2
    assert made.held_out_vocabulary() is made.donor


def test_text_comes_in_an_order_that_follows_from_the_step() -> None:
    made = stream(False)
    once = [text for step in range(12) for text in made.batch(step)]
    assert once == [text for step in range(12) for text in stream(False).batch(step)]
    whole = len(made.train)
    first, second = ([t for s in range(a, a + whole) for t in made.batch(s)] for a in (0, whole))
    assert sorted(first) == sorted(second) == sorted(made.train) and first != second


def test_text_that_is_too_short_is_refused() -> None:
    from tokswap.evaluation.texts import Text

    with pytest.raises(TokswapError, match="too short"):
        snippets_of({"a": Text("a", ("word " * 100,))})
    train, held = snippets_of({"a": Text("a", ("word word\n" * 5000,))})
    assert len(held) == 4 and len(train) > 40
