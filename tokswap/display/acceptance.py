"""Tables of a draft's acceptance: text by text, beside what it could do under its own tokenizer, and the speed."""

from __future__ import annotations

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, escape, label, with_interval, words
from tokswap.report import Report

ALL = "all texts"
CONDITIONS = ("draft", "target", "against", "sampling", "interval", "device", "dtype")
WHO = (("", "the draft"), ("base_", "under its own tokenizer"))


def acceptance_tables(report: Report) -> list[Table]:
    """Return acceptance by text, the comparison where there is a base, the speed model, and the conditions."""
    out = [_acceptance(report)]
    if "base_greedy_acceptance" in report.figures:
        out.append(_before(report))
    return [*out, _speed(report), _conditions(report)]


def _acceptance(report: Report) -> Table:
    rows = tuple(
        (
            escape(name),
            amount(its.figures["tokens"]),
            with_interval(its.figures["greedy_acceptance"]),
            with_interval(its.figures["sampled_acceptance"]),
        )
        for name, its in (*report.sections.items(), (ALL, report))
    )
    return Table(
        "Acceptance",
        ("text", "target's tokens", "greedy", "sampled"),
        rows,
        "lrrr",
        note="greedy: the likeliest token is the same; sampled: the probability that a drawn token is kept",
    )


def _before(report: Report) -> Table:
    names = (
        "common_share", "base_greedy_acceptance", "base_text_acceptance", "common_greedy_acceptance",
        "base_sampled_acceptance", "common_sampled_acceptance",
    )  # fmt: skip
    rows = tuple(
        (escape(name), *(amount(its.figures.get(figure)) for figure in names))
        for name, its in (*report.sections.items(), (ALL, report))
    )
    return Table(
        "Before and after, where tokens of both tokenizers begin",
        (
            "text",
            "of the tokens",
            "greedy: shared tokens",
            "as text, at most",
            "draft",
            "sampled: shared",
            "draft",
        ),
        rows,
        "lrrrrrr",
        note="before: the model that the draft came from, under its own tokenizer",
    )


def _speed(report: Report) -> Table:
    rows = [
        (
            who,
            way,
            amount(report.figures[f"{prefix}cost"]),
            amount(report.figures[f"{prefix}drafted_{way}"]),
            f"{report.figures[f'{prefix}tokens_per_call_{way}'].value:.2f}",
            amount(report.figures[f"{prefix}speedup_{way}"]),
        )
        for prefix, who in WHO
        for way in ("greedy", "sampled")
        if f"{prefix}speedup_{way}" in report.figures
    ]
    columns = (
        "who drafts",
        "decoding",
        "cost of a token",
        "tokens drafted",
        "tokens a call",
        "times as fast",
    )
    costs = {who: report.figures[f"{p}cost"].note for p, who in WHO if f"{p}cost" in report.figures}
    note = "; ".join(f"cost of {who}: {its}" for who, its in costs.items())
    if len(costs) > 1:
        note += ". The first is asked at every token, the second where tokens of both begin"
    return Table("Speed, as modelled", columns, tuple(rows), "llrrrr", note=note)


def _conditions(report: Report) -> Table:
    return pairs(
        "How it was measured",
        [(label(name), words(report.facts[name])) for name in CONDITIONS if name in report.facts],
    )
