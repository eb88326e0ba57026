"""A widened pattern cuts where the old one did, but for safe borders, and what was cut there is merged as before."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizer_families as families
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from real_tokenizers import tokenizer as published

from tokswap import pretokenizers
from tokswap.sources import open_source
from tokswap.supertokens.extend import Extended, digits_in, extend_bpe
from tokswap.supertokens.widening import WHITE_SPACE, crossing_tokens, widen, widened_pattern
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import encode
from tokswap.vocab import read_vocab

ONE_STEP = {
    "gpt2": pretokenizers.GPT2,
    "digits, then gpt2": pretokenizers.DIGITS_GPT2,
    "qwen2": pretokenizers.QWEN2,
    "llama3": pretokenizers.LLAMA3,
    "o200k": pretokenizers.O200K,
    "tekken": pretokenizers.TEKKEN,
}
PARTS = [
    "don't", " go", "I'LL", " ", "  ", "\n", "\r\n", "\t", "12", " 3.5", "中文", "🙂", "é", "e\u0301", "\u00a0",
    "\u3000", "\x1c", ":", ", ", "_x", "(a b)", "ÉTAT", " d'État", " of the", "word: next", "a\u2028b", " việc",
    "camelCase",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS), max_size=14).map("".join) | st.text(max_size=20)


def rules(name: str) -> Any:
    return {**ONE_STEP, "deepseek3": pretokenizers.DEEPSEEK3}[name]


@cache
def cutters(name: str) -> tuple[Any, Any]:
    """Return pre-tokenizers that cut by a family's pattern, and by the widened one."""
    tokenizer = {**families.byte_level(), "pre_tokenizer": rules(name).pre_tokenizer()}
    wide = widen(tokenizer, read_vocab(tokenizer, {}))
    assert not wide.why_not
    return load_tokenizer(tokenizer).pre_tokenizer, load_tokenizer(wide.tokenizer).pre_tokenizer


def cuts(cutter: Any, text: str) -> set[int]:
    return {end for _, (_, end) in cutter.pre_tokenize_str(text)}


def is_safe(text: str, at: int) -> bool:
    if not 0 < at < len(text) - 1 or text[at] != " " or unicodedata.category(text[at + 1])[0] != "L":
        return False
    before = text[at - 1]
    return before not in "\t\n\v\f\r\x85:" and unicodedata.category(before)[0] not in "NZ"


@pytest.mark.parametrize("name", ONE_STEP)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_it_cuts_where_the_old_pattern_did_but_for_safe_borders(name: str, text: str) -> None:
    old, new = (cuts(cutter, text) for cutter in cutters(name))
    assert new == {at for at in old if not is_safe(text, at)}


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_what_an_earlier_step_cut_stays_cut(text: str) -> None:
    old, new = (cuts(cutter, text) for cutter in cutters("deepseek3"))
    assert new <= old and all(is_safe(text, at) for at in old - new)


def test_white_space_is_unicodes() -> None:
    characters = [chr(i) for i in range(0x10000)]  # there are none beyond
    spaces = {c for c in characters if re.match(f"[{WHITE_SPACE}]", c)}
    separators = {c for c in characters if unicodedata.category(c)[0] == "Z"}
    assert spaces == separators | set("\t\n\v\f\r\x85")


def test_a_long_line_is_one_stretch() -> None:
    _, cutter = cutters("llama3")
    text = "all work and no play " * 10_000
    assert len(cutter.pre_tokenize_str(text.strip())) == 1


def test_words_that_stand_alone_are_matched_alone() -> None:
    pattern = widened_pattern(pretokenizers.LLAMA3_PATTERN, [" a.b", " việc"])
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.Split(pattern_of(pattern), "isolated")
    found = [piece for piece, _ in engine.pre_tokenizer.pre_tokenize_str("of the việc and then việc")]
    assert found == ["of the", " việc", " and then", " việc"]


def pattern_of(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


@cache
def extended(name: str) -> tuple[Any, Any, Extended, dict[str, Any]]:
    """Return engines before and after, what was learnt, and the old tokenizer; some words are whole tokens."""
    tokenizer = {**families.byte_level(), "pre_tokenizer": rules(name).pre_tokenizer()}
    vocab = dict(tokenizer["model"]["vocab"])
    whole = rules(name).whole_first
    for word in ("Ġboats", "vieux") * whole:  # no merge arrives there
        vocab[word] = len(vocab)
    tokenizer["model"] = {**tokenizer["model"], "vocab": vocab, "ignore_merges": whole}
    text = "The boats of the vieux harbour, and all of the boats: up to 12 of them. Of the wall.\n" * 20
    read = read_vocab(tokenizer, {})
    found = extend_bpe(tokenizer, read, [text], 60, max_words=3, most_bytes=10**6)
    assert not found.within_words
    return load_tokenizer(tokenizer), load_tokenizer(found.tokenizer), found, tokenizer


@pytest.mark.parametrize("name", [*ONE_STEP, "deepseek3"])
@settings(max_examples=40, deadline=None)
@given(
    text=TEXTS
    | st.lists(
        st.sampled_from(["boats", "vieux", "of", "the", "wall,", "harbour", "12", "up"]), max_size=12
    ).map(" ".join)
)
def test_no_text_takes_more_tokens(name: str, text: str) -> None:
    before, after, found, tokenizer = extended(name)
    old, new = (engine.encode(text, add_special_tokens=False).ids for engine in (before, after))
    assert len(new) <= len(old) and after.decode(new) == before.decode(old)
    assert taken_apart(new, found, tokenizer) == old


def taken_apart(ids: list[int], found: Extended, tokenizer: dict[str, Any]) -> list[int]:
    """Take new tokens apart, as their merges put them together."""
    vocab, merges = found.tokenizer["model"]["vocab"], found.tokenizer["model"]["merges"]
    halves = {vocab[a + b]: (vocab[a], vocab[b]) for a, b in merges[len(tokenizer["model"]["merges"]) :]}
    out: list[int] = []
    left = ids[::-1]
    while left:
        token_id = left.pop()
        if token_id in halves and token_id in found.added:
            left += halves[token_id][::-1]
        else:
            out.append(token_id)
    return out


@pytest.mark.parametrize("name", [*ONE_STEP, "deepseek3"])
def test_words_are_joined(name: str) -> None:
    _, _, found, tokenizer = extended(name)
    vocab = read_vocab(found.tokenizer, {})
    tokens = [vocab.bytes_of(i) for i in found.added]
    assert {2, 3} <= {len(token.split()) for token in tokens} <= {1, 2, 3}
    assert not any(b": " in token or b"\nT" in token for token in tokens)
    before = read_vocab(tokenizer, {}).tokens
    assert max(map(digits_in, tokens)) <= max(map(digits_in, before))


def test_a_vocabulary_that_crosses_borders_is_left_alone() -> None:
    tokenizer = families.byte_level()
    vocab = {**tokenizer["model"]["vocab"], "ofĠthe": 400}
    tokenizer["model"] = {**tokenizer["model"], "vocab": vocab}
    read = read_vocab(tokenizer, {})
    assert crossing_tokens(read) == [b"of the"]
    wide = widen(tokenizer, read)
    assert wide.tokenizer == tokenizer and "1 of its tokens hold a space behind a word" in wide.why_not
    found = extend_bpe(tokenizer, read, ["all of the boats " * 9], 9, max_words=3, most_bytes=10**6)
    assert found.within_words == wide.why_not


@pytest.mark.parametrize(
    "steps",
    [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, pretokenizers.byte_level(use_regex=False)],
        },
    ],
)
def test_other_ways_to_cut_are_left_alone(steps: dict[str, Any]) -> None:
    tokenizer = {**families.byte_level(), "pre_tokenizer": steps}
    wide = widen(tokenizer, read_vocab(tokenizer, {}))
    assert wide.tokenizer == tokenizer and wide.why_not


def test_what_joins_words_already_is_left_as_it_is() -> None:
    for tokenizer in (families.sentencepiece(), extended("gpt2")[2].tokenizer):
        wide = widen(tokenizer, read_vocab(tokenizer, {}))
        assert wide.tokenizer == tokenizer and not wide.why_not


REAL = ("smollm2", "qwen3-tokenizer", "llama3-tokenizer", "gpt4o")


@cache
def real(name: str) -> tuple[Any, Any, Extended, dict[str, Any]]:
    """Return engines before and after, what was learnt from the texts that come with tokswap, and the old tokenizer."""
    from tokswap.evaluation.texts import default_texts

    tokenizer = published(name) if name == "gpt4o" else open_source(name, only_tokenizer=True).tokenizer
    blocks = ["".join(text.documents) for text in default_texts().values()]
    vocab = read_vocab(tokenizer, {})
    found = extend_bpe(tokenizer, vocab, blocks, 300, max_words=4, most_bytes=10**6)
    assert not found.within_words
    return load_tokenizer(tokenizer), load_tokenizer(found.tokenizer), found, dict(tokenizer)


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS | st.lists(st.sampled_from([*PARTS, " in the", " of a", ".:.:"]), max_size=20).map("".join))
def test_no_text_takes_more_tokens_of_a_real_tokenizer(name: str, text: str) -> None:
    before, after, found, tokenizer = real(name)
    old, new = (engine.encode(text, add_special_tokens=False).ids for engine in (before, after))
    assert len(new) <= len(old) and after.decode(new) == before.decode(old)
    assert taken_apart(new, found, tokenizer) == old


@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_real_text_of_many_kinds_takes_fewer(name: str) -> None:
    from tokswap.evaluation.texts import default_texts

    before, after, found, tokenizer = real(name)
    for text in default_texts("calibration").values():
        for document in text.documents:
            (old,), (new,) = encode(before, [document]), encode(after, [document])
            assert len(new) <= len(old) and taken_apart(new, found, tokenizer) == old
