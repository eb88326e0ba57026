"""Tables of an inferred mixture: bars with intervals, what explains it badly, and how it was found."""

from __future__ import annotations

from collections.abc import Iterable

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, escape, label, safe
from tokswap.report import Figure, Report

BAR_CELLS = 30
SURE, LIKELY, POSSIBLE = "█", "▓", "░"
PER_MILLION = "pairs per million"
TEXT_SHARES = ("pair_share", "efficiency_share", "classification_share")


def mixture_tables(report: Report) -> list[Table]:
    """Return the shares, the merges that no mixture explains, those in no text, and the run's figures."""
    out = [_shares(report), _unexplained(report), _scripts(report), _run(report)]
    return [table for table in out if table.rows]


def by_share(report: Report) -> list[tuple[str, Report]]:
    """Return the categories, the largest share first."""
    return sorted(report.sections.items(), key=lambda item: -item[1].figures["byte_share"].value)


def bar(figure: Figure, most: float) -> str:
    """Draw a share as a bar that ends at `most`: full to the interval's lower end, then shaded to the value and on."""
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    ends = [round(BAR_CELLS * min(end, most) / most) for end in (low, figure.value, high)]
    return SURE * ends[0] + LIKELY * (ends[1] - ends[0]) + POSSIBLE * (ends[2] - ends[1])


def _shares(report: Report) -> Table:
    categories = by_share(report)
    most = max(_high(one.figures["byte_share"]) for _, one in categories) or 1.0
    rows = tuple(
        (
            escape(name),
            bar(one.figures["byte_share"], most),
            amount(one.figures["byte_share"]),
            _interval(one.figures["byte_share"]),
            *(amount(one.figures[share]) for share in TEXT_SHARES),
            amount(one.figures["text"]),
        )
        for name, one in categories
    )
    columns = ("category", "", "of bytes", "interval", "of pairs", "by efficiency", "by tokens", "text")
    return Table(
        "Shares of the training text", columns, rows, "llrrrrrr", note=safe(report.facts["intervals"])
    )


def _high(figure: Figure) -> float:
    return max(figure.value, figure.high or 0.0)


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return "–"
    return f"{100 * figure.low:.1f} to {100 * figure.high:.1f} %"


def _unexplained(report: Report) -> Table:
    rows = tuple(
        (f"{one['merge']:,}", f"“{safe(one['token'])}”", f"{one['slack']:,.1f}", f"{one['frequency']:,.1f}")
        for one in report.facts["unexplained"]
    )
    return Table(
        "Merges that the mixture explains least",
        ("merge", "token", "lacks", "has"),
        rows,
        "rlrr",
        note="Per million pairs: what the merge would need more to be the most frequent, and what it has.",
    )


def _scripts(report: Report) -> Table:
    facts = report.facts
    slack, missing = facts["slack_by_script"], facts["missing_by_script"]
    total = sum(slack.values()) or 1.0
    names = sorted({*slack, *missing}, key=lambda name: (-slack.get(name, 0.0), -missing.get(name, 0), name))
    rows = tuple(
        (escape(name), f"{100 * slack.get(name, 0.0) / total:.1f} %", f"{missing.get(name, 0):,.0f}")
        for name in names
    )
    return Table(
        "What a missing category would be written in",
        ("script", "of what is lacking", "merges in no text"),
        rows,
        "lrr",
    )


def _run(report: Report) -> Table:
    facts = report.facts
    rows: list[tuple[str, str]] = [("tokenizer", escape(facts["tokenizer"]))]
    rows += [("note", safe(str(note))) for note in facts["notes"]]
    rows += list(_figures(report))
    # Tokens are escaped in the facts already; escaped again, a line break would be shown as two signs.
    rows += [("merges in no text, as", ", ".join(f"“{safe(token)}”" for token in facts["missing"]) or "–")]
    return pairs("How it was found", rows)


def _figures(report: Report) -> Iterable[tuple[str, str]]:
    for name, figure in report.figures.items():
        value = amount(figure) if figure.unit != PER_MILLION else f"{figure.value:,.1f} {PER_MILLION}"
        yield label(name), value + (f" ({figure.note})" if figure.note else "")
