"""What a base scored is kept in files: the same figures, for the same inputs only, and damage is no result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import byte_level, checkpoint, sentencepiece

from tokswap.checkpoint import Checkpoint
from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.texts import Text
from tokswap.report import Report

TEXTS = {"prose": Text("prose", ("The harbour wall was built by the people.\n" * 8, "Another wall.\n"))}
HOW: dict[str, Any] = {"device": "cpu", "dtype": "float32", "segmentation": True, "probe": True}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    folder = tmp_path_factory.mktemp("models")
    return (
        checkpoint(folder / "model", sentencepiece(), seed=1),
        checkpoint(folder / "base", byte_level()),
    )


def stages_of(models: tuple[Checkpoint, Checkpoint], keep: Path, **how: Any) -> tuple[Report, set[str]]:
    stages: set[str] = set()
    given = {"texts": TEXTS, **HOW, **how}
    report = evaluate(
        models[0], against=models[1], keep=keep, on_progress=lambda stage, *_: stages.add(stage), **given
    )
    return report, stages


def test_what_is_kept_gives_the_figures_that_were_computed(models: Any, tmp_path: Path) -> None:
    plain = evaluate(models[0], TEXTS, against=models[1], **HOW)
    first, computed = stages_of(models, tmp_path)
    second, taken = stages_of(models, tmp_path)
    assert plain.to_dict() == first.to_dict() == second.to_dict()
    assert {"score base", "score segmentation"} == computed - taken
    assert "score model" in taken, "the model's own scores are never kept"


@pytest.mark.parametrize(
    "how",
    [
        {
            "texts": {
                "prose": Text("prose", ("The harbour wall was built by people.\n" * 8, "Another wall.\n"))
            }
        },
        {"window_bytes": 128},
        {"dtype": "bfloat16"},
    ],
    ids=["text", "windows", "dtype"],
)
def test_other_inputs_are_computed(models: Any, tmp_path: Path, how: dict[str, Any]) -> None:
    stages_of(models, tmp_path)
    assert "score base" in stages_of(models, tmp_path, **how)[1]


def test_another_base_is_another_result(models: Any, tmp_path: Path) -> None:
    stages_of(models, tmp_path)
    other = checkpoint(tmp_path / "other", byte_level(), seed=7)
    assert "score base" in stages_of((models[0], other), tmp_path)[1]


def test_damaged_files_are_computed_again(models: Any, tmp_path: Path) -> None:
    before, _ = stages_of(models, tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:60])
    after, stages = stages_of(models, tmp_path)
    assert "score base" in stages and after.to_dict() == before.to_dict()
