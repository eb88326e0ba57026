"""Spellings: cut, padded, and with fallback rows for the bytes that a base has no token for."""

from __future__ import annotations

from typing import Any

import torch
from tiny_models import byte_level, sentencepiece

from tokswap.hypernet.surfaces import (
    fallback_bytes,
    surface_matrix,
    truncated,
    vocabulary_digest,
    with_fallbacks,
)
from tokswap.methods import Pieces
from tokswap.pieces import spell
from tokswap.vocab import gpt2_alphabet, read_vocab


def unigram() -> dict[str, Any]:
    """A SentencePiece Unigram without fallback bytes."""
    pieces = [("<unk>", 0.0), ("▁", -3.0), ("a", -3.0), ("b", -3.0), ("ab", -4.0), ("é", -5.0)]
    return {
        "version": "1.0", "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces},
    }  # fmt: skip


def test_spellings_are_cut_and_padded() -> None:
    pieces = Pieces(torch.tensor([5, 6, 7, 8, 9]), torch.ones(5), torch.tensor([0, 0, 1, 5]))
    assert surface_matrix(pieces, 3, 2).tolist() == [[2, 2, 2], [5, 2, 2], [6, 7, 8]]
    assert truncated(pieces, 3) == 1 and truncated(pieces, 4) == 0


def test_bytes_that_no_piece_has_are_fallbacks_in_the_order_of_the_alphabet() -> None:
    vocab = read_vocab(unigram(), {})
    lacking = fallback_bytes(vocab)
    assert ord("a") not in lacking and ord(" ") not in lacking and len(lacking) == 253
    assert lacking == [byte for byte in gpt2_alphabet().values() if byte in set(lacking)]

    tokens = [b" ab", "xé ".encode(), b"\xff", "b\n水".encode(), b""]
    made = with_fallbacks(spell(unigram(), vocab, tokens), tokens, vocab, 6, 253)
    rows = [made.ids[a:b].tolist() for a, b in zip(made.starts, made.starts[1:], strict=False)]

    def fallback(content: bytes) -> list[int]:
        return [6 + lacking.index(byte) for byte in content]

    assert rows == [[1, 4], [*fallback(b"x"), 5, 1], fallback(b"\xff"), [3, *fallback("\n水".encode())], []]
    spelt = [b"".join(_bytes(i, vocab, lacking) for i in row) for row in rows]
    assert spelt == tokens and made.lengths.sum() == sum(map(len, tokens))


def _bytes(token_id: int, vocab: Any, lacking: list[int]) -> bytes:
    return vocab.bytes_of(token_id) if token_id < 6 else bytes([lacking[token_id - 6]])


def test_fallbacks_that_a_network_has_no_row_for_are_left_out() -> None:
    vocab = read_vocab(unigram(), {})
    tokens = ["a水".encode(), b"!"]
    made = with_fallbacks(spell(unigram(), vocab, tokens), tokens, vocab, 6, 1)
    assert made.ids.tolist() == [2, 6], "the first byte of the alphabet, !, has the one row"


def test_a_vocabulary_with_all_bytes_needs_none() -> None:
    vocab = read_vocab(byte_level(), {})
    assert fallback_bytes(vocab) == []
    tokens = ["水x".encode(), b"\xff\x00"]
    pieces = spell(byte_level(), vocab, tokens)
    assert torch.equal(with_fallbacks(pieces, tokens, vocab, len(vocab), 5).ids, pieces.ids)


def test_fallback_pieces_are_used_but_for_the_byte_that_zett_never_maps() -> None:
    vocab = read_vocab(sentencepiece(), {})
    assert fallback_bytes(vocab) == [0xFF]
    tokens = [b"\xff", b"\xfe"]
    made = with_fallbacks(spell(sentencepiece(), vocab, tokens), tokens, vocab, len(vocab), 362)
    assert made.ids.tolist() == [len(vocab), 5 + 0xFE]


def test_the_digest_is_of_ordinary_tokens_only() -> None:
    first, more, other = byte_level(), byte_level(), byte_level(merges=39)
    size = len(first["model"]["vocab"])
    more["added_tokens"].append(
        {"id": size, "content": "<|im_start|>", "special": True, "single_word": False, "lstrip": False}
        | {"rstrip": False, "normalized": False}
    )
    digests = [vocabulary_digest(read_vocab(t, {}), size) for t in (first, more, other)]
    assert digests[0] == digests[1] != digests[2]
