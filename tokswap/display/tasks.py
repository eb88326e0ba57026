"""The tables of lm-eval's tasks: a metric a row, with the base beside the model where there is one."""

from __future__ import annotations

from collections.abc import Mapping

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, escape, label, with_interval, words
from tokswap.report import Figure, Report

BASE, DIFFERENCE = "base_", "_difference"


def tasks_tables(report: Report) -> list[Table]:
    """Return what ran where, and all tasks in one table."""
    compared = "against" in report.facts
    columns = ("base", "model", "difference") if compared else ("model",)
    rows = tuple(
        (
            escape(task),
            words(its.facts.get("examples")),
            label(metric),
            *_cells(its.figures, metric, compared),
        )
        for task, its in report.sections.items()
        for metric in its.figures
        if not compared or (not metric.startswith(BASE) and not metric.endswith(DIFFERENCE))
    )
    notes = {
        figure.note for its in report.sections.values() for figure in its.figures.values() if figure.note
    }
    heads = ("task", "examples", "metric", *columns)
    settings = pairs("Setting", [(label(name), words(value)) for name, value in report.facts.items()])
    return [settings, Table("Tasks", heads, rows, "lrl" + "r" * len(columns), note="; ".join(sorted(notes)))]


def _cells(figures: Mapping[str, Figure], metric: str, compared: bool) -> tuple[str, ...]:
    if not compared:
        return (with_interval(figures[metric]),)
    return (
        amount(figures.get(BASE + metric)),
        amount(figures[metric]),
        with_interval(figures.get(metric + DIFFERENCE)),
    )
