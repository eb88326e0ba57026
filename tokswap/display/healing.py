"""Tables of a healing: what was trained on what, the curve, and bits per byte before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokswap.display.tables import Table, pairs, tables_of
from tokswap.display.text import amount, duration, escape, label, short_name, with_interval, words
from tokswap.report import Figure, Report

FIGURES = (
    ("text_bytes", "text to train on"),
    ("held_out_bytes", "text held out"),
    ("rows_trained", "rows trained"),
    ("new_tokens", "new tokens"),
    ("new_tokens_in_text", "new tokens in the text"),
    ("new_token_share", "new tokens' share of it"),
    ("memory", "memory"),
    ("steps", "steps"),
    ("best_step", "best step"),
    ("tensors_copied_and_proved_equal", "tensors copied, proved equal by hash"),
)
FACTS = ("model", "base", "out", "rung", "trained", "text", "length", "stopped", "device", "dtype", "seed")
SCORES = (
    ("base_bits_per_byte", "base"),
    ("before_bits_per_byte", "before"),
    ("after_bits_per_byte", "after"),
)
RATIOS = (("after_over_before", "after / before"), ("after_over_base", "after / base"))


def healing_tables(report: Report) -> list[Table]:
    """Return scores, what was done, and the curve."""
    out: list[Table] = []
    for section in report.sections.values():
        out += tables_of(section)
    rows = [(label(name), words(report.facts[name])) for name in FACTS if name in report.facts]
    rows += [(text, _noted(report.figures[name])) for name, text in FIGURES if name in report.figures]
    return [*out, _curve(report), pairs("Healing", rows)]


def score_tables(report: Report) -> list[Table]:
    """Return bits per byte of the base, before and after by text, all texts together last."""
    rows = tuple(
        (escape(name), *(amount(f.get(n)) for n, _ in SCORES), *(with_interval(f.get(n)) for n, _ in RATIOS))
        for name, f in _scored(report)
    )
    columns = ("text", *(head for _, head in (*SCORES, *RATIOS)))
    note = "95 % intervals, bootstrap over the same chunks of bytes; " + words(report.facts.get("note"))
    return [Table("Bits per byte", columns, rows, "lrrrrr", note=note)]


def plan_line(plan: Report) -> str:
    """Return what will be done and what it takes, in one line."""
    figures, facts = plan.figures, plan.facts
    return (
        f"{short_name(facts['model'])}, rung {facts['rung']}, {facts['length']} on {facts['device']} in "
        f"{facts['dtype']}: "
        f"{amount(figures['rows_trained'])} trained, {amount(figures['new_tokens_in_text'])} of "
        f"{amount(figures['new_tokens'])} that are new stand in {amount(figures['text_bytes'])} of text; "
        f"about {amount(figures['memory'])} of memory"
    )


def headline(report: Report) -> list[tuple[str, str]]:
    """Return the figures that a reader wants first, as (amount, words)."""
    evaluation = report.sections.get("evaluation")
    if evaluation is None:
        held = (("held_out_before", "held-out bits per byte before"), ("held_out_after", "and after"))
        return [(amount(report.figures[name]), text) for name, text in held]
    return [(amount(evaluation.figures[name]), f"bits per byte: {head}") for name, head in SCORES]


def points(report: Report) -> list[Mapping[str, Any]]:
    """Return the looks at held-out text in order."""
    return list(report.facts.get("curve") or [])


def _curve(report: Report) -> Table:
    rows = tuple(
        (
            f"{point['step']:,}",
            duration(float(point["seconds"])),
            "–" if point["loss"] is None else f"{point['loss']:.4g}",
            f"{point['held_out_bits']:.4f}",
        )
        for point in points(report)
    )
    columns = ("step", "after", f"loss, {words(report.facts.get('loss_is_in'))}", "held out, bits per byte")
    return Table(
        "Curve", columns, rows, "rrrr", note="of the person's or the shipped text, a tenth was held out"
    )


def _scored(report: Report) -> Iterator[tuple[str, Mapping[str, Figure]]]:
    yield from ((name, section.figures) for name, section in report.sections.items())
    yield "all texts", report.figures


def _noted(figure: Figure) -> str:
    return amount(figure) + (f" ({figure.note})" if figure.note else "")
