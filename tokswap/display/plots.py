"""Plots as inline SVG that takes its text colour from the page, so that it suits light and dark alike."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tokswap.display.text import PERCENT, amount, escape
from tokswap.report import Figure, Report

WIDTH_INCHES = 4.2  # a little less than a phone at the font size below; a desktop page limits its growth
INCHES_A_TEXT = 0.46
MARGIN_INCHES = 0.75
INCHES_A_LEGEND_LINE, LEGEND_COLUMNS = 0.2, 2
BAR = 0.36  # of the distance between two texts, for two bars
BARS = 2  # more than so many make the plot taller
# Stands for the page's own text colour, which SVG calls currentColor and matplotlib doesn't know.
INK = "#010203"
# Okabe and Ito's blue, orange and green: apart for every kind of colour vision, and on white and black.
FIRST, SECOND, THIRD = "#0072b2", "#e69f00", "#009e73"
# The rest of them, for more arms; behind the last the first comes again.
COLOURS = (FIRST, SECOND, THIRD, "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tokswap",  # the same data, the same file
    "font.size": 9.5,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def bits_plot(scored: Sequence[tuple[str, Report]]) -> str:
    """Return bars of bits per byte by text, the base's above the model's where there is one."""
    texts = [name for name, _ in scored]
    arms = [
        ("base", FIRST, [its.figures.get("base_bits_per_byte") for _, its in scored]),
        ("model", SECOND, [its.figures.get("bits_per_byte") for _, its in scored]),
    ]
    return _bars(texts, [arm for arm in arms if any(arm[2])], "bits per byte")


def tokenizers_plot(texts: Sequence[str], arms: Sequence[tuple[str, list[Figure | None]]], axis: str) -> str:
    """Return bars of one figure by text, a bar a tokenizer."""
    coloured = [(name, COLOURS[i % len(COLOURS)], figures) for i, (name, figures) in enumerate(arms)]
    return _bars(texts, coloured, axis)


def rows_plot(rows: Sequence[tuple[str, Report]]) -> str:
    """Return bars of bits per byte by row of a leaderboard, over lines for the base and the segmentation."""
    figures = rows[0][1].figures
    lines = [("base", FIRST, figures.get("base_bits_per_byte"))]
    borders = (its.figures.get("segmentation_bits_per_byte") for _, its in rows)
    lines.append(("base at the new borders", THIRD, next(filter(None, borders), None)))
    arm = ("new model", SECOND, [its.figures.get("bits_per_byte") for _, its in rows])
    found = [(name, colour, float(figure.value)) for name, colour, figure in lines if figure is not None]
    return _bars([name for name, _ in rows], [arm], "bits per byte, all texts", found)


def mass_plot(rows: Sequence[tuple[str, Report]]) -> str:
    """Return bars of what new tokens are expected, and what they are in the text, by row of a leaderboard."""
    arms = [
        (name, colour, [its.figures.get(figure) for _, its in rows])
        for name, colour, figure in (
            ("share of the text", FIRST, "new_token_share"),
            ("probability", SECOND, "new_token_mass"),
        )
    ]
    return _bars([name for name, _ in rows], arms, "new tokens")


def mixture_plot(categories: Sequence[tuple[str, Report]]) -> str:
    """Return bars of the shares of categories in a training text."""
    shares: list[Figure | None] = [one.figures["byte_share"] for _, one in categories]
    return _bars([name for name, _ in categories], [("inferred", FIRST, shares)], "share of bytes")


def curve_plot(points: Sequence[Mapping[str, Any]]) -> str:
    """Return a line of bits per byte of held-out text over the seconds of a training."""
    with _canvas(3 * INCHES_A_TEXT) as (axes, drawn):
        seconds, bits = ([float(point[name]) for point in points] for name in ("seconds", "held_out_bits"))
        axes.plot(seconds, bits, color=SECOND, marker="o", markersize=4, linewidth=1.5)
        axes.set_xlabel("seconds")
        axes.set_ylabel("bits per byte")
        axes.spines[["top", "right"]].set_visible(False)
    return _inline(drawn.getvalue(), "held-out bits per byte over seconds", "Line")


def _bars(
    texts: Sequence[str],
    arms: Sequence[tuple[str, str, list[Figure | None]]],
    axis: str,
    lines: Sequence[tuple[str, str, float]] = (),
) -> str:
    """Draw horizontal bars, a group a text from top to bottom, over vertical `lines`; return the SVG element."""
    from matplotlib.ticker import PercentFormatter

    crowd = max(1.0, len(arms) / BARS)
    legend_inches = INCHES_A_LEGEND_LINE * max(0, (len(arms) + 1) // LEGEND_COLUMNS - 1)
    with _canvas(INCHES_A_TEXT * len(texts) * crowd + legend_inches) as (axes, drawn):
        for i, (name, colour, figures) in enumerate(arms):
            place = (i - (len(arms) - 1) / 2) * BAR / crowd
            _draw_arm(axes, name, colour, figures, offset=place, height=BAR / crowd)
        for name, colour, value in lines:
            axes.axvline(value, color=colour, linewidth=1.5, linestyle="--", label=name)
        axes.set_yticks(range(len(texts)), [escape(text) for text in texts])
        axes.invert_yaxis()
        axes.set_xlabel(axis)
        if all(figure.unit in PERCENT for _, _, figures in arms for figure in figures if figure is not None):
            axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.12)
        axes.figure.legend(loc="outside upper left", ncols=LEGEND_COLUMNS, frameon=False)
    return _inline(drawn.getvalue(), axis)


@contextmanager
def _canvas(inches: float) -> Generator[tuple[Any, io.StringIO]]:
    """Yield axes of a drawing as tall as its content and its margin; the buffer holds its SVG after the block."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context(STYLE):
        drawing = Canvas(figsize=(WIDTH_INCHES, MARGIN_INCHES + inches), layout="constrained")
        FigureCanvasSVG(drawing)
        buffer = io.StringIO()
        yield drawing.add_subplot(), buffer
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a glyph that matplotlib's font lacks: the page's fonts draw it
            drawing.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)


def _draw_arm(
    axes: Any, name: str, colour: str, figures: Sequence[Figure | None], *, offset: float, height: float
) -> None:
    shown = [(i, figure) for i, figure in enumerate(figures) if figure is not None]
    places = [i + offset for i, _ in shown]
    values = [figure.value for _, figure in shown]
    axes.barh(places, values, height=height, color=colour, label=name)
    for place, (_, figure) in zip(places, shown, strict=True):
        end = figure.value
        if figure.low is not None and figure.high is not None:
            axes.hlines(place, figure.low, figure.high, color=INK, linewidth=1)
            end = max(end, figure.high)
        axes.annotate(
            amount(figure), (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8
        )


def _inline(svg: str, words: str, kind: str = "Bar") -> str:
    """Return the element alone, sized by the page, with the page's text colour and a name for screen readers."""
    element = svg[svg.index("<svg") :].replace(INK, "currentColor")
    head, rest = element.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{kind} plot: {words}">{rest}'
