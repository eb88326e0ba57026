"""The table of a verification: every check with its outcome and its sentence."""

from __future__ import annotations

from tokswap.display.tables import Table
from tokswap.display.text import label, safe, words
from tokswap.report import Report


def verification_tables(report: Report) -> list[Table]:
    """Return one row a check, in the order they were made."""
    rows = tuple(
        (label(name), words(check.facts["outcome"]), safe(str(check.facts["sentence"])))
        for name, check in report.sections.items()
    )
    against = report.facts.get("against")
    note = f"against {words(against)}" if against else ""
    return [Table(words(report.facts["source"]), ("check", "", "what was found"), rows, note=note)]
