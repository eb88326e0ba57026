"""Tables of an audit: suspicious rows with their reasons, and tokens that training never reached."""

from __future__ import annotations

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, label, safe, words
from tokswap.report import Report


def audit_tables(report: Report) -> list[Table]:
    """Return the counts, the suspects, and the under-trained tokens of each model."""
    counts = [
        (label(name), amount(figure) + (f" ({figure.note})" if figure.note else ""))
        for name, figure in report.figures.items()
    ]
    suspects = tuple(
        (
            str(s["id"]),
            safe(s["token"]),
            "; ".join(s["reasons"]),
            f"{s['norm']:.2f} x",
            f"{s['logit']:.1f}",
            f"{100 * s['wins']:.1f} %",
        )
        for s in report.facts["suspects"]
    )
    columns = ("id", "token", "why", "norm", "logit", "wins")
    note = "norm: times the median; logit: deviations from the median; wins: share of states"
    out = [
        pairs(words(report.facts["model"]), counts),
        Table("Suspicious rows", columns, suspects, "rllrrr", note=note),
    ]
    rows = tuple(
        (
            name,
            amount(s.figures["undertrained"]),
            amount(s.figures["reference"]),
            ", ".join(map(safe, s.facts["tokens"])) or "–",
        )
        for name, s in report.sections.items()
    )
    out.append(
        Table(
            "Tokens that training never reached", ("of", "tokens", "reference", "nearest first"), rows, "lrrl"
        )
    )
    return [table for table in out if table.rows]
