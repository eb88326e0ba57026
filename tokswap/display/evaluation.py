"""Tables of an evaluation: bits per byte of base and model side by side, text by text."""

from __future__ import annotations

from collections.abc import Iterator

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, escape, label, with_interval, words
from tokswap.report import Report

ALL = "all texts"
NEW_TOKENS = (
    ("new_token_share", "share of the text's tokens"),
    ("new_token_mass", "mean probability on them"),
    ("greedy_new_share", "share of the likeliest tokens"),
    ("new_token_top1", "likeliest where they are right"),
    ("shared_token_top1", "the same for shared tokens"),
    ("bits_under_new_tokens", "bits per byte under new tokens"),
    ("base_bits_under_new_tokens", "the base's on these bytes"),
    ("bits_under_shared_tokens", "bits per byte under shared tokens"),
    ("base_bits_under_shared_tokens", "the base's on these bytes"),
)
PARTS = (
    ("difference", "new − base"),
    ("segmentation_difference", "from the segmentation alone"),
    ("rows_difference", "from the rows"),
    ("segmentation_bits_per_byte", "bits per byte of the base at the new borders"),
)
PROBE = (
    ("greedy_text_new_share", "share of new tokens"),
    ("base_greedy_text_new_share", "in the base's text"),
    ("greedy_text_repetition", "share of repeated runs"),
    ("base_greedy_text_repetition", "in the base's text"),
    ("greedy_text_bits", "the base's bits per byte of the text"),
    ("base_greedy_text_bits", "of its own text"),
    ("always_emitted_tokens", "tokens that are always emitted"),
)
EXACT_HEADS = {
    "base_bits_per_byte": "base, its tokens",
    "base_exact_bits_per_byte": "base, exact",
    "bits_per_byte": "model, its tokens",
    "exact_bits_per_byte": "model, exact",
}
CONDITIONS = ("start_token", "window_bytes", "stride_bytes", "interval", "device", "dtype", "note")


def evaluation_tables(report: Report) -> list[Table]:
    """Return bits per byte by text, what becomes of new tokens, gates, samples, and how it was measured."""
    out = [
        _gates(report),
        _bits(report),
        _exact(report),
        _parts(report),
        _new_tokens(report),
        _probe(report),
        _samples(report),
        _conditions(report),
    ]
    return [table for table in out if table.rows]


def scored(report: Report) -> Iterator[tuple[str, Report]]:
    """Yield (name, figures of that text), all texts together last."""
    yield from report.sections.items()
    yield ALL, report


def has_base(report: Report) -> bool:
    """Tell whether the evaluation has a base beside the model."""
    return "ratio" in report.figures


def _bits(report: Report) -> Table:
    if not has_base(report):
        rows = [
            (escape(name), with_interval(f.get("bits_per_byte")), amount(f.get("bytes_per_token")))
            for name, f in ((name, its.figures) for name, its in scored(report))
        ]
        return Table("Bits per byte", ("text", "model", "bytes per token"), tuple(rows), "lrr")
    rows = [
        (
            escape(name),
            amount(f.get("base_bits_per_byte")),
            amount(f.get("bits_per_byte")),
            with_interval(f.get("ratio")),
            f"{amount(f.get('base_bytes_per_token'))} → {amount(f.get('bytes_per_token'))}",
        )
        for name, f in ((name, its.figures) for name, its in scored(report))
    ]
    columns = ("text", "base", "new", "new / base", "bytes per token")
    return Table("Bits per byte", columns, tuple(rows), "lrrrr", note=words(report.facts.get("interval")))


def _new_tokens(report: Report) -> Table:
    rows = [(text, amount(report.figures[name])) for name, text in NEW_TOKENS if name in report.figures]
    return Table("New tokens, all texts", ("", ""), tuple(rows), "lr")


def _exact(report: Report) -> Table:
    """Return exact bits per byte beside the canonical tokens'; no rows where they were not asked for."""
    names = ("base_bits_per_byte", "base_exact_bits_per_byte") if has_base(report) else ()
    names = (*names, "bits_per_byte", "exact_bits_per_byte")
    heads = [EXACT_HEADS[name] for name in names]
    rows = tuple(
        (escape(name), *(amount(its.figures.get(n)) for n in names))
        for name, its in scored(report)
        if "exact_bits_per_byte" in its.figures
    )
    return Table("Exact bits per byte", ("text", *heads), rows, "l" + "r" * len(names))


def _parts(report: Report) -> Table:
    """Return the loss in two parts by text, where the segmentation reference was asked for."""
    if "segmentation_difference" not in report.figures:
        return Table("Where the loss is", ("",), ())
    rows = tuple(
        (escape(name), *(amount(its.figures.get(figure)) for figure, _ in PARTS))
        for name, its in scored(report)
    )
    return Table("Where the loss is, bits per byte", ("text", *(head for _, head in PARTS)), rows, "lrrrr")


def _probe(report: Report) -> Table:
    rows = [(text, amount(report.figures[name])) for name, text in PROBE if name in report.figures]
    if named := report.facts.get("always_emitted"):
        rows.append(("which", ", ".join(f"“{escape(token)}”" for token in named)))
    title = f"Greedy text after {len(report.facts.get('continuations', []))} prompts"
    return Table(title, ("", ""), tuple(rows), "lr")


def _gates(report: Report) -> Table:
    rows = [
        (escape(gate["expression"]), "failed" if gate["failed"] else "passed", escape(gate["sentence"]))
        for gate in report.facts.get("gates") or []
    ]
    return Table("Gates", ("fail if", "", ""), tuple(rows))


def _samples(report: Report) -> Table:
    facts = report.facts
    rows = [("prompt", words(facts.get("sample_prompt")))] if "sample_prompt" in facts else []
    rows += [
        (who, words(facts.get(name)))
        for name, who in (("base_sample", "base"), ("sample", "model"))
        if name in facts
    ]
    return pairs("Greedy sample", rows)


def _conditions(report: Report) -> Table:
    names = ("model", "against", *CONDITIONS)
    return pairs(
        "How it was measured", [(label(n), words(report.facts[n])) for n in names if n in report.facts]
    )
