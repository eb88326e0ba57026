"""Run the cells of a leaderboard that have no result yet, and put all results together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from tokswap.auxiliary import DONOR
from tokswap.board.cells import Cell, cell_key, cells_of, file_name, healed_key, making_key
from tokswap.board.config import Leaderboard, texts_of
from tokswap.board.jobs import run_job
from tokswap.board.making import make, remove
from tokswap.board.results import store, stored
from tokswap.board.table import board_report, cell_report, write_tables
from tokswap.errors import TokswapError
from tokswap.methods import get_method
from tokswap.report import Report
from tokswap.sources import open_source

if TYPE_CHECKING:
    from tokswap.evaluation.texts import Text

Progress = Callable[[str, int, int], None]

BASES = "bases"  # the folder of what bases scored and wrote: the same for all rows of a pair


@dataclass(frozen=True)
class _Source:
    """What the cells need of a model or tokenizer: hashing a large tokenizer takes seconds, so it's done once."""

    identity: str
    has_weights: bool


@dataclass(frozen=True)
class _Board:
    """What all cells share."""

    config: Leaderboard
    texts: Mapping[str, Text]
    out: Path
    model: Callable[[str], _Source]
    donor: Callable[[str], _Source]


def run_leaderboard(
    config: Leaderboard,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    on_cell: Callable[[Report], None] | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Run what has no result yet, write the tables, and return all of it as a report of kind `leaderboard`.

    With `dry_run` nothing is run or written, and the report says what would be; with `fresh` results on disk don't
    count. `on_cell` gets each cell's report as soon as it is known. A cell that fails is part of the report, with
    its reason. Raises TokswapError for texts and folders that can't be used, or when another run uses the folder.
    """
    from filelock import FileLock, Timeout

    board = _Board(
        config,
        texts_of(config),
        Path(config.out).expanduser(),
        cache(partial(_look_at, weights=True, on_progress=on_progress)),
        cache(partial(_look_at, weights=False, on_progress=on_progress)),
    )
    if dry_run:
        return board_report(config, [_planned(board, cell, fresh=fresh) for cell in cells_of(config)])
    try:
        for folder in ("cells", "checkpoints", BASES):
            (board.out / folder).mkdir(parents=True, exist_ok=True)
        with FileLock(board.out / ".lock", timeout=0):
            if fresh:
                _empty(board.out / BASES)
            report = board_report(config, _run_cells(board, fresh, on_cell, on_progress))
            return write_tables(report, board.out)
    except Timeout:
        raise TokswapError(
            f"another run is writing to {board.out}", "wait for its end, or give another --out"
        ) from None
    except OSError as error:
        raise TokswapError(
            f"{board.out} can't be written: {error.strerror or error}", "give another --out"
        ) from error


def _look_at(spec: str, *, weights: bool, on_progress: Progress | None) -> _Source:
    checkpoint = open_source(spec, weights=weights, on_progress=on_progress)
    return _Source(checkpoint.identity(), bool(checkpoint.tensors))


def _run_cells(
    board: _Board, fresh: bool, on_cell: Callable[[Report], None] | None, on_progress: Progress | None
) -> list[Report]:
    cells = cells_of(board.config)
    reports: list[Report] = []
    for number, cell in enumerate(cells, 1):
        where = f"cell {number} of {len(cells)}, {cell.row} on {cell.pair}"
        report = _run_cell(board, cell, fresh, None if on_progress is None else _within(where, on_progress))
        reports.append(report)
        if on_cell is not None:
            on_cell(report)
    return reports


def _within(where: str, on_progress: Progress) -> Progress:
    return lambda stage, done, total: on_progress(f"{where}: {stage}", done, total)


def _planned(board: _Board, cell: Cell, *, fresh: bool) -> Report:
    """Return what is known of a cell without running it."""
    try:
        key = _keys(board, cell)[1]
        why = _not_applicable(board, cell)
    except TokswapError as error:
        return cell_report(cell, "failed", reason=error.what, hint=error.hint)
    if why:
        return cell_report(cell, "not applicable", reason=why)
    found = None if fresh else stored(_result_file(board, cell, key))
    return cell_report(cell, "to do") if found is None else found


def _run_cell(board: _Board, cell: Cell, fresh: bool, on_progress: Progress | None) -> Report:
    try:
        making, key = _keys(board, cell)
        if why := _not_applicable(board, cell):
            return cell_report(cell, "not applicable", reason=why)
        file = _result_file(board, cell, key)
        found = None if fresh else stored(file)
        if found is not None:
            return found
        report = _measure(board, cell, making, fresh, on_progress)
    except TokswapError as error:
        return cell_report(cell, "failed", reason=error.what, hint=error.hint)
    store(file, report)
    _clear(board, cell, making)
    return report


def _keys(board: _Board, cell: Cell) -> tuple[str, str]:
    """Return the keys of the model and of its figures; opens base and donor, or the folder."""
    base = board.model(cell.base).identity
    if cell.recipe is None:
        making = board.model(str(cell.folder)).identity
    else:
        making = making_key(cell.recipe, base, board.donor(cell.donor).identity)
        making = making if cell.heal is None else healed_key(making, cell.heal)
    return making, cell_key(making, base, board.texts, board.config)


def _not_applicable(board: _Board, cell: Cell) -> str:
    """Say why a method has nothing to go by on this pair, "" where it has."""
    if cell.recipe is None or cell.recipe.method == "auto":
        return ""
    method = get_method(cell.recipe.method)
    if method.parallel and not cell.recipe.parallel_texts:
        return "it needs parallel text, and the row names none"
    if method.network and cell.recipe.hypernet is None:
        return "it needs a hypernetwork, and the row names none"
    if method.space != "donor" or cell.recipe.auxiliary != DONOR or board.donor(cell.donor).has_weights:
        return ""
    return "it needs the donor's rows, and the donor is a tokenizer alone"


def _measure(board: _Board, cell: Cell, making: str, fresh: bool, on_progress: Progress | None) -> Report:
    """Make the model, or find it made, and evaluate it."""
    config = board.config
    if cell.recipe is None:
        made, folder = None, cell.folder
    else:
        folder = _checkpoint(board, cell, making)
        made = make(cell, folder, threads=config.threads, fresh=fresh, on_progress=on_progress)
    job = {
        "job": "evaluate",
        "model": str(folder),
        "base": cell.base,
        "texts": {name: list(text.documents) for name, text in board.texts.items()},
        "keep": str(board.out / BASES),
        "how": {
            "segmentation": config.segmentation,
            "probe": config.probe,
            "device": config.device,
            "dtype": config.dtype,
            "sample_prompt": None,
        },
    }
    evaluated = run_job(job, threads=config.threads, on_progress=on_progress)
    return cell_report(cell, "done", made=made, evaluation=evaluated.report)


def _clear(board: _Board, cell: Cell, making: str) -> None:
    """Remove the checkpoint of a cell that has its result, unless it is to be kept."""
    if cell.recipe is None or board.config.keep_checkpoints:
        return
    remove(_checkpoint(board, cell, making))


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _checkpoint(board: _Board, cell: Cell, making: str) -> Path:
    return board.out / "checkpoints" / file_name(cell, making)


def _result_file(board: _Board, cell: Cell, key: str) -> Path:
    return board.out / "cells" / f"{file_name(cell, key)}.json"
