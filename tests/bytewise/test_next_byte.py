from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from brute_force import BruteForce
from test_score_bytes import cases, codec_of
from tiny_models import byte_level, checkpoint, lower_casing

from tokswap.bytewise import END, ByteModel, Ensemble, NextByte, byte_model, continue_bytes, reader
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Arm, open_arm
from tokswap.sources import open_source


def model_of(brute: BruteForce, folder: Path) -> ByteModel:
    arm = Arm(folder, "tiny", brute.vocab, brute.engine, 0, None)
    return ByteModel(brute.lm, arm, codec_of(brute), tolerance=0.0)


@pytest.mark.parametrize("case", range(7))
@pytest.mark.parametrize("trees", [True, False])
def test_next_byte_agrees_with_every_token_string(
    case: int, trees: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brute, text = cases()[case]
    if not trees:
        monkeypatch.setattr(reader, "takes_trees", lambda _: False)
    model = model_of(brute, tmp_path)
    front = b" " if brute.tokenizer["normalizer"] else b""
    content = text.encode()[:4]
    for n in range(len(content) + 1):  # grows by a byte: what was read before is used again
        found = model.next_byte(content[:n])
        prefix = front + content[:n]
        true = np.asarray([brute.probability(prefix + bytes([b])) for b in range(256)])
        whole = next(
            (its for its in brute.covers(prefix) if brute.decode(its) == prefix and brute.canonical(its)),
            None,
        )
        end = 0.0 if whole is None else math.exp(brute.log_probability((*whole, 1)))
        true = np.append(true, end)
        assert found.probabilities == pytest.approx(true / true.sum(), abs=1e-6)
        assert found.probabilities.sum() == pytest.approx(1)
        total = brute.probability(prefix) if prefix else 1.0
        assert found.lost == pytest.approx(max(0.0, 1 - true.sum() / total), abs=1e-6)


class Says:
    """A model whose next byte is always the same distribution."""

    def __init__(self, chances: dict[int, float]) -> None:
        self.said = np.zeros(END + 1)
        for byte, chance in chances.items():
            self.said[byte] = chance

    def next_byte(self, prefix: bytes) -> NextByte:
        return NextByte(self.said)


def test_ensembles() -> None:
    one, other = Says({97: 0.5, 98: 0.5}), Says({97: 0.9, END: 0.1})
    mixture = Ensemble([one, other], weights=[3, 1]).next_byte(b"").probabilities
    assert mixture[[97, 98, END]] == pytest.approx([0.6, 0.375, 0.025])
    assert Ensemble([one, other], how="product").next_byte(b"").probabilities[97] == pytest.approx(1)
    with pytest.raises(TokswapError, match="no shares"):
        Ensemble([one], weights=[-1])
    with pytest.raises(TokswapError, match="no byte"):
        Ensemble([one, Says({99: 1.0})], how="product").next_byte(b"")


def test_two_tokenizers_vote_and_the_sampler_ends(tmp_path: Path) -> None:
    models = [
        byte_model(checkpoint(tmp_path / str(n), byte_level(n), seed=n), device="cpu", dtype="float32")
        for n in (20, 44)
    ]
    both = Ensemble(models)
    said = [model.next_byte(b"The har").probabilities for model in models]
    assert both.next_byte(b"The har").probabilities == pytest.approx(sum(said) / 2)
    drawn = continue_bytes(both, b"The har", most_bytes=4, seed=1)
    assert len(drawn) <= 4 and drawn == continue_bytes(both, b"The har", most_bytes=4, seed=1)
    assert continue_bytes(Says({97: 0.6, END: 0.4}), b"", most_bytes=5, temperature=0) == b"aaaaa"
    assert continue_bytes(Says({END: 1.0}), b"", most_bytes=5) == b""
    with pytest.raises(TokswapError, match="temperature"):
        continue_bytes(both, b"", most_bytes=1, temperature=-1)


def test_refuses_tokenizers_that_lose_bytes(tmp_path: Path) -> None:
    for name, tokenizer in (("NFKC", lower_casing()), ("WordPiece", {**byte_level(), "model": _wordpiece()})):
        model = checkpoint(tmp_path / name, tokenizer)
        with pytest.raises(TokswapError, match=name) as caught:
            byte_model(model, device="cpu")
        assert caught.value.hint


def _wordpiece() -> dict[str, object]:
    return {
        "type": "WordPiece",
        "vocab": {"<s>": 0, "a": 1},
        "unk_token": "<s>",
        "max_input_chars_per_word": 9,
    } | {"continuing_subword_prefix": "##"}


def test_the_prompt_boundary_problem(tmp_path: Path) -> None:
    """A prompt that ends inside a token: the last token's other bytes still come, as the model meant."""
    tokenizer = byte_level(44)
    model = checkpoint(tmp_path, tokenizer)
    arm = open_arm(model)
    bytewise = byte_model(model, device="cpu", dtype="float32")
    text = "The harbour"
    tokens = [arm.vocab.bytes_of(int(i)) for i in arm.tokenize(text).ids]
    long = next(t for t in tokens if len(t) > 2)
    cut = text.encode()[: text.encode().index(long) + 1]
    found = bytewise.next_byte(cut).probabilities
    assert found[long[1]] > 0 and json.dumps(found.tolist())


def test_the_example_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "examples"))
    import next_bytes

    folders = [str(checkpoint(tmp_path / str(n), byte_level(n), seed=n).folder) for n in (20, 44)]
    written = next_bytes.main([*folders, "--prompt", "The harb", "--bytes", "3"])
    models = [byte_model(open_source(folder)) for folder in folders]
    assert written == continue_bytes(Ensemble(models), b"The harb", most_bytes=3, temperature=0)
    assert "The harb|" in capsys.readouterr().out
