"""The table of a controlled experiment: errors of the answer beside three simpler guesses, by number of merges."""

from __future__ import annotations

from tokswap.display.tables import Table
from tokswap.display.text import amount
from tokswap.report import Report

ESTIMATES = {
    "program": "byte_share",
    "by efficiency": "efficiency_share",
    "by tokens": "classification_share",
    "uniform": "uniform_share",
}
NOTE = "log10 of the mean squared error of shares of bytes, mean ± standard deviation over trials; lower is better."


def experiment_tables(report: Report) -> list[Table]:
    """Return one row a number of merges."""
    rows = tuple(
        (
            f"{int(merges):,}",
            *(_error(section, name) for name in ESTIMATES.values()),
            amount(section.figures["coverage"]),
            f"{section.figures['cpu_seconds'].value:.1f}",
        )
        for merges, section in report.sections.items()
    )
    setting = report.facts["setting"]
    title = f"{report.figures['trials'].value} mixtures of {setting['draw']} categories"
    columns = ("merges", *ESTIMATES, "in interval", "CPU s")
    return [Table(title, columns, rows, "r" * len(columns), note=NOTE)]


def _error(section: Report, name: str) -> str:
    error, spread = section.figures[f"{name}_error"].value, section.figures[f"{name}_spread"].value
    return f"{error:.2f} ± {spread:.2f}".replace("-", "−")
