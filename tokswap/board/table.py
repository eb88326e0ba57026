"""The results of a leaderboard as one report, and that report as files."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokswap import __version__
from tokswap.board.cells import Cell
from tokswap.board.config import Leaderboard
from tokswap.board.jobs import Done
from tokswap.errors import TokswapError
from tokswap.healing.settings import length_of
from tokswap.report import Figure, Report
from tokswap.whole_file import write_whole


def cell_report(
    cell: Cell,
    state: str,
    *,
    reason: str = "",
    hint: str = "",
    made: Mapping[str, Done] | None = None,
    evaluation: Report | None = None,
) -> Report:
    """Return what is known of one cell: `state` is done, failed, not applicable or to do."""
    facts: dict[str, Any] = {"pair": cell.pair, "row": cell.row, "base": cell.base, "donor": cell.donor}
    facts |= {"state": state, **({"reason": reason} if reason else {}), **({"hint": hint} if hint else {})}
    if cell.recipe is None:
        facts["folder"] = str(cell.folder)
    else:
        facts |= cell.recipe.model_dump(include={"method", "parameters", "calibrate"})
    if cell.heal is not None:
        facts["healing"] = f"{cell.heal.rung}, {length_of(cell.heal.checked)}"
    sections = {} if evaluation is None else {"evaluation": evaluation}
    if made is None:
        return Report("cell", facts, {}, sections)
    for name in ("method", "parameters", "calibration"):
        facts[name] = made["transplant"].report.facts[name]
    reports = {name: done.report for name, done in made.items()}
    return Report("cell", facts, usage_figures(*made.values()), {**reports, **sections})


def board_report(config: Leaderboard, cells: Sequence[Report]) -> Report:
    """Return the whole leaderboard; its sections are the cells, in order."""
    states = [str(cell.facts["state"]) for cell in cells]
    facts = {
        "pairs": {name: pair.model_dump() for name, pair in config.pairs.items()},
        "settings": config.model_dump(include={"texts", "max_bytes", "device", "dtype", "threads"}),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "tokswap": __version__,
    }
    figures = {
        state.replace(" ", "_"): Figure(states.count(state), "cells")
        for state in ("done", "failed", "not applicable", "to do")
        if state in states or state == "done"
    }
    sections = {f"{cell.facts['pair']}/{cell.facts['row']}": cell for cell in cells}
    return Report("leaderboard", facts, figures, sections)


def write_tables(report: Report, folder: Path) -> Report:
    """Write the report as leaderboard.json, .md and .html; the page only where its libraries are there.

    Returns the report, with a warning where the page was left out. Raises OSError.
    """
    from tokswap.display.markdown import markdown
    from tokswap.html_report import check_html, write_html

    report = replace(report, facts={**report.facts, "out": str(folder)})
    page = folder / "leaderboard.html"
    try:
        check_html(page)
        write_html(report, page)
    except TokswapError as error:
        report = replace(report, warnings=(*report.warnings, f"no page: {error}"))
    write_whole(folder / "leaderboard.md", markdown(report).encode("utf-8", "backslashreplace"))
    write_whole(folder / "leaderboard.json", (report.to_json() + "\n").encode("utf-8", "backslashreplace"))
    return report


def usage_figures(*made: Done) -> dict[str, Figure]:
    """Return what whole processes took, one after the other: start, rows, calibration, training, writing, verifying."""
    out = {
        "seconds": Figure(sum(done.seconds for done in made), "seconds", note="wall time"),
        "cpu_seconds": Figure(sum(done.cpu_seconds for done in made), "seconds", note="of all threads"),
    }
    peaks = [done.peak_memory for done in made if done.peak_memory is not None]
    if peaks:
        out["peak_memory"] = Figure(max(peaks), "bytes", note="resident, at its highest")
    return out
