from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from brute_force import BruteForce, byte_level, sentencepiece
from tiny_models import CORPUS, checkpoint, lower_casing
from tiny_models import byte_level as trained

from tokswap.bytewise import score as scoring
from tokswap.bytewise.codec import ByteCodec, make_codec
from tokswap.bytewise.score import score_bytes
from tokswap.display.evaluation import evaluation_tables
from tokswap.errors import TokswapError
from tokswap.evaluation import Text, evaluate
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
        np.asarray(encoded.ids),
        token_spans(text, [brute.vocab.bytes_of(i) for i in encoded.ids], encoded.offsets),
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


def test_never_more_than_the_canonical_tokens_and_windows_add_up() -> None:
    """A document in one window costs at most its tokens; in several windows every byte is scored once."""
    for brute, _ in cases()[:4]:
        text = "ab aab abba  aaab abb ab"
        document = tokenized(brute, text)
        whole = [Window(0, 0, len(document.ids))]
        codec = codec_of(brute)
        (plain,) = score_documents(brute.lm, [document], [whole], start_id=0)
        (exact,) = score_bytes(brute.lm, codec, [document], [whole], start_id=0)
        assert exact.shape == (len(text),) and bool((exact > -1e-9).all())
        assert exact.sum() <= plain.nll.sum() + 1e-5
        ends = np.cumsum(plain.nll)
        at = document.spans.ends - 1  # no beginning of the text costs more than its tokens either
        assert bool((np.cumsum(exact)[at] <= ends + 1e-5).all())
        cut = len(document.ids) // 2
        (parts,) = score_bytes(
            brute.lm, codec, [document], [[Window(0, 0, cut), Window(0, cut, len(document.ids))]], start_id=0
        )
        assert parts == pytest.approx(exact, abs=1e-5)


def test_says_what_it_cannot_score(tmp_path: Path) -> None:
    brute = cases()[0][0]
    special = Tokenized(np.asarray([2, 1]), token_spans("a</s>", [b"a", b"</s>"], [(0, 1), (1, 5)]))
    with pytest.raises(TokswapError, match="special token"):
        score_bytes(brute.lm, codec_of(brute), [special], [[Window(0, 0, 2)]], start_id=0)
    with pytest.raises(TokswapError, match="NFKC") as caught:
        evaluate(checkpoint(tmp_path, lower_casing()), {"t": Text("t", ("abc",))}, exact_bytes=True)
    assert "--exact-bytes" in caught.value.hint


def test_evaluate_has_both_figures_for_both_arms(tmp_path: Path) -> None:
    model, base = (
        checkpoint(tmp_path / "new", trained(44)),
        checkpoint(tmp_path / "base", trained(20), seed=1),
    )
    texts = {"prose": Text("prose", (CORPUS[0], CORPUS[2]))}
    report = evaluate(
        model, texts, against=base, exact_bytes=True, device="cpu", dtype="float32", sample_prompt=None
    )
    figures = report.sections["prose"].figures
    for who in ("", "base_"):
        assert 0 < figures[f"{who}exact_bits_per_byte"].value <= figures[f"{who}bits_per_byte"].value + 1e-6
    assert figures["exact_ratio"].low <= figures["exact_ratio"].value <= figures["exact_ratio"].high
    assert "exact_bits_per_byte" not in evaluate(base, texts, device="cpu", sample_prompt=None).figures
    tables = {table.title: table for table in evaluation_tables(report)}
    assert len(tables["Exact bits per byte"].rows) == 2
