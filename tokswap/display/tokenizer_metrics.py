"""Tables and plots' arms of tokenizers on texts: what each makes of each, a row a pair."""

from __future__ import annotations

from collections.abc import Iterable

from tokswap.display.tables import Table
from tokswap.display.text import amount, escape
from tokswap.report import Figure, Report

Metrics = tuple[tuple[str, str], ...]

COMPRESSION: Metrics = (("bytes_per_token", "bytes/token"), ("fertility", "tokens/word"))
USE: Metrics = (
    ("whole_words", "whole words"),
    ("renyi_efficiency", "Rényi efficiency"),
    ("premium", "parity"),
)
WORDS: Metrics = (
    ("valid_types", "%TR by type"),
    ("valid_tokens", "%TR by token"),
    ("pure_types", "%Pure by type"),
    ("pure_tokens", "%Pure by token"),
)
TERMS: Metrics = (
    ("tokens_per_term", "tokens/term"),
    ("one_token", "in one token"),
    ("most_tokens", "most tokens"),
    ("terms", "terms"),
)
# What is drawn, a plot each: one figure of each kind, bytes a token being the one that everything else rests on.
PLOTS = (
    ("text", "bytes_per_token", "bytes per token", "Bytes per token: more are better."),
    ("text", "premium", "tokens over the parallel text's", "Parity: what a language costs in tokens."),
    ("text", "valid_tokens", "%TR by token", "Tokens that are words of the language."),
    (
        "terms",
        "tokens_per_term",
        "tokens per term",
        "Tokens that a term of the domain takes: fewer are better.",
    ),
)


def metrics_tables(report: Report) -> list[Table]:
    """Return the figures on texts in one table, a row a text and tokenizer; then tokens that are words, and terms.

    Compression is left out for two tokenizers: a comparison shows it beside what else it has of the two.
    """
    use = USE if len(report.facts["tokenizers"]) == 2 else COMPRESSION + USE
    return [
        table
        for kind, title, metrics in (
            ("text", "Tokenizers on texts", use),
            ("text", "Tokens that are words", WORDS),
            ("terms", "Terms of a domain", TERMS),
        )
        if (table := _table(report, kind, title, metrics)).rows
    ]


def arms_of(
    report: Report, kind: str, metric: str
) -> tuple[list[str], list[tuple[str, list[Figure | None]]]]:
    """Return the texts that have a metric, and for each tokenizer its figures on them."""
    names: list[str] = report.facts["tokenizers"]
    sections = {
        str(section.facts.get("name", text)): section.sections
        for text, section in report.sections.items()
        if section.kind == kind and any(its.figures.get(metric) for its in section.sections.values())
    }
    arms = [(name, [by[name].figures.get(metric) for by in sections.values()]) for name in names]
    return list(sections), arms


def _table(report: Report, kind: str, title: str, metrics: Metrics) -> Table:
    """Return a row a section and tokenizer, of those metrics that some section has."""
    found = [
        (str(section.facts.get("name", text)), name, [its.figures.get(metric) for metric, _ in metrics])
        for text, section in report.sections.items()
        if section.kind == kind
        for name, its in section.sections.items()
    ]
    shown = [i for i in range(len(metrics)) if any(figures[i] for _, _, figures in found)]
    rows = tuple(
        (escape(text), escape(name), *(amount(figures[i]) for i in shown))
        for text, name, figures in found
        if any(figures)
    )
    heads = [metrics[i][1] for i in shown]
    notes = _notes((metrics[i][1], figures[i]) for i in shown for _, _, figures in found)
    return Table(
        title,
        (kind.removesuffix("s"), "tokenizer", *heads),
        rows,
        "ll" + "r" * len(heads),
        note="; ".join(f"{head}: {escape(note)}" for note, head in notes.items()),
    )


def _notes(figures: Iterable[tuple[str, Figure | None]]) -> dict[str, str]:
    """Return each note, and the first column head that it stands for."""
    out: dict[str, str] = {}
    for head, figure in figures:
        if figure is not None and figure.note:
            out.setdefault(figure.note, head)
    return out
