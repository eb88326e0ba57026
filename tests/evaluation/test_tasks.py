from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CORPUS, byte_level, checkpoint, sentencepiece, tiny_model

from tokswap import api
from tokswap.display import tables_of
from tokswap.errors import TokswapError
from tokswap.evaluation import task_model
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.language_model import wrap_model
from tokswap.evaluation.sample import continue_greedily
from tokswap.evaluation.task_model import TaskModel
from tokswap.evaluation.tasks import _figures, _names, evaluate_tasks

OPTIONS = [" wall", " boats", " harbour"]


def model_of(folder: Path, tokenizer: dict[str, Any]) -> TaskModel:
    arm = open_arm(checkpoint(folder, tokenizer))
    return TaskModel(wrap_model(tiny_model(rows=304), known_ids=arm.vocab.ids), arm)


def log_p(model: TaskModel, ids: list[int], start: int) -> float:
    """A plain loop over the known rows."""
    with torch.no_grad():
        values = model.lm.model(input_ids=torch.tensor([[model.arm.start_id, *ids]])).logits[0, :-1]
    logs = torch.log_softmax(values[:, torch.from_numpy(model.arm.vocab.ids)].double(), -1)
    column = {int(i): at for at, i in enumerate(model.arm.vocab.ids)}
    return sum(float(logs[i, column[ids[i]]]) for i in range(start, len(ids)))


@pytest.mark.parametrize("tokenizer", [byte_level(), sentencepiece()])
def test_options_are_scored_in_the_whole_text_wherever_the_space_stands(
    tokenizer: Any, tmp_path: Path
) -> None:
    model = model_of(tmp_path, tokenizer)
    context = "built by the"
    found = model.options([(context, option) for option in OPTIONS])
    for (value, _), option in zip(found, OPTIONS, strict=True):
        ids = model.arm.tokenize(context + option).ids.tolist()
        start = len(model.arm.tokenize(context).ids)
        assert value == pytest.approx(log_p(model, ids, start), abs=1e-4)
    # The same texts with the space on the context's side have the same order and distances.
    moved = model.options([(context + " ", option[1:]) for option in OPTIONS])
    assert [v - moved[0][0] for v, _ in moved] == pytest.approx([v - found[0][0] for v, _ in found], abs=1e-4)


def test_options_that_melt_into_the_context_share_one_border(tmp_path: Path) -> None:
    model = model_of(tmp_path, sentencepiece())
    found = model.options([("t", "he"), ("t", "x")])  # "the" is one token, "tx" begins with "t"
    for (value, _), text in zip(found, ("the", "tx"), strict=True):
        assert value == pytest.approx(log_p(model, model.arm.tokenize(text).ids.tolist(), 0), abs=1e-4)


def test_whole_texts_and_answers(tmp_path: Path) -> None:
    model = model_of(tmp_path, byte_level())
    ids = model.arm.tokenize(CORPUS[0]).ids.tolist()
    assert model.texts([CORPUS[0]]) == [pytest.approx(log_p(model, ids, 0), abs=1e-3)]
    (written,) = continue_greedily(model.lm, model.arm, ["The wall"], tokens=40)
    whole = b"".join(map(model.arm.vocab.bytes_of, written)).decode(errors="replace")
    assert model.answer("The wall", {"max_gen_toks": 40})[:8] == whole[:8]
    stop = whole[3:6]
    assert model.answer("The wall", {"until": [stop], "max_gen_toks": 40}) == whole[: whole.index(stop)]
    with pytest.raises(TokswapError, match="at random"):
        model.answer("The wall", {"do_sample": True})


def local_task(folder: Path) -> Path:
    rows = [
        {"q": f"The {w} was built by", "options": OPTIONS, "right": i % 3} for i, w in enumerate("abcdef")
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "tiny_choice",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "options",
        "doc_to_target": "right",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (folder / "tiny.yaml").write_text(json.dumps(task))
    return folder / "tiny.yaml"


def test_a_local_task_runs_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    model = checkpoint(tmp_path / "model", byte_level())
    report = evaluate_tasks(model, [str(local_task(tmp_path))], device="cpu", dtype="float32")
    figure = report.sections["tiny_choice"].figures["acc"]
    mine = TaskModel(wrap_model(tiny_model(rows=304), known_ids=open_arm(model).vocab.ids), open_arm(model))
    right = []
    for i, word in enumerate("abcdef"):
        logs = [v for v, _ in mine.options([(f"The {word} was built by", o) for o in OPTIONS])]
        right.append(logs.index(max(logs)) == i % 3)
    assert (
        figure.value == pytest.approx(sum(right) / 6)
        and report.sections["tiny_choice"].facts["examples"] == 6
    )
    with pytest.raises(TokswapError, match="knows no task"):
        evaluate_tasks(model, ["no_such_task_here"], device="cpu")


def test_the_same_task_on_a_model_and_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folders = {name: checkpoint(tmp_path / name, byte_level(), seed=i).folder for i, name in enumerate("ab")}
    task, how = str(local_task(tmp_path)), {"device": "cpu", "dtype": "float32"}
    alone = [api.evaluate_tasks(folder, [task], **how) for folder in folders.values()]
    both = api.evaluate_tasks(folders["a"], [task], against=folders["b"], **how)
    model, base = (report.sections["tiny_choice"].figures["acc"] for report in alone)
    found = both.sections["tiny_choice"].figures
    assert (found["acc"], found["base_acc"]) == (model, base)
    difference = found["acc_difference"]
    assert difference.value == model.value - base.value
    assert model.high is not None and base.high is not None and difference.high is not None
    wide = ((model.high - model.value) ** 2 + (base.high - base.value) ** 2) ** 0.5
    assert difference.high - difference.value == pytest.approx(wide)
    (table,) = tables_of(both)[1:]
    assert table.columns[-3:] == ("base", "model", "difference") and len(table.rows) == 1
    (table,) = tables_of(alone[0])[1:]
    assert table.columns[-1] == "model" and table.rows[0][:3] == ("tiny_choice", "6", "acc")


def test_a_faulty_task_is_an_error_and_code_beside_its_name_is_not(tmp_path: Path) -> None:
    model, file = checkpoint(tmp_path / "model", byte_level()), local_task(tmp_path)
    file.write_text(file.read_text().replace("{{q}}", "{{q"))
    with pytest.raises(TokswapError, match="can't run tiny_choice"):
        evaluate_tasks(model, [str(file)], device="cpu", dtype="float32")
    file.write_text("task: tiny_code\ndoc_to_text: !function utils.text\n")
    assert _names([str(file)])[0] == ["tiny_code"]


def test_metrics_that_are_no_shares_are_not_shown_as_such() -> None:
    found = _figures({"acc,none": 0.5, "acc_stderr,none": 0.1, "perplexity,none": 12.3, "bleu,none": 31.0})
    assert {name: figure.unit for name, figure in found.items()} == {
        "acc": "share", "perplexity": "perplexity", "bleu": "points"
    }  # fmt: skip
    assert found["acc"].low == pytest.approx(0.304) and found["bleu"].low is None


def test_a_character_that_a_piece_cuts_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(tmp_path, byte_level())
    text, prompts = "é€" * 20, list[str]()
    byte_ids = {model.arm.vocab.bytes_of(int(i)): int(i) for i in model.arm.vocab.ids}

    def next_bytes(_lm: Any, _arm: Any, given: Any, *, tokens: int) -> list[list[int]]:
        prompts.append(given[0])
        left = text.encode()[len(given[0].encode()) - 2 :]
        return [[byte_ids[bytes([b])] for b in left[:tokens]]]

    monkeypatch.setattr(task_model, "continue_greedily", next_bytes)
    assert model.answer("a:", {"max_gen_toks": 96})[:30] == text[:30]
    assert len(prompts) > 2 and not any("\ufffd" in prompt for prompt in prompts)


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(TokswapError) as caught:
        evaluate_tasks(checkpoint(tmp_path, byte_level()), ["hellaswag"])
    assert "tokswap[eval]" in caught.value.hint
