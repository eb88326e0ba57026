from __future__ import annotations

import math

import numpy as np
import pytest
from brute_force import BruteForce, byte_level, sentencepiece

from tokswap.bytewise import score as scoring
from tokswap.bytewise.codec import ByteCodec, make_codec
from tokswap.bytewise.score import score_bytes
from tokswap.evaluation.arm import Tokenized
from tokswap.evaluation.score import score_documents
from tokswap.evaluation.spans import Window, token_spans

MERGES = [(b"a", b"b"), (b" ", b"a"), (b" ", b"ab"), (b"ab", b"a"), (b"b", b"b"), (b" a", b"b"), (b"a", b"a")]
ACCENTS = [(b"a", b"\xc3"), (b"\xc3", b"\xa9"), (b"\xa9", b"a"), (b"a", b"b"), (b"\xc3\xa9", b"b")]
PIECES = [("▁", "a"), ("a", "b"), ("▁a", "b"), ("b", "b"), ("▁", "▁"), ("a", "é")]


def cases() -> list[tuple[BruteForce, str]]:
    plain, words = byte_level(MERGES, b"ab "), byte_level(MERGES, b"ab ", regex=True)
    spm = sentencepiece(PIECES, "▁abé", "ü水".encode() + "é".encode()[:1])
    return [
        (BruteForce(plain), "abaab"),
        (BruteForce(plain, seed=1), "aaab b"),
        (BruteForce(words, "gemma2"), "ab  ab"),
        (BruteForce(words), " aba a"),
        (BruteForce(byte_level(ACCENTS, b"ab\xc3\xa9\xa0"), "phi"), "aéab"),
        (BruteForce(spm), "ab aé"),
        (BruteForce(spm, seed=2), "bü水ab"),
    ]


def codec_of(brute: BruteForce) -> ByteCodec:
    return make_codec(brute.tokenizer, brute.vocab)


def tokenized(brute: BruteForce, text: str) -> Tokenized:
    encoded = brute.engine.encode(text, add_special_tokens=False)
    return Tokenized(
        np.asarray(encoded.ids), token_spans(text, [brute.vocab.bytes_of(i) for i in encoded.ids], encoded.offsets)
    )


@pytest.mark.parametrize("case", range(7))
@pytest.mark.parametrize("trees", [True, False])
def test_agrees_with_every_token_string(case: int, trees: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    brute, text = cases()[case]
    if not trees:
        monkeypatch.setattr(scoring, "takes_trees", lambda _: False)
    document = tokenized(brute, text)
    (found,) = score_bytes(
        brute.lm, codec_of(brute), [document], [[Window(0, 0, len(document.ids))]], start_id=0, tolerance=0.0
    )
    content = brute.decode(tuple(document.ids.tolist()))
    front = len(content) - len(text.encode())
    true = [brute.probability(content[:n]) for n in range(len(content) + 1)]
    assert sum(1 for _ in brute.covers(content)) > 2
    for n in range(len(found)):
        before = 1.0 if n == 0 else true[n + front]
        assert found[n] == pytest.approx(-math.log(true[n + 1 + front] / before), abs=1e-6)
