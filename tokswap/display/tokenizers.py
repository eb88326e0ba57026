"""Tables of an inspection and of a comparison of two tokenizers."""

from __future__ import annotations

from typing import Any

from tokswap.display.tables import Table, pairs
from tokswap.display.text import amount, escape, label, safe, words
from tokswap.display.tokenizer_metrics import metrics_tables
from tokswap.report import Figure, Report


def inspection_tables(report: Report) -> list[Table]:
    """Return the source, its vocabulary, special tokens, embeddings, and how a text is cut."""
    sections = report.sections
    out = [_source(report), _vocabulary(report), _special_tokens(report)]
    if "embeddings" in sections:
        out += [_embeddings(sections["embeddings"])]
    if "cut" in sections:
        out += [_cut(sections["cut"])]
    return [table for table in out if table.rows]


def comparison_tables(report: Report) -> list[Table]:
    """Return shared tokens, traits of each side, compression by text, and special roles."""
    facts = report.facts
    shared = [(label(name), _noted(figure)) for name, figure in report.figures.items()]
    shared += [(f"only in {side}, as", listed(facts[f"only_in_{side}"])) for side in "ab"]
    roles = tuple(
        (label(role), *(_maybe(text) for text in texts)) for role, texts in facts["special_roles"].items()
    )
    return [
        pairs("Tokens", [("a", escape(facts["a"])), ("b", escape(facts["b"])), *shared]),
        _traits(report),
        _texts(report),
        Table("Special tokens", ("role", "a", "b"), roles),
        *metrics_tables(report.sections["metrics"]),
    ]


def _source(report: Report) -> Table:
    facts = report.facts
    added = "put before a text" if facts["start_token_is_added"] else "not put before a text"
    rows = [
        ("source", words(facts["source"])),
        ("folder", words(facts["folder"])),
        ("architecture", words(facts["architecture"])),
        ("tokenizer", words(facts["tokenizer"])),
        ("normalises with", words(facts["normalizer"])),
        ("cuts with", words(facts["pre_tokenizer"])),
        ("start token", f"{words(facts['start_token'])}, {added}"),
        ("chat template", words(facts["chat_template"])),
    ]
    return pairs("Source", rows)


def _vocabulary(report: Report) -> Table:
    return pairs("Vocabulary", [(label(name), _noted(figure)) for name, figure in report.figures.items()])


def _special_tokens(report: Report) -> Table:
    rows = tuple(
        (
            str(entry["id"]),
            escape(entry["text"]),
            words(entry["roles"]) + ("" if entry["has_row"] else " (no row)"),
        )
        for entry in report.facts["special_tokens"]
    )
    return Table("Special tokens with a role", ("id", "token", "roles"), rows, "rll")


def _embeddings(report: Report) -> Table:
    rows = [
        (entry["role"], f"{escape(entry['name'])}  {entry['dtype']} {_shape(entry['shape'])}")
        for entry in report.facts["tensors"]
    ]
    tied = {True: "tied: one matrix for input and output", False: "untied", None: "unclear"}
    rows.append(("embeddings", tied[report.facts["tied"]]))
    rows += [(name, amount(figure)) for name, figure in report.figures.items()]
    return pairs("Weights", rows)


def _shape(shape: list[int]) -> str:
    return " × ".join(f"{size:,}" for size in shape)


def _cut(report: Report) -> Table:
    rows = tuple((str(p["id"]), _quoted(p["piece"]), str(p["bytes"])) for p in report.facts["pieces"])
    figures = report.figures
    note = f"{amount(figures['tokens'])} tokens, {amount(figures['bytes'])}"
    return Table("How the text is cut", ("id", "piece", "bytes"), rows, "rlr", note=note)


def _traits(report: Report) -> Table:
    a, b = report.sections["a"], report.sections["b"]
    rows = [(label(name), _noted(a.figures[name]), _noted(b.figures[name])) for name in a.figures]
    rows += [
        (label(name), listed(a.facts[name]), listed(b.facts[name])) for name in a.facts if name != "source"
    ]
    return Table("Each tokenizer", ("", "a", "b"), tuple(rows))


def listed(value: Any) -> str:
    """Quote the tokens of a list, so that their spaces show; other values as they are."""
    return ", ".join(map(_quoted, value)) or "–" if isinstance(value, list) else words(value)


def _quoted(token: str) -> str:
    """Quote a token that the report holds escaped, so that its spaces show."""
    return f"“{safe(token)}”"


def _texts(report: Report) -> Table:
    rows = tuple(
        (
            escape(name),
            *(
                amount(f[f"{side}_{what}"])
                for what in ("bytes_per_token", "tokens_per_word")
                for side in "ab"
            ),
            amount(f["ratio"]),
        )
        for name, f in ((name, text.figures) for name, text in report.sections["texts"].sections.items())
    )
    columns = ("text", "bytes/token a", "bytes/token b", "tokens/word a", "tokens/word b", "tokens b/a")
    return Table("Compression", columns, rows, "lrrrrr")


def _maybe(text: str | None) -> str:
    return "–" if text is None else escape(text)


def _noted(figure: Figure) -> str:
    return amount(figure) + (f" ({figure.note})" if figure.note else "")
