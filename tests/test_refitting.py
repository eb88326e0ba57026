"""The fit as a stage of a transplant, on a tiny model whose rows know nothing: there is much to gain."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import tokswap
from tokswap import judging
from tokswap.checkpoint import open_checkpoint
from tokswap.data_files import data_folder
from tokswap.evaluation import language_model
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.head import PROBE_TOKENS
from tokswap.report import Report
from tokswap.vocab import vocab_of

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, checkpoint, sentencepiece

END = "<|endoftext|>"
TEXT = data_folder("data") / "texts" / "calibration" / "english.txt"


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("pair")
    checkpoint(root / "base", byte_level(), tie_word_embeddings=request.param)
    checkpoint(root / "donor", sentencepiece(), seed=1)
    return root / "base", root / "donor"


def moved(pair: tuple[Path, Path], out: Path, kind: str) -> Report:
    how: dict[str, Any] = {"method": "subword", "evaluate": False, "calibration_texts": [str(TEXT)]}
    return tokswap.transplant(*pair, out=out, calibrate=kind, **how)


def tables(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    found = open_checkpoint(folder)
    return found.read(found.input_name), found.read(found.output_name or found.input_name)


@pytest.fixture(scope="module")
def shifted(pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shifted") / "out"
    moved(pair, out, "shift")
    return out


@pytest.mark.parametrize("kind", ["fit", "fit-all"])
def test_a_fit_is_kept_where_held_out_text_gains(
    kind: str, pair: tuple[Path, Path], shifted: Path, tmp_path: Path
) -> None:
    report = moved(pair, tmp_path / "out", kind)
    before, after = (report.figures[f"fit_loss_{when}"].value for when in ("before", "after"))
    assert after < before - 0.01
    assert report.facts["calibration"]["kind"] == kind
    changed = [(a != b).any(1) for a, b in zip(tables(tmp_path / "out"), tables(shifted), strict=True)]
    tied = open_checkpoint(pair[0]).tied
    assert bool(changed[1].any()) and bool(changed[0].any()) == tied, (
        "input rows move only where they are the output"
    )
    warned = any("not the base's bit for bit" in warning for warning in report.warnings)
    assert warned == (kind == "fit-all")
    verified = tokswap.verify(tmp_path / "out", against=pair[0])
    assert verified.facts["sound"]
    outcome = verified.sections["shared_rows"].facts["outcome"]
    assert outcome == ("passed" if kind == "fit" else "not checked")


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def wordy(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pair whose tokenizers share words of the text, and whose new tokens the base can spell and say much about."""
    root = tmp_path_factory.mktemp("wordy")
    words = [TEXT.read_text()[:4000]]
    checkpoint(
        root / "base", byte_level(merges=250, corpus=words), rows=510, tie_word_embeddings=request.param
    )
    checkpoint(root / "donor", byte_level(merges=450, corpus=words), rows=710, seed=1)
    return root / "base", root / "donor"


def test_what_the_base_says_moves_new_rows_only_and_only_where_text_gains(
    wordy: tuple[Path, Path], tmp_path: Path
) -> None:
    moved(wordy, tmp_path / "shift", "shift")
    report = moved(wordy, tmp_path / "out", "chain+lexicon")
    facts = report.facts["calibration"]
    kept = {name for name in ("lexicon", "chain") if facts["kind"] in (name, "lexicon+chain")}
    for name in ("lexicon", "chain"):
        figures = {
            f.removeprefix(name): value.value for f, value in report.figures.items() if f.startswith(name)
        }
        assert (name in kept) == (facts[name] == "held-out text is predicted better") == bool(figures)
        assert name not in kept or figures["_loss_after"] < figures["_loss_before"]
        assert name in kept or any(facts[name] == warning for warning in report.warnings)
    changed = [
        (a != b).any(1) for a, b in zip(tables(tmp_path / "out"), tables(tmp_path / "shift"), strict=True)
    ]
    tied = open_checkpoint(wordy[0]).tied
    assert bool(changed[0].any()) == ("lexicon" in kept or (tied and "chain" in kept))
    assert bool(changed[1].any()) == ("chain" in kept or (tied and "lexicon" in kept))
    assert (
        tokswap.verify(tmp_path / "out", against=wordy[0]).sections["shared_rows"].facts["outcome"]
        == "passed"
    )


@pytest.mark.parametrize("kind", ["chain", "lexicon"])
def test_what_harms_a_text_is_dropped(
    kind: str, wordy: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(wordy, tmp_path / "shift", "shift")
    monkeypatch.setattr(judging, "HARM", -100.0)
    report = moved(wordy, tmp_path / "out", kind)
    assert (
        report.facts["calibration"]["kind"] == "shift" and "loses more" in report.facts["calibration"][kind]
    )
    assert all(
        torch.equal(a, b) for a, b in zip(tables(tmp_path / "out"), tables(tmp_path / "shift"), strict=True)
    )


def test_the_same_fit_gives_the_same_rows(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        moved(pair, tmp_path / name, "fit-all")
    assert all(torch.equal(a, b) for a, b in zip(tables(tmp_path / "a"), tables(tmp_path / "b"), strict=True))


def test_a_fit_that_harms_a_text_is_dropped(
    pair: tuple[Path, Path], shifted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "HARM", -100.0)  # whatever a text gains is too little
    report = moved(pair, tmp_path / "out", "fit-all")
    assert report.facts["calibration"]["kind"] == "shift"
    assert any(warning.startswith("not fitted") for warning in report.warnings)
    assert all(torch.equal(a, b) for a, b in zip(tables(tmp_path / "out"), tables(shifted), strict=True))


def test_too_little_text_leaves_the_rows(pair: tuple[Path, Path], tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text(TEXT.read_text()[:600])
    how: dict[str, Any] = {"method": "subword", "evaluate": False, "calibration_texts": [str(short)]}
    report = tokswap.transplant(*pair, out=tmp_path / "out", calibrate="fit", **how)
    assert "too short" in report.facts["calibration"]["fit"]


def test_a_fit_reads_texts_as_the_written_model_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base starts texts with its end of document, the donor has a start token of its own: the base's travels."""
    base = byte_level()
    base["added_tokens"][0]["content"] = END
    base["model"]["vocab"][END] = base["model"]["vocab"].pop("<s>")
    checkpoint(tmp_path / "base", base, rows=310, bos_token_id=None)
    (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))
    donor = sentencepiece()
    end = len(donor["model"]["vocab"])
    donor["model"]["vocab"]["</s>"] = end
    donor["added_tokens"].append({**donor["added_tokens"][0], "id": end, "content": "</s>"})
    checkpoint(tmp_path / "donor", donor, seed=1)
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "donor" / "tokenizer_config.json").write_text(json.dumps(names))

    read: list[tuple[int, int]] = []  # rows of the model, and the token that it reads first
    true_states = language_model.final_states

    def final_states(lm: Any, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        if ids.shape[1] > PROBE_TOKENS:  # no probe of a loaded model, but text
            read.append((lm.rows, int(ids[0, 0])))
        return true_states(lm, ids, *rest)

    monkeypatch.setattr(language_model, "final_states", final_states)
    moved((tmp_path / "base", tmp_path / "donor"), tmp_path / "out", "fit")
    written = open_checkpoint(tmp_path / "out")
    start = written.config["bos_token_id"]
    assert start == end != vocab_of(open_checkpoint(tmp_path / "donor")).start_id
    assert open_arm(written).start_id == start
    assert {first for rows, first in read if rows == written.rows} == {start}
    assert {first for rows, first in read if rows != written.rows} == {0}
