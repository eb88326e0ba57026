"""Tables of a trim: what stays and why, what it saves, what it does to each text."""

from __future__ import annotations

from collections.abc import Mapping

from tokswap.display.tables import Table, pairs, tables_of
from tokswap.display.text import amount, escape, words
from tokswap.report import Figure, Report

WHY = (
    ("kept_protected", "bytes, characters, special tokens"),
    ("kept_used", "used by the text"),
    ("kept_needed", "what these are merged from"),
    ("kept_filled", "more, in the order of their ids"),
)


def trim_tables(report: Report) -> list[Table]:
    """Return what stays, the sizes, the texts, and what it costs where that was measured."""
    out = [_tokens(report), _sizes(report), _texts(report)]
    if "evaluation" in report.sections:
        out += tables_of(report.sections["evaluation"])
    return out


def _tokens(report: Report) -> Table:
    figures = report.figures
    rows = [(text, amount(figures[name])) for name, text in WHY if figures[name].value]
    rows.append(("all that stay", amount(figures["kept"])))
    return Table(
        f"Tokens (of {amount(figures['base_tokens'])})",
        ("why it stays", "tokens"),
        tuple(rows),
        "lr",
        note=f"unreachable among them: {_unreachable(report)}",
    )


def _unreachable(report: Report) -> str:
    figure, examples = report.figures["unreachable"], report.facts["unreachable_examples"]
    return amount(figure) + (f" ({words(examples)})" if examples else "")


def _sizes(report: Report) -> Table:
    figures = report.figures
    return pairs(
        "Size",
        [
            ("base", words(report.facts["base"])),
            ("output", words(report.facts["out"])),
            ("embeddings", "tied" if report.facts["tied"] else "untied: input and output apart"),
            ("rows", _change(figures, "base_rows", "new_rows")),
            ("parameters", _change(figures, "base_parameters", "new_parameters")),
            ("weights", _change(figures, "base_bytes", "bytes_to_write")),
            ("free on that disk", amount(figures["free_disk"])),
            ("peak memory", amount(figures["peak_memory"])),
        ],
    )


def _change(figures: Mapping[str, Figure], before: str, after: str) -> str:
    old, new = figures[before], figures[after]
    return f"{amount(old)} → {amount(new)} ({100 * (new.value / max(old.value, 1) - 1):+.1f} %)"


def _texts(report: Report) -> Table:
    sections = report.sections["texts"].sections
    rows = [(escape(name), *_cells(one)) for name, one in sections.items()]
    if len(rows) > 1:
        rows.append(("all", *_cells(report)))
    columns = ("text", "size", "tokens kept", "bytes/token before", "after", "tokens, after over before")
    return Table("Texts", columns, tuple(rows), "lrrrrr")


def _cells(report: Report) -> tuple[str, ...]:
    names = ("base_bytes_per_token", "bytes_per_token", "token_ratio")
    return (
        amount(report.figures["text_bytes"]),
        f"{100 * report.figures['coverage'].value:.3f} %",
        *(amount(report.figures[name]) for name in names),
    )
