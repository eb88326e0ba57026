"""Progress on stderr: the stage, how many there are, rows or bytes a second, and the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tokswap_cli import output

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

Progress = Callable[[str, int, int], None]

# First word of a stage's name → what it counts; the others count steps that need no rate.
UNITS: Mapping[str, str] = {
    "download": "bytes",
    "convert": "bytes",
    "write": "bytes",
    "initialise": "rows",
    "score": "windows",
    "calibrate": "documents",
    "count": "bytes",
    "replay": "words",
    "encode": "bytes",
    "merge": "tokens",
}


@contextmanager
def progress(stages: tuple[str, ...]) -> Generator[Progress | None]:
    """Yield a callback that draws, or None where stderr is no terminal or --quiet was given.

    `stages` are the first words of the stages to come, in order, for "stage k/n".
    """
    if output.settings.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[step]} {task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=output.console_for(sys.stderr), transient=True) as bars:
        yield _Drawer(bars, stages)


class _Drawer:
    """Turns (stage, done, total) into one bar a stage, the earlier ones left standing as done."""

    def __init__(self, bars: Bars, stages: tuple[str, ...]) -> None:
        self._bars = bars
        self._stages = stages
        self._stage = ""
        self._task: TaskID | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage or self._task is None:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._stage = stage
            self._task = self._bars.add_task(stage, step=step(stage, self._stages), rate="", total=None)
        task: Any = self._bars.tasks[-1]
        self._bars.update(self._task, completed=done, total=total or None, rate=rate(stage, task.speed))


def step(stage: str, stages: tuple[str, ...]) -> str:
    """Return "2/4" for the second of four stages, "" for one outside the count (a download)."""
    first = stage.split(" ")[0].rstrip(":")
    first = {"load": "evaluate", "score": "evaluate", "sample": "evaluate"}.get(first, first)
    return f"{stages.index(first) + 1}/{len(stages)}" if first in stages else ""


def rate(stage: str, speed: float | None) -> str:
    """Return the speed in the stage's own unit: "12,300 rows/s", "85 MB/s"."""
    from tokswap.display import amount
    from tokswap.report import Figure

    unit = UNITS.get(stage.split(" ")[0].rstrip(":"))
    if unit is None or not speed:
        return ""
    return f"{amount(Figure(speed, unit))}/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s"
