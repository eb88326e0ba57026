"""The whole way: training helps, a killed run goes on to the same bytes, and the folder says what was done to it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from tiny_models import byte_level, checkpoint
from tokenizers import Tokenizer

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.healing import training
from tokswap.healing.objective import Objective
from tokswap.healing.sampling import sample_text
from tokswap.healing.settings import make_settings, parse_budget, rate_factor
from tokswap.provenance import TRAINED_SINCE
from tokswap.report import Report

HOW: dict[str, Any] = {"steps": 6, "rank": 4, "step_bytes": 1024, "evaluate": False, "row_rate": 0.05}


def healed(pair: tuple[Path, Path], out: Path, text: Path, rung: str = "lm", **more: Any) -> Report:
    base, moved = pair
    how = {name: value for name, value in HOW.items() if (rung, name) != ("rows", "rank")} | more
    return tokswap.heal(moved, base=base, out=out, texts=[text], rung=rung, **how)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def outcomes(folder: Path, base: Path) -> dict[str, str]:
    report = tokswap.verify(folder, against=base)
    return {name: check.facts["outcome"] for name, check in report.sections.items()}


class KilledError(Exception):
    pass


@pytest.mark.parametrize(("rung", "tie"), [("rows", True), ("alm", True), ("rows", False), ("lm", False)])
def test_held_out_text_is_predicted_better_and_the_folder_verifies(
    rung: str, tie: bool, tied: tuple[Path, Path], untied: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    base, moved = tied if tie else untied
    report = healed((base, moved), tmp_path / "out", text, rung)
    figures = report.figures
    assert figures["held_out_after"].value < figures["held_out_before"].value - 0.005
    curve = report.facts["curve"]
    assert curve[0]["step"] == 0 and curve[-1]["step"] == 6 and curve[0]["loss"] is None
    assert min(point["held_out_bits"] for point in curve) == pytest.approx(
        figures["held_out_after"].value, abs=1e-4
    )

    found = outcomes(tmp_path / "out", base)
    assert "failed" not in found.values()
    manifest = json.loads((tmp_path / "out" / "tokswap.json").read_text())
    assert manifest["donor"] == json.loads((moved / "tokswap.json").read_text())["donor"]
    assert manifest["healing"]["rung"] == rung and list(manifest["healing"]["texts"]) == ["mine"]
    trained = manifest[TRAINED_SINCE]
    assert found["shared_rows"] == ("passed" if rung == "rows" else "not checked")
    assert found["untouched_tensors"] == ("passed" if rung == "rows" else "warned")
    old, new = open_checkpoint(moved), open_checkpoint(tmp_path / "out")
    changed = [n for n in old.tensors if not torch.equal(old.read(n), new.read(n))]
    tables = {old.input_name, old.output_name or old.input_name}
    assert set(changed) == tables | set(trained)
    assert bool(trained) == (rung != "rows")


def test_what_the_report_says_is_what_the_folder_scores(
    tied: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    report = healed(tied, tmp_path / "out", text, evaluate=True, evaluation_texts=[text])
    scored = report.sections["evaluation"].figures
    base, moved = tied
    for name, folder in (("before", moved), ("after", tmp_path / "out"), ("base", base)):
        alone = tokswap.evaluate(folder, texts=[text], sample_prompt=None)
        assert scored[f"{name}_bits_per_byte"].value == pytest.approx(alone.figures["bits_per_byte"].value)
    ratio = scored["after_over_before"]
    assert ratio.low < ratio.value < ratio.high < 1


@pytest.mark.parametrize("kill_after", [0, 4])
def test_a_killed_run_goes_on_to_the_same_bytes(
    kill_after: int, tied: tuple[Path, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healed(tied, tmp_path / "whole", text, "alm")
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "heal" and done == kill_after:
            raise KilledError

    with pytest.raises(KilledError):
        healed(tied, tmp_path / "out", text, "alm", on_progress=kill)
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out.tokswap-heal-*"))
    told: list[int] = []
    report = healed(
        tied,
        tmp_path / "out",
        text,
        "alm",
        on_progress=lambda s, d, _: told.append(d) if s == "heal" else None,
    )
    assert told == list(range(kill_after, 6))
    assert [p["step"] for p in report.facts["curve"]] == list(range(7))
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert not list(tmp_path.glob(".out.*"))


def test_another_run_does_not_take_over_a_state(tied: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    told: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        if stage == "heal" and done == 2:
            raise KilledError

    def listen(stage: str, done: int, total: int) -> None:
        if stage == "heal":
            told.append(done)
        kill(stage, done - 1, total)

    def only_listen(stage: str, done: int, total: int) -> None:
        if stage == "heal":
            told.append(done)

    with pytest.raises(KilledError):
        healed(tied, tmp_path / "out", text, on_progress=kill)
    with pytest.raises(KilledError):
        healed(tied, tmp_path / "out", text, seed=5, on_progress=listen)
    assert told == [0, 1, 2, 3]
    healed(tied, tmp_path / "out", text, on_progress=only_listen)
    assert told[4] == 2, "the first run's own state was still there"
    assert {path.name for path in tmp_path.iterdir()} == {"out"}, "and none is when the folder is written"


def test_a_loss_that_is_not_finite_stops_and_leaves_the_state_before(
    tied: tuple[Path, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = Objective.loss
    calls = 0

    def broken(self: Objective, snippets: Any, draw: Any = None) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return true(self, snippets) * (float("nan") if calls > 4 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "loss", broken)
        with pytest.raises(tokswap.TokswapError, match="not finite at step"):
            healed(tied, tmp_path / "out", text)
    assert not (tmp_path / "out").exists()
    healed(tied, tmp_path / "out", text)
    healed(tied, tmp_path / "whole", text)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_a_run_that_only_harms_stops_and_keeps_the_start(
    tied: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    report = healed(tied, tmp_path / "out", text, steps=40, rate=3.0, row_rate=30.0)
    assert report.figures["best_step"].value == 0 and report.figures["steps"].value < 40
    assert "gained nothing" in report.facts["stopped"]
    assert "the folder holds the start" in report.warnings[0]
    assert files_of(tmp_path / "out")["model.safetensors"] == files_of(tied[1])["model.safetensors"]


def test_restore_gives_the_rows_back_and_says_that_the_body_stays(
    tied: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    base, _ = tied
    healed(tied, tmp_path / "out", text)
    report = tokswap.restore(tmp_path / "out", base=base, out=tmp_path / "back")
    assert any("can't be undone" in words for words in report.warnings)
    old, back = open_checkpoint(base), open_checkpoint(tmp_path / "back")
    assert torch.equal(old.read(old.input_name), back.read(back.input_name))
    healed(tied, tmp_path / "rows", text, "rows")
    report = tokswap.restore(tmp_path / "rows", base=base, out=tmp_path / "whole")
    assert not report.warnings and report.facts["body"] == "the base's, byte for byte"


def test_a_healed_body_can_not_be_its_bases_teacher(
    tied: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    healed(tied, tmp_path / "out", text)
    with pytest.raises(tokswap.TokswapError, match="is not that of") as caught:
        healed((tied[0], tmp_path / "out"), tmp_path / "more", text, "alm")
    assert "--rung lm" in caught.value.hint
    more = healed((tied[0], tmp_path / "out"), tmp_path / "more", text, "lm")
    assert more.figures["held_out_after"].value < more.figures["held_out_before"].value


def test_what_was_trained_before_is_still_told_when_nothing_more_is_gained(
    tied: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    healed(tied, tmp_path / "once", text)
    report = healed(
        (tied[0], tmp_path / "once"), tmp_path / "twice", text, steps=2, rate=30.0, row_rate=300.0
    )
    assert report.figures["best_step"].value == 0
    once, twice = (json.loads((tmp_path / name / "tokswap.json").read_text()) for name in ("once", "twice"))
    assert once[TRAINED_SINCE] and twice[TRAINED_SINCE] == once[TRAINED_SINCE]
    assert "failed" not in outcomes(tmp_path / "twice", tied[0]).values()
    assert {path.name for path in tmp_path.iterdir()} == {"once", "twice"}, "no state is left"


def test_the_base_writes_text_where_there_is_none_and_writes_it_once(
    tied: tuple[Path, Path], tmp_path: Path
) -> None:
    base, moved = tied
    told: list[str] = []

    def kill(stage: str, done: int, total: int) -> None:
        told.append(stage)
        if stage == "heal" and done == 1:
            raise KilledError

    how = HOW | {"base": base, "self_generated": 9000, "steps": 2}
    with pytest.raises(KilledError):
        tokswap.heal(moved, out=tmp_path / "out", on_progress=kill, **how)
    assert "sample the base" in told
    told.clear()
    report = tokswap.heal(moved, out=tmp_path / "out", on_progress=lambda s, d, t: told.append(s), **how)
    assert "sample the base" not in told
    assert "wrote by itself" in report.facts["text"] and report.facts["texts"] == ["self-generated"]
    again = tokswap.heal(moved, out=tmp_path / "again", **how)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "again")
    assert again.figures["text_bytes"].value + again.figures["held_out_bytes"].value > 5000
    assert {path.name for path in tmp_path.iterdir()} == {"out", "again"}


def test_what_the_base_writes_follows_its_probabilities(tmp_path: Path) -> None:
    """A base whose logits never depend on what it read: letters are as frequent, texts as long, as these say."""
    logits = {"a": 2.0, "b": 1.0, "<s>": -1.0}
    folder = checkpoint(tmp_path / "base", byte_level(merges=0), rows=257, tie_word_embeddings=False).folder
    engine = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = tf.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.zero_()
        model.get_input_embeddings().weight.fill_(1.0)  # so that every final state is all ones
        head = model.get_output_embeddings().weight
        head.fill_(-1.0)
        for letter, logit in logits.items():
            head[engine.token_to_id(letter)] = logit / head.shape[1]
    model.save_pretrained(folder)
    text = sample_text(open_checkpoint(folder), 6000, device="cpu")
    assert text == sample_text(open_checkpoint(folder), 6000, device="cpu")
    assert text != sample_text(open_checkpoint(folder), 6000, device="cpu", seed=1)
    whole = "".join(text.documents)
    total = sum(math.exp(logit) for logit in logits.values())
    assert whole.count("a") / len(whole) == pytest.approx(math.e / (math.e + 1), abs=0.025)
    # Texts of no letter are left out: a geometric length, given that it is not 0.
    assert len(whole) / len(text.documents) == pytest.approx(total / math.exp(-1.0), rel=0.2)


def test_too_little_text_or_memory_is_told_before_anything_is_loaded(
    tied: tuple[Path, Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("One line.\n")
    with pytest.raises(tokswap.TokswapError, match="too short"):
        healed(tied, tmp_path / "out", short)
    monkeypatch.setattr("tokswap.healing.memory.free_memory", lambda _: 1000)
    with pytest.raises(tokswap.TokswapError, match="GB are free"):
        healed(tied, tmp_path / "out", text)


@pytest.mark.parametrize(("words", "seconds"), [("20m", 1200), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400)])
def test_a_budget_is_a_time(words: str, seconds: float) -> None:
    assert parse_budget(words) == seconds


@pytest.mark.parametrize("words", ["", "20", "m", "0s", "-5m", "1d"])
def test_what_is_no_time_is_refused(words: str) -> None:
    with pytest.raises(tokswap.TokswapError, match="is no time"):
        parse_budget(words)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"rung": "top"}, "no rung"),
        ({"budget": "1m", "steps": 3}, "both"),
        ({"steps": 0}, "no healing"),
        ({"seed": -1}, "seed"),
        ({"rate": float("nan")}, "rate"),
        ({"rank": 0}, "rank"),
        ({"ranks": 3}, "ranks"),
        ({"rung": "rows", "rate": 1e-3}, "the rate is the body's"),
        ({"rung": "rows", "rank": 8}, "the rank is the body's"),
    ],
)
def test_settings_that_can_not_be_are_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(tokswap.TokswapError, match=match):
        make_settings(**{"rung": "alm", "budget": None, "steps": None} | fields)


def test_rates_rise_and_fall() -> None:
    factors = [rate_factor(i / 100) for i in range(101)]
    top = factors.index(max(factors))
    assert factors[top] == pytest.approx(1) and 0 < top < 10
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True) and factors[-1] == pytest.approx(0.1)


def test_what_was_never_moved_is_refused(tied: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    base, _ = tied
    with pytest.raises(tokswap.TokswapError, match="never moved"):
        healed((base, base), tmp_path / "out", text)
    with pytest.raises(tokswap.TokswapError, match=r"no tokswap\.json that names its base") as caught:
        tokswap.heal(base, out=tmp_path / "out", texts=[text], **HOW)
    assert "--base" in caught.value.hint and not (tmp_path / "out").exists()


def test_one_step_is_one_step(tied: tuple[Path, Path], text: Path, tmp_path: Path) -> None:
    assert healed(tied, tmp_path / "out", text, steps=1).facts["length"] == "1 step"
