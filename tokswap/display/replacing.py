"""Tables of a replacement: what goes and comes, what it saves, what it does to each text, and what it costs."""

from __future__ import annotations

from tokswap.display.supertokens import curve_table
from tokswap.display.tables import Table, pairs, tables_of
from tokswap.display.text import amount, escape, label, words
from tokswap.display.tokenizers import listed
from tokswap.report import Report

COLUMNS = ("base_bytes_per_token", "bytes_per_token", "base_gain", "removed")
FIGURES = (
    "tokens",
    "rows",
    "replaced",
    "removable",
    "superwords",
    "unreachable",
    "bytes_read",
    "saved",
    "suggested",
)


def replacement_tables(report: Report) -> list[Table]:
    """Return the tokens, the curve, the texts, and the bits per byte where they were measured."""
    out = [_tokens(report), curve_table(report), _texts(report)]
    if "evaluation" in report.sections:
        out += tables_of(report.sections["evaluation"])
    return out


def _tokens(report: Report) -> Table:
    figures, facts = report.figures, report.facts
    rows = [(name, words(facts[name])) for name in ("base", "out", "method")]
    rows += [
        (label(name), amount(figures[name]) + (f" ({figures[name].note})" if figures[name].note else ""))
        for name in FIGURES
    ]
    rows += [("removed, as", listed(facts["removed"])), ("new tokens, as", listed(facts["examples"]))]
    return pairs("Replacement", rows)


def _texts(report: Report) -> Table:
    rows = tuple(
        (escape(name), *(amount(one.figures[column]) for column in COLUMNS))
        for name, one in report.sections["texts"].sections.items()
    )
    columns = ("text", "bytes/token before", "after", "gain, x", "tokens that are gone")
    return Table("Held-out text", columns, rows, "lrrrr")
