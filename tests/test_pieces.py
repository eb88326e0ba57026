from __future__ import annotations

import copy
import json
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import BYTE_PIECES, byte_level, sentencepiece, wordpiece

from tokswap.pieces import spell
from tokswap.vocab import read_vocab

BYTE_LEVEL, SENTENCEPIECE = byte_level(), sentencepiece()


def pieces_of(tokenizer: dict[str, Any], *tokens: bytes, **config: Any) -> list[list[int]]:
    """Spell tokens and check the ragged table on the way."""
    vocab = read_vocab(tokenizer, config)
    pieces = spell(tokenizer, vocab, tokens)
    starts = pieces.starts.tolist()
    assert starts[0] == 0 and starts[-1] == len(pieces.ids) and len(starts) == len(tokens) + 1
    assert pieces.lengths.tolist() == [len(vocab.bytes_of(i)) for i in pieces.ids.tolist()]
    return [pieces.ids[a:b].tolist() for a, b in pairwise(starts)]


def merge_by_rank(parts: list[str], merges: list[list[str]]) -> list[str]:
    """BPE as its definition says: the pair of lowest rank, leftmost first, until no pair merges."""
    ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
    while pairs := [p for p in pairwise(parts) if p in ranks]:
        best = min(pairs, key=ranks.__getitem__)
        at = next(i for i, p in enumerate(pairwise(parts)) if p == best)
        parts = [*parts[:at], "".join(best), *parts[at + 2 :]]
    return parts


texts = st.sampled_from(["the", " people", "harbour wall", "éclaire", "水路", "🙂", "   ", "\n\n"]).map(
    str.encode
)


@settings(deadline=None, max_examples=150)
@given(st.lists(texts | st.binary(max_size=3), max_size=5).map(b"".join))
def test_byte_level_pieces_are_those_of_merging_by_rank(token: bytes) -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    model = BYTE_LEVEL["model"]
    expected = merge_by_rank([bytes_to_unicode()[byte] for byte in token], model["merges"])
    assert pieces_of(BYTE_LEVEL, token) == [[model["vocab"][part] for part in expected]]


@settings(deadline=None, max_examples=150)
@given(st.lists(texts | st.binary(max_size=3), max_size=5).map(b"".join))
def test_sentencepiece_pieces_spell_every_byte(token: bytes) -> None:
    vocab = read_vocab(SENTENCEPIECE, {})
    (ids,) = pieces_of(SENTENCEPIECE, token)
    assert b"".join(map(vocab.bytes_of, ids)) == token


def test_sentencepiece_pieces_are_those_of_merging_by_rank() -> None:
    model = SENTENCEPIECE["model"]
    for text in ("harbour", "▁the▁people", "▁somewhere"):
        expected = [model["vocab"][part] for part in merge_by_rank(list(text), model["merges"])]
        assert pieces_of(SENTENCEPIECE, text.replace("▁", " ").encode()) == [expected]


def test_what_is_no_utf8_is_spelt_by_bytes() -> None:
    vocab = SENTENCEPIECE["model"]["vocab"]
    found = pieces_of(SENTENCEPIECE, b"\xe4\xbd", b"the\xff", "\N{SNOWMAN}".encode())
    fallback = [
        [vocab[f"<0x{byte:02X}>"] for byte in token] for token in (b"\xe4\xbd", "\N{SNOWMAN}".encode())
    ]
    assert [found[0], found[2]] == fallback
    assert found[1] == [*pieces_of(SENTENCEPIECE, b"the")[0], vocab["<0xFF>"]]


def test_bytes_that_the_base_lacks_are_left_out() -> None:
    base = {
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<?>": 3}, "merges": [["a", "b"]]},
        "decoder": {"type": "ByteLevel"},
    }
    assert pieces_of(base, b"ab\x00a", b"\x00\xff", b"") == [[2, 0], [], []]
    base["model"]["unk_token"] = "<?>"
    assert pieces_of(base, b"ab\x00a", b"\x00\xff") == [[2, 0], []]  # no config says that <?> is unknown
    plain = {"model": base["model"]}
    assert pieces_of(plain, "ab水a".encode(), b"\xff") == [[2, 0], []]


def test_nothing_is_random_and_nothing_special() -> None:
    base = copy.deepcopy(BYTE_LEVEL)
    base["model"]["dropout"] = 0.9
    whole = pieces_of(BYTE_LEVEL, b" the people")
    assert all(pieces_of(base, b" the people") == whole for _ in range(10))
    base["model"]["ignore_merges"] = True
    specials = {token["id"] for token in base["added_tokens"]}
    assert not specials & set(pieces_of(base, b"</s>")[0])


def test_pieces_have_rows() -> None:
    vocab = read_vocab(BYTE_LEVEL, {}, rows=300)
    (whole,) = pieces_of(BYTE_LEVEL, b" the harbour wall\0")
    assert (
        spell(BYTE_LEVEL, vocab, [b" the harbour wall\0"]).ids.tolist() == [i for i in whole if i < 300] != []
    )


@pytest.mark.parametrize("text", ["abab", "abcab", "cab", "aaab", "abcabc"])
def test_unigram_pieces_are_the_best_of_all_ways(text: str) -> None:
    scores = {
        "<unk>": 0.0,
        "</s>": 0.0,
        "a": -2.0,
        "b": -2.5,
        "c": -3.1,
        "ab": -3.2,
        "abc": -6.0,
        "ca": -4.4,
        "aa": -5.0,
    }
    tokenizer = {
        "model": {"type": "Unigram", "unk_id": 0, "vocab": list(scores.items())},
        "added_tokens": [],
    }
    names = list(scores)
    ways = []
    for cuts in product([0, 1], repeat=len(text) - 1):
        at = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(text)]
        parts = [text[a:b] for a, b in pairwise(at)]
        if all(part in scores for part in parts):
            ways.append((sum(scores[part] for part in parts), [names.index(part) for part in parts]))
    assert pieces_of(tokenizer, text.encode()) == [max(ways)[1]]


def test_unigram_html_is_no_special_token() -> None:
    vocab = [["<unk>", 0.0], ["</s>", 0.0], *[[c, -3.0] for c in "</s>ab"]]
    tokenizer = {
        "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab},
        "added_tokens": [json.loads('{"id": 1, "content": "</s>", "special": true}')],
    }
    assert pieces_of(tokenizer, b"a</s>b", "a水b".encode()) == [[6, 2, 3, 4, 5, 7], [6, 7]]


def test_unigram_falls_back_to_bytes() -> None:
    pieces = [["<unk>", 0.0], ["a", -1.0], *[[name, -9.0] for name in BYTE_PIECES]]
    tokenizer = {"model": {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": True}}
    assert pieces_of(tokenizer, "aé".encode(), b"\xff") == [[1, 2 + 0xC3, 2 + 0xA9], [2 + 0xFF]]


def test_wordpiece_pieces_spell_initial_and_inner_parts() -> None:
    base = {
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "vocab": {"[UNK]": 0, "un": 1, "##able": 2, "##a": 3, "##b": 4, "able": 5, "##un": 6, "u": 7, "##n": 8},
        }
    }  # fmt: skip
    assert pieces_of(base, b" unable", b"able", b"un able", b" un\xffa", b"zz") == [
        [1, 2],
        [2],
        [6, 5],
        [1, 3],
        [],
    ]


def test_wordpiece_agrees_with_the_library() -> None:
    from tokenizers import Tokenizer

    base = wordpiece()
    engine = Tokenizer.from_str(json.dumps(base))
    for word in ("harbour", "people", "somewhere", "façade", "boats"):
        assert pieces_of(base, b" " + word.encode()) == [engine.encode(word).ids]
