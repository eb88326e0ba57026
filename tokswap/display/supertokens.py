"""Tables of a trained tokenizer: what it holds, and what it makes of held-out text beside others."""

from __future__ import annotations

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, escape, label, words
from tokswap.display.tokenizers import listed
from tokswap.report import Report

OTHERS = ("ordinary", "base")
COLUMNS = ("{}_bytes_per_token", "{}_gain", "{}_borders_kept", "{}_borders_new")


def supertokens_tables(report: Report) -> list[Table]:
    """Return the tokenizer, and one table of the texts for each tokenizer beside it."""
    figures, facts = report.figures, report.facts
    settings = ("out", "style", "transition", "max_words")
    rows = [(label(name), words(facts[name])) for name in settings if facts[name] is not None]
    rows += [
        (label(name), amount(figure) + (f" ({figure.note})" if figure.note else ""))
        for name, figure in figures.items()
    ]
    rows += [("superwords, as", listed(facts["superwords"]))]
    if facts["unreachable_examples"]:
        rows.append(("unreachable, as", listed(facts["unreachable_examples"])))
    out = [pairs("Tokenizer", rows)]
    return out + [_beside(report, name) for name in OTHERS if f"{name}_overlap" in figures]


def extension_tables(report: Report) -> list[Table]:
    """Return the new tokens, what more and more of them save, and what held-out text takes."""
    figures, facts = report.figures, report.facts
    rows = [("base", words(facts["base"])), ("out", words(facts["out"]))]
    rows += [
        (label(name), amount(figure) + (f" ({figure.note})" if figure.note else ""))
        for name, figure in figures.items()
    ]
    rows.append(("new tokens, as", listed(facts["examples"])))
    return [pairs("Tokenizer", rows), curve_table(report), _beside(report, "base")]


def curve_table(report: Report) -> Table:
    """Return what more and more new tokens save of the text that they were learnt from."""
    points = tuple((f"{int(n):,}", f"{100 * saved:.2f} %") for n, saved in report.facts["curve"])
    return Table("What they save of the text", ("tokens added", "tokens saved"), points, "rr")


def _beside(report: Report, other: str) -> Table:
    named = "ordinary BPE of the same size" if other == "ordinary" else escape(str(report.facts["base"]))
    columns = (
        "text", "bytes/token", "words/token", "bytes/token there", "gain, x", "its borders kept", "borders new",
    )  # fmt: skip
    rows = tuple(
        (
            escape(name),
            amount(one.figures["bytes_per_token"]),
            amount(one.figures["words_per_token"]),
            *(amount(one.figures[column.format(other)]) for column in COLUMNS),
        )
        for name, one in report.sections["texts"].sections.items()
    )
    return Table(f"Held-out text, beside {named}", columns, rows, "lrrrrrr")
