from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tokswap.display.plots import curve_plot
from tokswap_cli.app import main


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(list(words))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_the_command_heals_tells_its_plan_and_draws_a_page(
    ran: Any, tied: tuple[Path, Path], text: Path, tmp_path: Path
) -> None:
    base, moved = map(str, tied)
    how = ["--base", base, "--text", str(text), "--evaluation-text", str(text), "--steps", "3", "--rank", "2"]
    page, curve, out = tmp_path / "page.html", tmp_path / "curve.jsonl", str(tmp_path / "out")
    code, shown, said = ran("heal", moved, *how, "--out", out, "--report", str(page), "--curve", str(curve))
    assert code == 0, said
    assert "of memory" in said and "written and verified" in said and f"tokswap verify {out}" in said
    assert "after / before" in shown and "all texts" in shown
    points = [json.loads(line) for line in curve.read_text().splitlines()]
    assert [point["step"] for point in points] == [0, 1, 2, 3]
    drawn = page.read_text()
    assert (
        "<svg" in drawn
        and "held-out bits per byte over seconds" in drawn
        and "http" not in drawn.split("<svg")[0]
    )
    code, shown, _ = ran("heal", moved, *how, "--out", str(tmp_path / "second"), "--json", "--no-evaluate")
    data = json.loads(shown)
    assert data["kind"] == "healing" and not data["sections"]
    assert [p["held_out_bits"] for p in data["facts"]["curve"]] == [p["held_out_bits"] for p in points]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--out"),
        (["--out", "x", "--rung", "ladder"], "rows, alm, lm"),
        (["--out", "x", "--budget", "5 parsecs"], "write it like"),
        (["--out", "x", "--budget", "5m", "--steps", "5"], "--steps"),
    ],
)
def test_slips_are_told_before_anything_is_done(
    words: list[str],
    said: str,
    ran: Any,
    tied: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = ran("heal", str(tied[1]), "--base", str(tied[0]), *words)
    assert code == 2 and said in told and not list(tmp_path.iterdir())


def test_a_curve_is_one_line() -> None:
    points = [{"seconds": s, "held_out_bits": b} for s, b in ((0, 1.5), (10, 1.2), (20, 1.1))]
    svg = curve_plot(points)
    assert svg.startswith("<svg") and svg == curve_plot(points)
    assert "bits per byte" in svg and "seconds" in svg
