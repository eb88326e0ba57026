"""The report of an inferred mixture: shares with intervals, what no mixture explains, and how it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.display.text import escape
from tokswap.mixture.answers import by_classification, by_efficiency, by_script, tokens_after, unexplained
from tokswap.mixture.calibration import COVERAGE, SMALL_TEXT, coverage_words
from tokswap.mixture.events import Events
from tokswap.mixture.program import Solution
from tokswap.mixture.types import MergeList, WordCounts
from tokswap.report import Figure, Report

EXAMPLES = 20
"""Merges listed as unexplained or missing."""

FEW_MERGES = 300
"""The fewest that the experiments were made with; a warning names fewer."""

LARGE_PART = 0.1
"""From this part of the merges, or of their frequency, on what no category holds says that one is missing."""

INTERVAL = "interval with the coverage that facts.coverage gives"


@dataclass(frozen=True)
class Answer:
    """Everything that the report is made of."""

    name: str
    merges: MergeList
    counted: WordCounts
    events: Events
    skip: int
    solved: Solution
    shares: NDArray[np.float64]
    """(n,): of bytes."""
    fold_error: NDArray[np.float64]
    """(n,): standard errors of the shares of bytes, from folds of the merges alone."""
    interval: NDArray[np.float64]
    """(2, n): of the shares of bytes."""


def summarise(answer: Answer, warnings: Sequence[str] = ()) -> Report:
    """Return the report of an answer, with `warnings` of how it was got before its own."""
    slack = answer.solved.merge_slack
    frequency = answer.solved.merge_frequency[answer.skip :]
    missing = answer.skip + np.flatnonzero(~frequency.any(1))
    held = float((frequency @ answer.solved.alpha).sum())
    slack_share = float(slack.sum()) / (float(slack.sum()) + held)
    return Report(
        kind="mixture",
        facts=_facts(answer, missing),
        figures=_figures(answer, slack_share, len(missing)),
        sections=_sections(answer),
        warnings=(*warnings, *_warnings(answer, slack_share, len(missing))),
    )


def _facts(answer: Answer, missing: NDArray[np.int64]) -> dict[str, Any]:
    merges, slack = answer.merges, answer.solved.merge_slack
    frequency = answer.solved.merge_frequency @ answer.solved.alpha
    lacking = np.flatnonzero(slack > 0)
    return {
        "tokenizer": answer.name,
        "notes": list(merges.notes),
        "shared_prefix": list(merges.shared_prefix or ()),
        "intervals": coverage_words(),
        "coverage": dict(COVERAGE),
        "unexplained": [
            {"merge": one.rank, "token": escape(one.token), "slack": one.slack, "frequency": one.frequency}
            for one in unexplained(merges, slack, frequency, most=EXAMPLES)
        ],
        "slack_by_script": by_script(merges, lacking.tolist(), slack[lacking].tolist()),
        "missing": [escape(merges.tokens[merges.results[t]]) for t in missing[:EXAMPLES]],
        "missing_by_script": by_script(merges, missing.tolist(), [1] * len(missing)),
    }


def _warnings(answer: Answer, slack_share: float, missing: int) -> list[str]:
    out: list[str] = []
    steps = answer.events.steps - answer.skip
    if slack_share > LARGE_PART:
        out.append(
            f"{100 * slack_share:.0f} % of what the merges need is in none of the categories: one is missing"
        )
    if missing > LARGE_PART * steps:
        out.append(f"{missing:,} of {steps:,} merges are in no category's text: one is missing")
    if missing and steps - missing < FEW_MERGES:
        out.append(
            f"the texts hold {steps - missing:,} of {steps:,} merges: the shares are hardly more than a guess"
        )
    sizes = zip(answer.counted.categories, answer.counted.text_bytes, strict=True)
    small = [escape(name) for name, size in sizes if size < SMALL_TEXT]
    if small:
        out.append(
            f"less than {SMALL_TEXT // 1000} kB of text of {', '.join(small)}: errors can be larger than the intervals"
        )
    prefix = answer.merges.shared_prefix
    if prefix is not None and answer.skip < prefix[1] < len(answer.merges.pairs):
        out.append(
            f"the first {prefix[1]:,} merges are those of {prefix[0]} and tell of its text: try --skip-merges auto"
        )
    return out


def _figures(answer: Answer, slack_share: float, missing: int) -> dict[str, Figure]:
    events, solved = answer.events, answer.solved
    return {
        "merges": Figure(events.steps - answer.skip, "merges", note=f"of {len(answer.merges.pairs):,}"),
        "skipped": Figure(answer.skip, "merges", note="the first ones, replayed and not explained"),
        "missing": Figure(missing, "merges", note="in no category's text"),
        "unexplained": Figure(
            int((solved.merge_slack > 0).sum()), "merges", note="learnt earlier than the mixture lets them"
        ),
        "slack": Figure(slack_share, "share", note="of what the merges need, in none of the categories"),
        "text": Figure(int(answer.counted.text_bytes.sum()), "bytes"),
        "words": Figure(len(answer.counted.words), "words", note="distinct"),
        "pairs": Figure(len(events.pairs), "pairs", note="distinct, over all steps"),
        "objective": Figure(solved.objective, "pairs per million"),
        "lower_bound": Figure(solved.lower_bound, "pairs per million", note="that no mixture can be under"),
        "gap": Figure(solved.gap, "share", note="how far the objective can be above the optimum"),
        "rows": Figure(solved.rows, "rows", note=f"of the linear program, in {solved.rounds} rounds"),
    }


def _sections(answer: Answer) -> dict[str, Report]:
    counted, events = answer.counted, answer.events
    tokens = tokens_after(events, counted)
    efficiency = by_efficiency(counted.text_bytes, tokens)
    classified = by_classification(answer.solved.merge_frequency[answer.skip :])
    out: dict[str, Report] = {}
    for i, name in enumerate(counted.categories):
        low, high = answer.interval[:, i].tolist()
        figures = {
            "byte_share": Figure(float(answer.shares[i]), "share", low, high, INTERVAL),
            "fold_error": Figure(
                float(answer.fold_error[i]), "share", note="standard error from folds of the merges alone"
            ),
            "pair_share": Figure(float(answer.solved.alpha[i]), "share"),
            "efficiency_share": Figure(float(efficiency[i]), "share", note="baseline: bytes per token"),
            "classification_share": Figure(
                float(classified[i]), "share", note="baseline: tokens by their most frequent category"
            ),
            "uniform_share": Figure(1 / len(counted.categories), "share", note="baseline"),
            "text": Figure(int(counted.text_bytes[i]), "bytes"),
            "pairs": Figure(int(events.totals[i]), "pairs"),
            "tokens": Figure(int(tokens[i]), "tokens"),
        }
        out[name] = Report("category", figures=figures)
    return out
