"""`--fail-if`: one comparison that turns an evaluation into yes or no, for scripts and CI."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches

from tokswap.errors import TokswapError
from tokswap.report import Figure, Report


@dataclass(frozen=True)
class Metric:
    """What a gate's word means: a figure, and the figure for a limit that ends in x (a multiple)."""

    figure: str
    multiple: str
    words: str
    multiple_words: str


METRICS = {
    "bpb": Metric("bits_per_byte", "ratio", "bits per byte", "times the base's bits per byte"),
    "mass": Metric(
        "new_token_mass",
        "new_token_mass_ratio",
        "probability mass on new tokens",
        "times the share of new tokens as their mass",
    ),
    "greedy": Metric(
        "greedy_new_share",
        "greedy_new_ratio",
        "share of new tokens among the likeliest",
        "times the share of new tokens among the likeliest",
    ),
}

EXAMPLES = "write it like bpb>1.10x (times the base), bpb>1.2 (bits per byte), bpb[french]>1.2x or mass>0.3"

NEEDS_BASE = "name the base model with --against"

EXPRESSION = re.compile(
    r"\s*(?P<metric>[a-z_]+)\s*(?:\[(?P<text>[^\[\]]+)\])?\s*>\s*(?P<limit>\d+(?:\.\d+)?|\.\d+)\s*(?P<x>x?)\s*"
)


@dataclass(frozen=True)
class Gate:
    """A parsed expression: fail if the figure of `text` (None: all texts together) is above `limit`."""

    metric: str
    limit: float
    multiple: bool
    text: str | None = None


def parse_gate(expression: str) -> Gate:
    """Parse `METRIC[TEXT]>LIMIT` or `METRIC>LIMITx`; raises TokswapError with examples.

    >>> parse_gate("bpb[french]>1.2x")
    Gate(metric='bpb', limit=1.2, multiple=True, text='french')
    """
    found = EXPRESSION.fullmatch(expression)
    if not found:
        raise TokswapError(f"--fail-if {expression!r} is no comparison", EXAMPLES)
    if found["metric"] not in METRICS:
        known = ", ".join(METRICS)
        raise TokswapError(f"--fail-if knows {known}, but no {found['metric']!r}", EXAMPLES)
    text = found["text"].strip() if found["text"] else None
    return Gate(found["metric"], float(found["limit"]), bool(found["x"]), text)


def check_gate(expression: str, texts: Collection[str], *, compared: bool) -> Gate:
    """Parse an expression before anything is scored; `compared` tells whether there is a base to compare with.

    Raises TokswapError for what `gate` would refuse after the work: a malformed expression, a text that isn't
    among `texts`, a figure that needs a base.
    """
    wanted = parse_gate(expression)
    _check_text(wanted.text, texts)
    if not compared and (wanted.multiple or wanted.metric != "bpb"):
        raise TokswapError(f"--fail-if {expression!r} compares with a base, and there is none", NEEDS_BASE)
    return wanted


def gate(report: Report, expression: str) -> tuple[bool, str]:
    """Return whether an evaluation fails `expression`, and a sentence that says why or why not.

    A figure that is no number fails. Raises TokswapError for a malformed expression, a text that wasn't scored,
    or a figure that the report lacks.
    """
    wanted = parse_gate(expression)
    metric = METRICS[wanted.metric]
    name = metric.multiple if wanted.multiple else metric.figure
    figures = _section(report, wanted.text).figures
    if name not in figures:
        raise TokswapError(
            f"--fail-if {expression!r} needs the figure {name}, which this evaluation hasn't got",
            f"{NEEDS_BASE}, and check that the tokenizers differ",
        )
    figure = figures[name]
    failed = not figure.value <= wanted.limit
    words = metric.multiple_words if wanted.multiple else metric.words
    where = f" on {wanted.text}" if wanted.text else ""
    verdict = "above" if failed else "within"
    return failed, f"{_number(figure)} {words}{where}: {verdict} the limit of {wanted.limit:g}"


def _number(figure: Figure) -> str:
    shown = f"{figure.value:.4g}"
    if figure.low is None or figure.high is None:
        return shown
    return f"{shown} ({figure.low:.4g} to {figure.high:.4g})"


def _section(report: Report, text: str | None) -> Report:
    _check_text(text, report.sections)
    return report if text is None else report.sections[text]


def _check_text(text: str | None, known: Collection[str]) -> None:
    if text is None or text in known:
        return
    near = get_close_matches(text, known, n=1, cutoff=0)
    hint = f"did you mean {near[0]!r}?" if near else "the report has no texts"
    raise TokswapError(f"--fail-if names the text {text!r}, which isn't scored", hint)
