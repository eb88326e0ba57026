"""Tables of a hypernetwork's training: what was trained on what, and the looks at held-out data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, label, short_name, with_interval, words
from tokswap.report import Report

FACTS = ("base", "out", "architecture", "start", "stages", "texts", "donor", "device", "dtype", "seed", "log")


def training_tables(report: Report) -> list[Table]:
    """Return what was trained, and the looks."""
    rows = [(label(name), words(report.facts[name])) for name in FACTS if report.facts.get(name)]
    rows += [(label(name), _noted(report, name)) for name in report.figures]
    return [_looks(report.facts["looks"]), pairs("Hypernetwork", rows)]


def plan_line(plan: Report) -> str:
    """Return what will be trained and what it takes, in one line."""
    facts, figures = plan.facts, plan.figures
    operations = figures["operations_a_step"].value / 1e9
    return (
        f"{short_name(facts['base'])}, {facts['architecture']} network of {amount(figures['parameters'])}, "
        f"{' then '.join(facts['stages'])} on {facts['device']} in {facts['dtype']}: about "
        f"{amount(figures['memory'])} of memory, {operations:,.0f} GFLOP a step of the dearest stage"
    )


def _looks(looks: list[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            f"{look['step']:,}",
            f"{look['held_out_error']:.4f}",
            f"{look['start_error']:.4f}",
            "–" if look["held_out_bits"] is None else f"{look['held_out_bits']:.4f}",
        )
        for look in looks
    )
    columns = ("step", "held-out rows", "their start", "held-out text, bits per byte")
    note = "rows: squared error over the variance of the base's rows"
    return Table("Looks", columns, rows, "rrrr", note=note)


def _noted(report: Report, name: str) -> str:
    figure = report.figures[name]
    return with_interval(figure) + (f" ({figure.note})" if figure.note else "")
