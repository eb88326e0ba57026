"""A leaderboard that was killed and went on: complete, each figure that of the straight line, failures shown."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import tokswap
from tokswap.board.jobs import run_job
from tokswap.errors import TokswapError

PATIENCE_SECONDS = 100


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_for(what: Any) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := what()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def killed(place: Path, fields: dict[str, Any]) -> dict[str, bytes]:
    """Start the command, kill it with its second cell under way, and return the results that it left."""
    recipe = place / "board.yaml"
    shutil.copytree(place / "base", place / "pair-given")
    recipe.write_text(yaml.safe_dump(fields))
    command = [sys.executable, "-m", "tokswap_cli", "leaderboard", "-c", str(recipe), "--quiet"]
    environment = {**os.environ, "TOKSWAP_DATA": str(place / "cache")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    results = place / "out" / "cells"
    wait_for(lambda: list(results.glob("pair--sub-*.json")))
    (child,) = wait_for(lambda: children(process.pid))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not alive(child))  # nothing works on behind a run that was killed
    return {file.name: file.read_bytes() for file in results.glob("*.json")}


@pytest.fixture(scope="module")
def board(place: Path, killed: dict[str, bytes]) -> tuple[int, dict[str, Any]]:
    """Run the same command again; its exit code and its JSON."""
    command = [sys.executable, "-m", "tokswap_cli", "leaderboard", "-c", str(place / "board.yaml"), "--json"]
    environment = {**os.environ, "TOKSWAP_DATA": str(place / "cache")}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return ran.returncode, json.loads(ran.stdout)


def test_what_was_done_is_not_done_again(place: Path, killed: dict[str, bytes], board: Any) -> None:
    assert [name.rsplit("-", 1)[0] for name in killed] == ["pair--sub"]
    after = {file.name: file.read_bytes() for file in (place / "out" / "cells").glob("*.json")}
    assert {name: after[name] for name in killed} == killed
    assert {name.rsplit("-", 1)[0] for name in after} == {"pair--sub", "pair--given"}
    assert not list((place / "out").rglob("*.part")) and not list((place / "out" / "checkpoints").iterdir())


def test_a_cell_that_fails_is_shown_and_sinks_nothing(board: Any) -> None:
    code, document = board
    states = {name: cell["facts"]["state"] for name, cell in document["sections"].items()}
    assert states == {
        "pair/sub": "done",
        "pair/broken": "failed",
        "pair/given": "done",
        "alone/omp": "not applicable",
        "alone/given": "failed",
    }
    assert code == 1 and document["figures"]["failed"]["value"] == 2
    assert "<nowhere>" in document["sections"]["pair/broken"]["facts"]["reason"]
    assert "alone-given" in document["sections"]["alone/given"]["facts"]["reason"]


def test_the_figures_are_the_straight_lines(place: Path, board: Any, tmp_path: Path) -> None:
    """The cell ran in two processes; the same in this one gives the same numbers."""
    out = tmp_path / "out"
    base, donor = place / "base", place / "donor"
    tokswap.transplant(base, donor, out=out, method="subword", evaluate=False, device="cpu")
    alone = tokswap.evaluate(
        out,
        against=base,
        texts=[place / "prose.txt"],
        device="cpu",
        dtype="float32",
        sample_prompt=None,
        segmentation=True,
        probe=True,
    )
    found = board[1]["sections"]["pair/sub"]["sections"]["evaluation"]
    for name, figure in alone.figures.items():
        assert found["figures"][name]["value"] == pytest.approx(figure.value, rel=1e-5, abs=1e-9), name
    assert found["facts"]["continuations"] == alone.facts["continuations"]
    given = board[1]["sections"]["pair/given"]["sections"]["evaluation"]["figures"]
    assert given["ratio"]["value"] == 1


def test_time_and_memory_are_those_of_a_process(board: Any) -> None:
    figures = board[1]["sections"]["pair/sub"]["figures"]
    assert 0.5 < figures["cpu_seconds"]["value"] <= 2 * figures["seconds"]["value"]
    assert 100e6 < figures["peak_memory"]["value"] < 5e9
    assert "seconds" not in board[1]["sections"]["pair/given"]["figures"]


def test_the_table_in_three_forms(place: Path, board: Any) -> None:
    folder = place / "out"
    assert json.loads((folder / "leaderboard.json").read_text())["sections"] == board[1]["sections"]
    page, text = (folder / "leaderboard.html").read_text(), (folder / "leaderboard.md").read_text()
    bits = board[1]["sections"]["pair/sub"]["sections"]["evaluation"]["figures"]["bits_per_byte"]["value"]
    for document in (page, text):
        assert f"{bits:.3f}" in document and "base, at the new borders" in document
        assert "pair: greedy text" in document and "peak memory" in document
    assert page.count("<svg") == 2 and "&lt;nowhere&gt;" in page and "<nowhere>" not in page
    assert "\\<nowhere\\>" in text
    rows = [line for line in text.splitlines() if line.startswith("| sub ")]
    assert len(rows) == 7 and all(line.count(" | ") >= 1 for line in rows)


def test_a_dry_run_knows_what_is_done(place: Path, fields: dict[str, Any], board: Any) -> None:
    before = sorted((place / "out").rglob("*"))
    report = tokswap.leaderboard(fields, dry_run=True)
    states = {name: cell.facts["state"] for name, cell in report.sections.items()}
    assert states["pair/sub"] == states["pair/given"] == "done" and states["pair/broken"] == "to do"
    changed = tokswap.leaderboard({**fields, "max_bytes": 100}, dry_run=True)
    assert changed.sections["pair/sub"].facts["state"] == "to do", "other texts are other inputs"
    again = tokswap.leaderboard(fields, dry_run=True, fresh=True)
    assert again.sections["pair/sub"].facts["state"] == "to do"
    assert sorted((place / "out").rglob("*")) == before


def test_a_model_that_was_made_is_not_made_again(place: Path, fields: dict[str, Any], tmp_path: Path) -> None:
    """The evaluation fails; when it is mended, the model is the one that was made for the first try."""
    small = {**fields, "out": str(tmp_path / "out"), "rows": {}, "pairs": {"pair": fields["pairs"]["pair"]}}
    small["methods"] = {"mean": {"method": "mean", "calibrate": "none"}}
    small |= {"keep_checkpoints": True, "probe": False}
    cells: list[Any] = []
    report = tokswap.leaderboard({**small, "dtype": "float99"}, on_cell=cells.append)
    assert "float99" in report.sections["pair/mean"].facts["reason"] and cells == [*report.sections.values()]
    (folder,) = (path for path in (tmp_path / "out" / "checkpoints").iterdir() if path.is_dir())
    made = (folder / "model.safetensors").stat().st_mtime_ns
    report = tokswap.leaderboard(small)
    assert report.sections["pair/mean"].facts["state"] == "done"
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    # A result that was cut off by hand is no result.
    (file,) = (tmp_path / "out" / "cells").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert tokswap.leaderboard(small, dry_run=True).sections["pair/mean"].facts["state"] == "to do"


def test_the_base_is_scored_once_for_all_rows_and_again_when_asked_for(
    place: Path, fields: dict[str, Any], board: Any, tmp_path: Path
) -> None:
    kept = sorted((place / "out" / "bases").iterdir())
    # Its own texts, the texts at the borders of the new tokenizer and of the copy of the base, and what it wrote.
    assert [file.suffix for file in kept].count(".npz") in (2, 3)
    assert [file.suffix for file in kept].count(".json") == 1
    small = {**fields, "out": str(tmp_path / "out"), "rows": {}, "pairs": {"pair": fields["pairs"]["pair"]}}
    small["methods"] = {"sub": {"method": "subword"}}
    shutil.copytree(place / "out" / "bases", tmp_path / "out" / "bases")
    stages: list[str] = []
    tokswap.leaderboard(small, on_progress=lambda stage, *_: stages.append(stage.split(": ")[1]))
    assert "score model" in stages and "score base" not in stages and "score segmentation" not in stages
    tokswap.leaderboard(small, fresh=True, on_progress=lambda stage, *_: stages.append(stage.split(": ")[1]))
    assert "score base" in stages and "score segmentation" in stages


def test_two_runs_do_not_share_a_folder(fields: dict[str, Any], tmp_path: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(TokswapError, match="another run"):
        tokswap.leaderboard({**fields, "out": str(tmp_path)})


def test_jobs_that_die(place: Path, tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match="ended with code 1: KeyError: 'nonsense'"):
        run_job({"job": "nonsense"}, threads=1)
    job = {
        "job": "transplant",
        "fields": {"base": str(place / "base"), "donor": str(place / "donor"), "method": "mean"},
        "out": str(tmp_path / "out"),
    }

    def kill(*_: object) -> None:
        for child in children(os.getpid()):
            os.kill(child, signal.SIGKILL)

    with pytest.raises(TokswapError, match="signal 9") as caught:
        run_job(job, threads=1, on_progress=kill)
    assert "memory" in caught.value.hint and not (tmp_path / "out").exists()
