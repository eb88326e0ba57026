from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from tokswap_cli import output
from tokswap_cli.progress import progress, rate, step

STAGES = ("initialise", "calibrate", "write", "evaluate")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stage", "shown"),
    [
        ("initialise (omp)", "1/4"),
        ("calibrate: load the base", "2/4"),
        ("calibrate", "2/4"),
        ("write", "3/4"),
        ("load model", "4/4"),
        ("score base", "4/4"),
        ("download", ""),
    ],
)
def test_stages_are_counted(stage: str, shown: str) -> None:
    assert step(stage, STAGES) == shown


def test_rates_have_units() -> None:
    assert rate("initialise (omp)", 12345.6) == "12,346 rows/s"
    assert rate("download", 5e6) == "5 MB/s"
    assert rate("load model", 3.0) == "" and rate("write", None) == ""


def test_off_where_stderr_is_no_terminal_and_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    output.begin()
    with progress(STAGES) as on_progress:
        assert on_progress is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    output.begin(quiet=True)
    with progress(STAGES) as on_progress:
        assert on_progress is None


def test_on_a_terminal_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    output.begin()
    with progress(STAGES) as on_progress:
        assert on_progress is not None
        for done in range(0, 101, 50):
            on_progress("initialise ([bold]omp)", done, 100)
        on_progress("write", 0, 0)
    assert "1/4 initialise ([bold]omp)" in terminal.getvalue() and "3/4 write" in terminal.getvalue()


def test_no_progress_in_a_pipe(cli: Any, base: Path, prose: Path) -> None:
    ran = cli("evaluate", base, "--text", prose, "--max-bytes", "64")
    assert ran.err == ""
