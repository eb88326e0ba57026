"""A report as one self-contained HTML page: no script, no network, readable on a phone, light and dark.

    write_html(report, Path("report.html"))

Every text is escaped twice over: control and bidi characters by `tokswap.display`, HTML by jinja2's autoescape.
jinja2 and matplotlib are the extra `report`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from tokswap import __version__
from tokswap.display import Table, amount, healing, one_line, tables_of
from tokswap.display.evaluation import has_base, scored
from tokswap.display.leaderboard import evaluation_of, pairs_of, ranked, row_name
from tokswap.display.mixture import by_share
from tokswap.display.text import escape, label, rounded, short_name
from tokswap.display.tokenizer_metrics import PLOTS, arms_of
from tokswap.errors import TokswapError
from tokswap.report import Report
from tokswap.whole_file import write_whole

TEMPLATE = "report.html.jinja"
NEEDED = ("jinja2", "matplotlib")
MOST_HEADLINES = 4


def check_html(path: Path) -> None:
    """Raise TokswapError where `write_html` would fail: a missing library, or a place that can't be written."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TokswapError(
            f"an HTML report needs {' and '.join(missing)}",
            "install them with: pip install 'tokswap[report]'",
        )
    if path.is_dir():
        raise TokswapError(f"{path} is a folder", "give a file for the report, such as report.html")
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise TokswapError(f"the folder {folder} doesn't exist or can't be written", "give another --report")


def write_html(report: Report, path: Path) -> None:
    """Write the page; the file is absent, the old one or complete at every instant. Raises TokswapError."""
    check_html(path)
    page = render_html(report).encode("utf-8", "backslashreplace")
    try:
        write_whole(path, page)
    except OSError as error:
        raise TokswapError(f"{path} can't be written: {error.strerror}", "give another --report") from error


def render_html(report: Report) -> str:
    """Return the page of a report of any kind. Raises TokswapError where jinja2 or matplotlib is missing."""
    check_html(Path("report.html").absolute())
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).with_name("display")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        title=_title(report),
        headline=_headline(report),
        plots=_plots(report),
        tables=[_cells(table) for table in tables_of(report)],
        warnings=[one_line(words) for words in report.all_warnings()],
        version=__version__,
    )


def _title(report: Report) -> str:
    facts = report.facts
    titles = {
        "plan": lambda: (
            f"Plan: {short_name(facts['base'])} onto the tokenizer of {short_name(facts['donor'])}"
        ),
        "transplant": lambda: f"{short_name(facts['base'])} on the tokenizer of {short_name(facts['donor'])}",
        "trim": lambda: f"{short_name(facts['base'])} with a smaller vocabulary",
        "evaluation": lambda: f"Bits per byte of {short_name(facts['model'])}",
        "healing": lambda: f"{short_name(facts['model'])}, healed",
        "leaderboard": lambda: "Leaderboard of tokenizer transplants",
        "comparison": lambda: f"Tokenizers: {short_name(facts['a'])} and {short_name(facts['b'])}",
        "tokenizers": lambda: f"Tokenizers: {', '.join(facts['tokenizers'])}",
        "mixture": lambda: f"What {short_name(facts['tokenizer'])} was trained on",
    }
    return titles.get(report.kind, lambda: label(report.kind))()


def _headline(report: Report) -> list[tuple[str, str]]:
    """Return the two to four figures that a reader wants first, as (amount, words)."""
    if report.kind == "healing":
        return healing.headline(report)
    evaluation = _evaluation(report)
    if evaluation is not None:
        return _scores(evaluation)
    figures = report.figures
    if report.kind in ("plan", "transplant"):
        return [
            (amount(figures["new"]), "rows to make" if report.kind == "plan" else "rows made"),
            (amount(figures["new_rows"]), "rows in all"),
            (rounded(figures["new_parameters"]), "parameters"),
        ]
    if report.kind == "trim":
        return [
            (amount(figures["kept"]), "tokens left"),
            (rounded(figures["parameters_saved"]), "parameters saved"),
            (rounded(figures["new_parameters"]), "parameters left"),
        ]
    if report.kind == "comparison":
        names = [f"only in {short_name(report.facts[side])}" for side in "ab"]
        pairs = zip(("shared_by_bytes", "only_in_a", "only_in_b"), ("shared tokens", *names), strict=True)
        return [(amount(figures[figure]), words) for figure, words in pairs]
    if report.kind == "leaderboard":
        return list(filter(None, (_best_row(report, pair) for pair in pairs_of(report))))[:MOST_HEADLINES]
    if report.kind == "mixture":
        shares = [(amount(one.figures["byte_share"]), label(name)) for name, one in by_share(report)[:3]]
        return [*shares, (amount(figures["slack"]), "in none of the categories")]
    return []


def _best_row(board: Report, pair: str) -> tuple[str, str] | None:
    """Return the least ratio on a pair, and whose it is; None where no row was measured."""
    cells = ranked(board, pair)
    if not cells:
        return None
    ratio = amount(evaluation_of(cells[0]).figures["ratio"])
    return f"{ratio} ×", f"the base's bits: {row_name(cells[0])} on {escape(pair)}, best of {len(cells)}"


def _scores(evaluation: Report) -> list[tuple[str, str]]:
    figures = evaluation.figures
    out = [(amount(figures["bits_per_byte"]), "bits per byte, all texts")]
    if has_base(evaluation):
        out = [
            (amount(figures["base_bits_per_byte"]), "bits per byte of the base"),
            (amount(figures["bits_per_byte"]), "of the new model"),
            (f"{amount(figures['ratio'])} ×", "new over base"),
        ]
    return [*out, (amount(figures["bytes_per_token"]), "bytes per token")]


def _evaluation(report: Report) -> Report | None:
    return report if report.kind == "evaluation" else report.sections.get("evaluation")


def _plots(report: Report) -> list[dict[str, str]]:
    """Return inline SVG and a caption for each plot that the report has data for."""
    from tokswap.display.plots import bits_plot, curve_plot, mixture_plot

    if report.kind == "healing":
        caption = "Bits per byte of held-out text while it trained: fewer are better."
        return [{"svg": curve_plot(healing.points(report)), "caption": caption}]
    if report.kind == "leaderboard":
        return _leaderboard_plots(report)
    evaluation = _evaluation(report)
    if evaluation is not None:
        caption = "Bits per byte: fewer are better. Lines are 95 % intervals."
        return [{"svg": bits_plot(list(scored(evaluation))), "caption": caption}]
    if report.kind == "comparison":
        return _tokenizer_plots(report.sections["metrics"])
    if report.kind == "tokenizers":
        return _tokenizer_plots(report)
    if report.kind == "mixture":
        caption = f"Shares of the training text. Lines are intervals: {report.facts['intervals']}"
        return [{"svg": mixture_plot(by_share(report)), "caption": one_line(caption)}]
    return []


def _tokenizer_plots(metrics: Report) -> list[dict[str, str]]:
    """Return a plot for each figure that is drawn and there: texts down, a bar a tokenizer."""
    from tokswap.display.plots import tokenizers_plot

    out: list[dict[str, str]] = []
    for kind, metric, axis, caption in PLOTS:
        texts, arms = arms_of(metrics, kind, metric)
        if texts:
            out.append({"svg": tokenizers_plot(texts, arms, axis), "caption": caption})
    return out


def _leaderboard_plots(report: Report) -> list[dict[str, str]]:
    """Return two plots for each pair: what the rows cost, and what they expect of new tokens."""
    from tokswap.display.plots import mass_plot, rows_plot

    out: list[dict[str, str]] = []
    for pair in pairs_of(report):
        rows = [(str(cell.facts["row"]), evaluation_of(cell)) for cell in ranked(report, pair)]
        if rows:
            words = f"{label(pair)}: bits per byte, fewer are better. Lines are 95 % intervals."
            out.append({"svg": rows_plot(rows), "caption": words})
            words = f"{label(pair)}: the probability of new tokens beside their share of the text."
            out.append({"svg": mass_plot(rows), "caption": words})
    return out


def _cells(table: Table) -> dict[str, Any]:
    """Return a table for the template; names and values without heads are set as a list of terms."""
    rows = [
        [{"text": cell, "right": table.is_right(i), "head": table.columns[i]} for i, cell in enumerate(row)]
        for row in table.rows
    ]
    return {
        "title": table.title,
        "columns": table.columns if any(table.columns) else (),
        "rows": rows,
        "note": table.note,
    }
