"""Make the model of a cell: the transplant, and the healing where the row has one, each in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokswap.board.cells import Cell
from tokswap.board.config import Heal
from tokswap.board.jobs import Done, run_job
from tokswap.board.results import store, stored
from tokswap.board.table import usage_figures
from tokswap.report import Report

Progress = Callable[[str, int, int], None]


def make(
    cell: Cell, folder: Path, *, threads: int | None, fresh: bool, on_progress: Progress | None
) -> dict[str, Done]:
    """Make the model of a cell in `folder`, and return what each job took: `transplant`, and `heal` if it has one.

    What an earlier run completed is taken as it is, with what it took then, unless `fresh`. Raises TokswapError for
    whatever the jobs raise.
    """
    assert cell.recipe is not None
    moved = folder if cell.heal is None else _unhealed(folder)
    fields: Mapping[str, Any] = cell.recipe.model_dump(exclude={"out"})
    out = {"transplant": _made("transplant", fields, moved, threads, fresh, on_progress)}
    if cell.heal is not None:
        fields = _healing(cell.heal, moved, cell)
        out["heal"] = _made("heal", fields, folder, threads, fresh, on_progress)
    return out


def remove(folder: Path) -> None:
    """Remove what `make` made."""
    for made in (folder, _unhealed(folder)):
        shutil.rmtree(made, ignore_errors=True)
        _note(made).unlink(missing_ok=True)


def _healing(heal: Heal, moved: Path, cell: Cell) -> dict[str, Any]:
    assert cell.recipe is not None
    more = heal.model_dump(exclude={"settings", "texts"}) | heal.settings_as_given
    return {
        "folder": str(moved),
        "base": cell.base,
        "texts": heal.texts or None,
        "device": cell.recipe.device,
        **more,
    }


def _made(
    job: str,
    fields: Mapping[str, Any],
    folder: Path,
    threads: int | None,
    fresh: bool,
    on_progress: Progress | None,
) -> Done:
    note = _note(folder)
    found = None if fresh or not folder.is_dir() else stored(note)
    if found is not None:
        values = {name: figure.value for name, figure in found.figures.items()}
        peak = values.get("peak_memory")
        cost = values["seconds"], values["cpu_seconds"], None if peak is None else int(peak)
        return Done(found.sections[job], *cost)
    done = run_job(
        {"job": job, "fields": fields, "out": str(folder)}, threads=threads, on_progress=on_progress
    )
    store(note, Report("made", figures=usage_figures(done), sections={job: done.report}))
    return done


def _note(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _unhealed(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-unhealed")
