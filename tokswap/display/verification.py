"""The table of a verification: every check with its outcome and its sentence, and the verdict in a line."""

from __future__ import annotations

from tokswap.display.tables import Table, pairs
from tokswap.display.text import label, safe, with_interval, words
from tokswap.report import Report


def verification_tables(report: Report) -> list[Table]:
    """Return one row a check, in the order they were made."""
    rows = tuple(
        (label(name), words(check.facts["outcome"]), safe(str(check.facts["sentence"])))
        for name, check in report.sections.items()
    )
    return [Table(words(report.facts["source"]), ("check", "", "what was found"), rows, note=verdict(report))]


def verdict(report: Report) -> str:
    """Return the answer in one line: sound or not, the checks by outcome, and the base they were made against."""
    counts = ", ".join(f"{words(figure.value)} {label(name)}" for name, figure in report.figures.items())
    against = report.facts.get("against")
    beside = f"; against {words(against)}" if against else ""
    return f"{'sound' if report.facts['sound'] else 'not sound'}: {counts}{beside}"


def restoration_tables(report: Report) -> list[Table]:
    """Return facts and figures of a restoration, with what is proved of the folder in a line."""
    rows = [(label(name), words(value)) for name, value in report.facts.items()]
    rows += [
        (label(name), with_interval(figure) + (f" ({figure.note})" if figure.note else ""))
        for name, figure in report.figures.items()
    ]
    note = (
        "restored: rows, tokenizer and configuration are the base's own bytes, and "
        f"the body is {words(report.facts['body'])}"
    )
    return [pairs(label(report.kind), rows, note=note)]
