"""Two-stage training against brute force, merge for merge, and against the tokenizers library where it can follow."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import brute_training
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokswap.errors import TokswapError
from tokswap.supertokens.encoding import words_in
from tokswap.supertokens.merging import MergeTrainer
from tokswap.supertokens.patterns import byte_level, stretch_pattern, word_pattern
from tokswap.supertokens.superbpe import Settings, stage_one, train_superbpe, train_words
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import read_vocab

MANY = settings(max_examples=60, deadline=None)
WORDS = ["the", "a", "of", "to", "boat:", "up", "Note:", "42", "1,000", "it.", "at the end of the"]
WORDS += [start + end for start in ("bo", "ha", "sto", "wi", "Que") for end in ("at", "rbour", "rm", "nds")]
LETTERS = [b"a", b"b", b" ", b":"]


def corpus(lines: int, seed: int = 0) -> str:
    draw = random.Random(seed)
    return "".join(" ".join(draw.choices(WORDS, k=draw.randint(2, 9))) + "\n" for _ in range(lines))


@MANY
@given(
    st.lists(st.text("ab :", max_size=12), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(5, 30),
)
def test_merges_are_those_of_brute_force(texts: list[str], words: int, least: int, size: int) -> None:
    """On any text, runs of one letter and results that are tokens already among them."""

    def allowed(left: bytes, right: bytes) -> bool:
        return words_in(left + right) <= words and not (left.endswith(b":") and right.startswith(b" "))

    stretches = [[bytes([byte]) for byte in text.encode()] for text in texts if text]
    flat = [letter for stretch in stretches for letter in stretch]
    symbols = np.asarray([LETTERS.index(letter) for letter in flat], dtype=np.int32)
    breaks = np.zeros(len(flat), dtype=np.bool_)
    breaks[np.cumsum([len(s) for s in stretches], dtype=np.int64) - 1] = True
    trainer = MergeTrainer(symbols, breaks, list(LETTERS), allowed, least)
    merges = [(trainer.texts[a], trainer.texts[b]) for a, b, _ in trainer.train(size)]
    assert merges == brute_training.train(stretches, LETTERS, size, allowed, least)
    assert b"".join(trainer.texts[i] for i in trainer.symbols if i >= 0) == b"".join(flat)


def by_hand(text: str, settings: Settings) -> list[brute_training.Merge]:
    """Both stages by brute force, from the bytes on."""
    words = [
        w for w, _ in pre_tokenizers.Sequence([split(word_pattern(settings.digits))]).pre_tokenize_str(text)
    ]
    alphabet = [bytes([b]) for b in sorted(range(256), key=lambda b: spelt(bytes([b])))]
    first = brute_training.train(
        [[bytes([b]) for b in w.encode()] for w in words],
        [b"<|endoftext|>", *alphabet],
        settings.transition,
        lambda *_: True,
    )
    tokens = list(dict.fromkeys([b"<|endoftext|>", *alphabet, *(a + b for a, b in first)]))
    stretches: list[list[bytes]] = []
    for stretch in re.findall(r"\d{1,3}|[^\d]+", text):
        symbols = [bytes([b]) for b in stretch.encode()]
        for pair in first:
            symbols = brute_training.joined(symbols, pair)
        stretches.append(symbols)

    def allowed(left: bytes, right: bytes) -> bool:
        return words_in(left + right) <= settings.max_words and not (
            left.endswith(b":") and right.startswith(b" ")
        )

    return first + brute_training.train(stretches, tokens, settings.vocab_size, allowed)


def split(pattern: str) -> Any:
    from tokenizers import Regex

    return pre_tokenizers.Split(Regex(pattern), "isolated")


def spelt(token: bytes) -> str:
    from tokswap.pieces import BYTE_TO_CHAR

    return "".join(BYTE_TO_CHAR[byte] for byte in token)


@pytest.mark.parametrize("max_words", [2, 4])
def test_both_stages_are_brute_force_merge_for_merge(max_words: int) -> None:
    text = corpus(150)
    how = Settings(vocab_size=460, transition=330, max_words=max_words)
    trained = train_superbpe([text], [text], how, most_bytes=10**6)
    merges = [tuple(m) for m in trained.tokenizer["model"]["merges"]]
    expected = [(spelt(a), spelt(b)) for a, b in by_hand(text, how)]
    assert merges == expected
    longest = max(words_in(token) for token in read_vocab(trained.tokenizer, {}).tokens)
    assert longest == max_words


def test_without_a_word_limit_it_is_what_the_library_learns() -> None:
    """Stage 1's tokens as private characters, ordinary training on the strings."""
    text = corpus(400, seed=1)
    how = Settings(vocab_size=530, transition=330, max_words=99)
    trained = train_superbpe([text], [text], how, most_bytes=10**6)
    first = load_tokenizer(stage_one(train_words([text], how), how))
    found = first.encode(text)
    strings, tokens = [""], found.tokens
    for at, token_id in enumerate(found.ids):
        cut = at and (
            found.word_ids[at] != found.word_ids[at - 1]
            or (tokens[at - 1][-1] == ":" and tokens[at][0] == "Ġ")
        )
        if cut:
            strings.append("")
        strings[-1] += chr(0x20000 + token_id)
    engine = Tokenizer(models.BPE())
    stage_two = how.vocab_size - how.transition
    trainer = trainers.BpeTrainer(
        vocab_size=len(set("".join(strings))) + stage_two, min_frequency=2, show_progress=False
    )
    engine.train_from_iterator(strings, trainer)
    theirs = json.loads(engine.to_str())["model"]["merges"]
    names = {chr(0x20000 + i): first.id_to_token(i) for i in range(how.transition)}
    expected = [["".join(names[c] for c in half) for half in merge] for merge in theirs]
    ours = trained.tokenizer["model"]["merges"][-len(theirs) :]
    assert len(theirs) == stage_two and ours == expected


@MANY
@given(
    st.text(max_size=40) | st.text(st.sampled_from("ab '\n\r\t .:1234é水"), max_size=40),
    st.sampled_from([1, 3]),
)
def test_a_stretch_is_a_union_of_words(text: str, digits: int) -> None:
    borders = [
        {stop for _, (_, stop) in split(pattern).pre_tokenize_str(text)}
        for pattern in (word_pattern(digits), stretch_pattern(digits))
    ]
    assert borders[1] <= borders[0]
    assert not text or max(borders[1]) == len(text)


def test_the_text_is_encoded_as_training_left_it_and_comes_back() -> None:
    text = corpus(300, seed=2)
    how = Settings(vocab_size=480, transition=330)
    trained = train_superbpe([text], [text[:4000], text[4000:]], how, most_bytes=10**6)
    engine = load_tokenizer(trained.tokenizer)
    ids = engine.encode(text).ids
    assert engine.decode(ids) == text
    assert len(ids) < 0.8 * len(load_tokenizer(trained.ordinary).encode(text).ids)
    vocab = read_vocab(trained.tokenizer, {})
    assert len(vocab) == 480 and not any(b": " in token for token in vocab.tokens)
    assert trained.tokenizer["pre_tokenizer"] == byte_level(stretch_pattern(3))


def test_stage_two_reads_no_more_than_it_may() -> None:
    blocks = [corpus(40, seed=i) for i in range(60)]
    trained = train_superbpe(blocks, iter(blocks), Settings(400, 330), most_bytes=len(blocks[0]))
    assert len(blocks[0]) <= trained.read < sum(map(len, blocks)) / 2


@pytest.mark.parametrize(("size", "transition"), [(400, 200), (400, 401)])
def test_a_transition_outside_the_vocabulary_is_refused(size: int, transition: int) -> None:
    with pytest.raises(TokswapError, match="is none"):
        Settings(size, transition)


def test_too_little_text_is_said() -> None:
    with pytest.raises(TokswapError, match="tokens of words"):
        train_superbpe(["one two\n"], ["one two\n"], Settings(4000, 3000), most_bytes=100)
