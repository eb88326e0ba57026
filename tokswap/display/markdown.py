"""A report as Markdown: the tables that the terminal shows, for a README, an issue or a paper's appendix."""

from __future__ import annotations

import re

from tokswap.display.tables import Table, tables_of
from tokswap.display.text import label, one_line
from tokswap.report import Report


def markdown(report: Report) -> str:
    """Return a document with a heading for each table."""
    parts = [f"# {label(report.kind).capitalize()}"]
    parts += [f"> warning: {_cell(one_line(words))}" for words in report.all_warnings()]
    parts += [_table(table) for table in tables_of(report)]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    marks = ["---:" if table.is_right(i) else "---" for i in range(len(table.columns))]
    lines = [_row(table.columns), _row(marks, escaped=True), *map(_row, table.rows)]
    note = f"\n\n{_cell(table.note)}" if table.note else ""
    return f"## {_cell(table.title)}\n\n" + "\n".join(lines) + note


def _row(cells: tuple[str, ...] | list[str], *, escaped: bool = False) -> str:
    return "| " + " | ".join(cells if escaped else map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Return a text in which nothing is markup: a token may hold any of it, HTML too."""
    return re.sub(r"([\\`*_\[\]<>|&~#])", r"\\\1", " ".join(text.split("\n")))
