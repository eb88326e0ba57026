from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import added, byte_level, sentencepiece, suffixed, unigram, with_start, wordpiece
from tokenizers import Tokenizer

from tokswap.errors import TokswapError
from tokswap.vocab import Kind, Vocab, gpt2_alphabet, make_vocab, read_vocab, vocab_of

BYTE_LEVEL, SENTENCEPIECE, UNIGRAM = byte_level(), sentencepiece(), unigram()
WORDPIECE, SUFFIXED = wordpiece(), suffixed()
CORPUS_CHARACTERS = [p for p, _ in UNIGRAM["model"]["vocab"] if len(p) == 1 and p != "▁"]


def engine_of(tokenizer: dict[str, Any]) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(tokenizer))


def spelt(vocab: Vocab, ids: list[int]) -> bytes:
    return b"".join(map(vocab.bytes_of, ids))


def small(tokens: dict[str, int], specials: tuple[str, ...] = (), **config: Any) -> Vocab:
    """A WordLevel vocabulary with special tokens, read with a tokenizer_config."""
    tokenizer = {
        "model": {"type": "WordLevel", "vocab": tokens, "unk_token": "x"},
        "added_tokens": [added(tokens[text], text) for text in specials],
    }
    return read_vocab(tokenizer, config)


def test_alphabet_of_all_bytes_is_that_of_an_independent_construction() -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    assert gpt2_alphabet() == {char: byte for byte, char in bytes_to_unicode().items()}
    assert sorted(gpt2_alphabet().values()) == list(range(256))


@settings(deadline=None, max_examples=200)
@given(st.text())
def test_byte_level_ids_spell_any_text_exactly(text: str) -> None:
    vocab = read_vocab(BYTE_LEVEL, {})
    assert spelt(vocab, engine_of(BYTE_LEVEL).encode(text).ids) == text.encode()


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_characters="▁", exclude_categories=["Cs"]), min_size=1))
def test_sentencepiece_ids_spell_a_space_and_the_text(text: str) -> None:
    vocab = read_vocab(SENTENCEPIECE, {})
    assert spelt(vocab, engine_of(SENTENCEPIECE).encode(text).ids) == b" " + text.encode()


@settings(deadline=None, max_examples=100)
@given(st.text(st.sampled_from([*CORPUS_CHARACTERS, " "])))
def test_unigram_ids_spell_the_text(text: str) -> None:
    assert spelt(read_vocab(UNIGRAM, {}), engine_of(UNIGRAM).encode(text).ids) == text.encode()


@pytest.mark.parametrize("text", ["The harbour wall", "naïve façade, 42", "people needed somewhere"])
def test_wordpiece_ids_spell_words_behind_spaces(text: str) -> None:
    engine = engine_of(WORDPIECE)
    ids = engine.encode(text).ids
    assert engine.decode(ids) == text  # nothing unknown
    assert spelt(read_vocab(WORDPIECE, {}), ids) == b" " + text.encode()


@pytest.mark.parametrize("text", ["The harbour wall", "naïve façade", "水路と橋 three", "42 œufs"])
def test_suffixed_ids_spell_words_before_spaces(text: str) -> None:
    ids = engine_of(SUFFIXED).encode(text).ids
    assert spelt(read_vocab(SUFFIXED, {}), ids) == text.encode() + b" "


@pytest.mark.parametrize("tokenizer", [BYTE_LEVEL, SENTENCEPIECE, UNIGRAM], ids=["bytes", "sp", "unigram"])
def test_single_tokens_that_are_text_decode_to_their_bytes(tokenizer: dict[str, Any]) -> None:
    engine, vocab = engine_of({**tokenizer, "added_tokens": []}), read_vocab(tokenizer, {})
    checked = 0
    for token_id, token, kind in zip(vocab.ids, vocab.tokens, vocab.kinds, strict=True):
        decoded = engine.decode([int(token_id)], skip_special_tokens=False)
        if kind == Kind.ORDINARY and "\ufffd" not in decoded:
            # SentencePiece's decoder takes the space off that its normaliser puts first.
            assert decoded.encode() == (token.removeprefix(b" ") if tokenizer is SENTENCEPIECE else token)
            checked += 1
    assert checked > 70


def test_tokens_that_are_no_text_keep_apart() -> None:
    vocab = read_vocab(BYTE_LEVEL, {})
    broken = [t for t in vocab.tokens if t.decode("utf-8", "replace") != t.decode("utf-8", "ignore")]
    assert len(broken) > 128 and len(set(broken)) == len(broken)
    assert all("\ufffd".encode() not in token for token in broken)
    fallback = read_vocab(SENTENCEPIECE, {})
    found = {t for t, kind in zip(fallback.tokens, fallback.kinds, strict=True) if kind == Kind.BYTE}
    assert found == {bytes([byte]) for byte in range(256)}


def test_added_text_is_taken_as_written() -> None:
    tokenizer = copy.deepcopy(BYTE_LEVEL)
    at = len(tokenizer["model"]["vocab"])
    tokenizer["added_tokens"] += [added(at, "    ", special=False), added(at + 1, "é水", special=False)]
    vocab = read_vocab(tokenizer, {})
    ids = engine_of(tokenizer).encode("    é水").ids
    assert ids == [at, at + 1]
    assert [vocab.bytes_of(i) for i in ids] == [b"    ", "é水".encode()]
    assert not vocab.is_special(at)


def test_padding_that_is_the_end_token_keeps_both_roles() -> None:
    vocab = small({"x": 0, "<eos>": 1}, ("<eos>",), eos_token="<eos>", pad_token={"content": "<eos>"})
    assert vocab.role_id("pad") == vocab.role_id("eos") == vocab.role_id("document_end") == 1


def test_html_is_no_document_end() -> None:
    tokens = {"x": 0, "</s>": 1, "<|endoftext|>": 2}
    vocab = small(tokens, ("<|endoftext|>",), eos_token="<|endoftext|>")
    assert not vocab.is_special(1) and vocab.bytes_of(1) == b"</s>"
    assert vocab.role_id("document_end") == vocab.role_id("eos") == 2
    assert small(tokens, ("</s>",)).role_id("document_end") == 1


def test_ordinary_text_named_as_padding_stays_text() -> None:
    vocab = small({"x": 0, "!": 1, "<pad>": 2}, pad_token="!")
    assert not vocab.is_special(1) and vocab.role_id("pad") is None
    assert small({"x": 0, "<pad>": 1}, pad_token="<pad>").is_special(1)


def test_all_ends_of_the_generation_config_end_a_turn() -> None:
    tokens = {"x": 0, "<a>": 1, "<b>": 2, "<c>": 3}
    tokenizer = {
        "model": {"type": "WordLevel", "vocab": tokens},
        "added_tokens": [added(i, t) for t, i in list(tokens.items())[1:]],
    }
    vocab = read_vocab(tokenizer, {"eos_token": "<a>"}, {"eos_token_id": 1}, {"eos_token_id": [1, 3]})
    assert (vocab.roles[1], vocab.roles[2], vocab.roles[3]) == (("eos",), (), ("turn_end",))
    unnamed = read_vocab(tokenizer, {}, {"eos_token_id": [2, 3]})
    assert unnamed.roles[2] == unnamed.roles[3] == ("eos",) and unnamed.role_id("eos") == 2


def test_what_ends_documents_does_not_become_a_turn_end_by_stopping_generation() -> None:
    tokens = {"x": 0, "<|im_end|>": 1, "<|endoftext|>": 2}
    tokenizer = {
        "model": {"type": "WordLevel", "vocab": tokens},
        "added_tokens": [added(i, t) for t, i in list(tokens.items())[1:]],
    }
    vocab = read_vocab(tokenizer, {"eos_token": "<|im_end|>"}, {}, {"eos_token_id": [1, 2]})
    assert vocab.roles[1] == ("turn_end", "eos") and vocab.roles[2] == ("document_end",)


def test_several_additional_specials_are_several_tokens() -> None:
    names = [f"<|x{i}|>" for i in range(5)]
    vocab = small({"x": 0} | {n: i for i, n in enumerate(names, 1)}, tuple(names))
    assert [vocab.is_special(i) for i in range(6)] == [False, *[True] * 5]
    assert len({vocab.bytes_of(i) for i in range(1, 6)}) == 5


def test_reserved_names_are_no_text() -> None:
    tokenizer = {
        "model": {"type": "WordLevel", "vocab": {"x": 0, "[unused1]": 1}},
        "added_tokens": [added(1, "[unused1]", special=False), added(2, "<unused7>", special=False)],
    }
    assert [read_vocab(tokenizer, {}).is_special(i) for i in range(3)] == [False, True, True]


@pytest.mark.parametrize(
    ("start", "config", "expected"),
    [
        (None, {}, False),
        (None, {"add_bos_token": True}, True),
        ("<s>", {}, True),
        ("<s>", {"add_bos_token": False}, True),
    ],
)
def test_start_token_follows_the_post_processor(
    start: str | None, config: dict[str, Any], expected: bool
) -> None:
    tokenizer = with_start(BYTE_LEVEL, start) if start else BYTE_LEVEL
    vocab = read_vocab(tokenizer, config)
    assert vocab.adds_bos is expected
    if start:
        assert engine_of(tokenizer).encode("a").ids[0] == vocab.role_id("bos")  # though no config names it


def test_an_end_token_is_no_start_token() -> None:
    tokenizer = with_start(BYTE_LEVEL, "</s>")
    for name in ("single", "pair"):
        tokenizer["post_processor"][name].reverse()
    assert engine_of(tokenizer).encode("a").tokens[-1] == "</s>"
    assert not read_vocab(tokenizer, {}).adds_bos


def test_bert_starts_with_its_class_token() -> None:
    tokenizer = {
        **WORDPIECE,
        "post_processor": {"type": "BertProcessing", "sep": ["[CLS]", 1], "cls": ["[CLS]", 1]},
    }
    vocab = read_vocab(tokenizer, {"cls_token": "[CLS]"})
    assert vocab.adds_bos and vocab.roles[1] == ("cls",)


def test_ids_holes_and_rows_are_kept_apart() -> None:
    vocab = make_vocab(
        {0: ("a", b"a", Kind.ORDINARY), 3: ("b", b"bb", Kind.ORDINARY), 7: ("<i>", b"<i>", Kind.SPECIAL)},
        {},
        6,
    )
    assert vocab.out_of_rows.tolist() == [7] and vocab.max_id == 7 and len(vocab) == 3
    assert vocab.bytes_of(1) == vocab.bytes_of(99) == b"" and not vocab.is_special(99)
    assert vocab.byte_lengths.tolist() == [1, 0, 0, 2, 0, 0, 0, 0]
    assert vocab.position == {0: 0, 3: 1, 7: 2}
    assert make_vocab({5: ("a", b"a", Kind.ORDINARY)}, {}, None).rows == 6


def test_start_id_has_a_row() -> None:
    tokens = {
        0: ("a", b"a", Kind.ORDINARY),
        8: ("<s>", b"<s>", Kind.SPECIAL),
        2: ("<e>", b"<e>", Kind.SPECIAL),
    }
    roles = {8: ("bos",), 2: ("eos",)}
    assert make_vocab(tokens, roles, 9).start_id == 8
    assert make_vocab(tokens, roles, 8).start_id == 2
    assert make_vocab(tokens, {}, 9).start_id is None


def spoil(change: Any) -> dict[str, Any]:
    tokenizer = copy.deepcopy(BYTE_LEVEL)
    change(tokenizer)
    return tokenizer


def put(**parts: Any) -> Any:
    return lambda tokenizer: tokenizer.update(parts)


def put_token(text: str, token_id: Any) -> Any:
    return lambda tokenizer: tokenizer["model"]["vocab"].update({text: token_id})


def add_token(*entries: Any) -> Any:
    return lambda tokenizer: tokenizer["added_tokens"].extend(entries)


BROKEN = {
    "two tokens on one id": put_token("twin", 300),
    "an added token on a taken id": add_token(added(300, "twin")),
    "an added token with a second id": add_token(added(900, "a")),
    "one name added twice": add_token(added(900, "<x>"), added(901, "<x>")),
    "an id of four billion": put_token("far", 4_000_000_000),
    "a negative id": put_token("far", -1),
    "an id that is text": put_token("far", "1"),
    "no model": lambda t: t.pop("model"),
    "a model that is a list": put(model=[]),
    "an unknown model": put(model={"type": "Morse", "vocab": {}}),
    "no tokens": put(model={"type": "BPE", "vocab": {}, "merges": []}, added_tokens=[]),
    "Unigram with bare pieces": put(model={"type": "Unigram", "vocab": ["a", "b"]}),
    "added tokens that are no list": put(added_tokens={"a": 1}),
    "an added token that is no object": add_token("<x>"),
    "an added token without id": add_token({"content": "<x>"}),
    "a template that is no list": put(post_processor={"type": "TemplateProcessing", "single": 3}),
    "a class token that is no list": put(post_processor={"type": "BertProcessing", "cls": 3}),
    "steps that are no list": put(post_processor={"type": "Sequence", "processors": 3}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused(name: str) -> None:
    with pytest.raises(TokswapError) as caught:
        read_vocab(spoil(BROKEN[name]), {})
    assert caught.value.hint


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.sampled_from(["a", "type", "BPE", "TemplateProcessing"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["type", "vocab", "id", "content", "single", "processors", "SpecialToken", "cls"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(
    st.fixed_dictionaries(
        {"model": st.just({"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}) | json_values},
        optional=dict.fromkeys(
            ("added_tokens", "post_processor", "pre_tokenizer", "decoder", "normalizer"), json_values
        ),
    ),
    st.dictionaries(st.sampled_from(["bos_token", "eos_token", "extra_special_tokens"]), json_values),
    st.dictionaries(st.sampled_from(["bos_token_id", "eos_token_id"]), json_values),
)
def test_whatever_a_file_holds_it_is_read_or_refused(tokenizer: Any, config: Any, model_config: Any) -> None:
    try:
        vocab = read_vocab(tokenizer, config, model_config)
    except TokswapError:
        return
    assert len(vocab) > 0


def test_a_checkpoint_without_tokenizer_is_refused(tmp_path: Any) -> None:
    from tokswap.checkpoint import open_checkpoint

    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 9}))
    with pytest.raises(TokswapError, match=r"no tokenizer\.json"):
        vocab_of(open_checkpoint(tmp_path))


def test_rows_come_from_the_config_where_there_are_no_weights(tmp_path: Any) -> None:
    from tokswap.checkpoint import open_checkpoint

    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 999}))
    (tmp_path / "tokenizer.json").write_text(json.dumps(BYTE_LEVEL))
    vocab = vocab_of(open_checkpoint(tmp_path))
    assert vocab.rows == 999 and vocab.max_id < 999


@pytest.mark.parametrize("ids", [[1, 0], [0, 0], [-1, 0]])
def test_a_vocab_with_ids_out_of_order_can_not_be_made(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        Vocab(np.array(ids), (b"a", b"b"), ("a", "b"), np.zeros(2, np.uint8), {}, 5)
