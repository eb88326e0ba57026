"""Tables of a plan and of a transplant that was carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tokswap.display.tables import Table, pairs, tables_of
from tokswap.display.text import amount, duration, escape, label, short_name, words
from tokswap.report import Figure, Report

ORIGINS = (
    ("copied_same_bytes", "copied: the base has the same bytes"),
    ("copied_same_role", "copied: a special token of the same role"),
    ("copied_by_override", "copied: as --map says"),
    ("new", "made by the method"),
    ("silent", "silent: tokens that text never yields"),
    ("unused", "unused: padding and holes"),
)
# Figures of each group of new tokens that was shifted, under its name, and their column heads.
SHIFT_COLUMNS = (
    ("share_{}", "share of the text"),
    ("mass_{}_before", "probability before"),
    ("mass_{}_after", "and after"),
    ("shift_{}", "logits lowered by, nats"),
)
STAGES = {
    "lexicon": "Input rows by the inner lexicon",
    "chain": "Output rows by the chain rule",
    "fit": "Fit of the output rows",
}


def plan_tables(report: Report) -> list[Table]:
    """Return what is to be done: choices, rows by origin, sizes, special tokens."""
    return [_choices(report, "Plan"), _origins(report), _sizes(report), *_special(report)]


def transplant_tables(report: Report) -> list[Table]:
    """Return what was done: choices, rows by origin, what was checked, and what it cost."""
    out = [
        _choices(report, "Transplant"),
        _origins(report),
        _outcome(report),
        *_shifts(report),
        *_special(report),
    ]
    for section in report.sections.values():
        out += tables_of(section)
    return out


def plan_line(report: Report) -> str:
    """Return a plan in one line, to be shown before the work starts."""
    figures, facts = report.figures, report.facts
    copied = sum(int(figures[name].value) for name, _ in ORIGINS[:3])
    return (
        f"{short_name(facts['base'])} onto the tokenizer of {short_name(facts['donor'])}: {copied:,} rows copied, "
        f"{amount(figures['new'])} made by {facts['method']}, {amount(figures['bytes_to_write'])} to write, "
        f"about {duration(float(figures['estimated_time'].value))} on {facts['device']}"
    )


def _choices(report: Report, title: str) -> Table:
    facts = report.facts
    method = f"{facts.get('method')} ({words(facts.get('why_this_method'))})"
    rows = [
        ("base", words(facts.get("base"))),
        ("donor", words(facts.get("donor"))),
        ("output", words(facts.get("out"))),
        ("method", method),
        ("parameters", words(facts.get("parameters"))),
        *([] if facts.get("auxiliary") in (None, "donor") else [("compared in", words(facts["auxiliary"]))]),
        ("calibration", _calibration(facts.get("calibration"))),
        ("embeddings", "tied" if facts.get("tied") else "untied: input and output apart"),
        ("start token", _start(report)),
        ("device", words(facts.get("device"))),
    ]
    return pairs(title, rows)


def _calibration(value: object) -> str:
    if isinstance(value, dict):
        kind = "shifted" if value.get("kind") == "shift" else words(value.get("kind"))
        return f"{kind}: {words(value.get('reason'))}"
    return words(value)


def _start(report: Report) -> str:
    added = "put before a text" if report.facts.get("start_token_is_added") else "not put before a text"
    return f"{words(report.facts.get('start_token'))}, {added}"


def _origins(report: Report) -> Table:
    figures = report.figures
    total = max(int(figures["new_rows"].value), 1)
    rows = [
        (text, amount(figures[name]), f"{100 * figures[name].value / total:.1f} %")
        for name, text in ORIGINS
        if figures[name].value
    ]
    rows.append(("all rows", amount(figures["new_rows"]), "100.0 %"))
    return Table(
        f"Rows (the base has {amount(figures['base_rows'])})", ("origin", "rows", "share"), tuple(rows), "lrr"
    )


def _sizes(report: Report) -> Table:
    figures = report.figures
    rows = [
        ("parameters", _parameters(report)),
        ("tensors rewritten", amount(figures.get("tensors_touched"))),
        ("tensors copied as bytes", amount(figures.get("tensors_copied"))),
        *_named(
            figures,
            [
                ("bytes_to_write", "to write"),
                ("free_disk", "free on that disk"),
                ("peak_memory", "peak memory"),
                ("estimated_time", "time, estimated"),
            ],
        ),
    ]
    return pairs("Size", rows)


def _outcome(report: Report) -> Table:
    figures = report.figures
    rows = [
        ("parameters", _parameters(report)),
        *_named(
            figures,
            [
                ("anchors", "anchors"),
                ("anchors_dropped", "tokens that are no anchors"),
                ("untrained_donor_rows", "untrained donor rows"),
                ("without_vector", "new tokens without a vector"),
                ("tensors_copied_and_proved_equal", "tensors copied, proved equal by hash"),
            ],
        ),
    ]
    return pairs("Outcome", rows)


def _shifts(report: Report) -> list[Table]:
    """Return what calibration did to each group of new tokens, if it did anything."""
    figures = report.figures
    groups = [name.removeprefix("shift_") for name in figures if name.startswith("shift_")]
    rows = tuple(
        (label(group), *(amount(figures.get(name.format(group))) for name, _ in SHIFT_COLUMNS))
        for group in groups
    )
    columns = ("new tokens", *(words for _, words in SHIFT_COLUMNS))
    shifts = [Table("Calibration", columns, rows, "lrrrr")] * bool(rows)
    return shifts + [table for stage in STAGES for table in _stage(report, stage)]


def _stage(report: Report, stage: str) -> list[Table]:
    """Return what a stage after the shift gave, if there was one."""
    names = [
        (f"{stage}_states", "states fitted to and judged on" if stage == "fit" else "states judged on"),
        (f"{stage}_loss_before", "held-out loss before"),
        (f"{stage}_loss_after", "and after"),
    ]
    rows = _named(report.figures, names)
    return [pairs(STAGES[stage], rows)] if rows else []


def _named(figures: Mapping[str, Figure], names: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return (words, amount and note) of the figures that are there."""
    found = [(text, figures[name]) for name, text in names if name in figures]
    return [(text, amount(figure) + (f" ({figure.note})" if figure.note else "")) for text, figure in found]


def _parameters(report: Report) -> str:
    before, after = report.figures["base_parameters"], report.figures["new_parameters"]
    change = 100 * (after.value / max(before.value, 1) - 1)
    return f"{amount(before)} → {amount(after)} ({change:+.1f} %)"


def _special(report: Report) -> list[Table]:
    found = report.facts.get("special_tokens") or {}
    rows = tuple(
        (escape(new), "– (silent)" if old is None else escape(old)) for new, old in dict(found).items()
    )
    return [Table("Special tokens", ("new token", "holds the row of"), rows)] if rows else []
