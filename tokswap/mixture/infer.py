"""From a tokenizer and texts by category to a report of what the tokenizer was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.display.text import escape
from tokswap.errors import TokswapError
from tokswap.mixture.answers import (
    by_classification,
    by_efficiency,
    by_script,
    byte_shares,
    tokens_after,
    unexplained,
)
from tokswap.mixture.calibration import COVERAGE, calibrated
from tokswap.mixture.events import Events
from tokswap.mixture.folds import solve_folds
from tokswap.mixture.program import GAP, Solution, solve
from tokswap.mixture.replay import replay
from tokswap.mixture.types import MergeList, WordCounts
from tokswap.report import Figure, Report

Progress = Callable[[str, int, int], None]

MOST_MERGES = 30_000
"""Merges that are looked at unless more are asked for: those the paper takes for tokenizers of language models."""

FEW_MERGES = 300
"""With fewer than this the paper's errors are ten times larger; a warning says so."""

EXAMPLES = 20
"""Merges listed as unexplained or missing."""

LARGE_SLACK_SHARE = 0.1
"""From this part of the frequency of all merges on, slack says that a category is missing."""


@dataclass(frozen=True)
class _Answer:
    """Everything that the report is made of."""

    name: str
    merges: MergeList
    counted: WordCounts
    events: Events
    skip: int
    solved: Solution
    shares: NDArray[np.float64]
    """(n,): of bytes."""
    interval: NDArray[np.float64]
    """(2, n): of the shares of bytes."""


def infer(
    name: str,
    merges: MergeList,
    counted: WordCounts,
    *,
    steps: int | None = None,
    gap: float = GAP,
    on_progress: Progress | None = None,
) -> Report:
    """Return the mixture of the categories that explains the first `steps` merges of a tokenizer called `name`.

    Merges that the list says to skip are replayed and not explained. `steps` None takes 30,000 beyond those, or as
    many as there are. Raises TokswapError where nothing is left to explain.
    """
    skipped = merges.skip
    taken, warnings = _steps(merges, steps)
    events = replay(merges, counted, steps=taken, on_progress=on_progress)
    solved = solve(events, first=skipped, gap=gap, on_progress=on_progress)
    if not solved.merge_frequency[skipped:].any():
        raise TokswapError(
            "no text holds any of the merges",
            "give text in the languages of the tokenizer, and fewer --skip-merges",
        )
    folds = solve_folds(solved.master, on_progress=on_progress)
    sizes = events.totals, counted.text_bytes
    shares = byte_shares(solved.alpha, *sizes)
    interval = calibrated(shares, byte_shares(folds, *sizes), counted.text_bytes)
    return _report(_Answer(name, merges, counted, events, skipped, solved, shares, interval), warnings)


def _steps(merges: MergeList, asked: int | None) -> tuple[int, list[str]]:
    """Return how many merges to replay, and what is to be said about that."""
    there = len(merges.pairs)
    taken = min(merges.skip + MOST_MERGES if asked is None else asked, there)
    warnings: list[str] = []
    if taken <= merges.skip:
        raise TokswapError(
            f"{merges.skip:,} merges are skipped, and {taken:,} are looked at: none is left",
            f"take more with --merges (there are {there:,}), or skip fewer with --skip-merges",
        )
    if asked is not None and asked > there:
        warnings.append(
            f"{asked:,} merges were asked for and the tokenizer has {there:,}: all of them are taken"
        )
    if taken - merges.skip < FEW_MERGES:
        warnings.append(
            f"{taken - merges.skip:,} merges say little: shares can be wrong by ten percentage points"
        )
    return taken, warnings


def _report(answer: _Answer, warnings: list[str]) -> Report:
    slack = answer.solved.merge_slack
    frequency = answer.solved.merge_frequency @ answer.solved.alpha
    missing = answer.skip + np.flatnonzero(~answer.solved.merge_frequency[answer.skip :].any(1))
    worst = unexplained(answer.merges, slack, frequency, most=EXAMPLES)
    explained = frequency[answer.skip :].sum()
    slack_share = float(slack.sum() / max(slack.sum() + explained, 1e-300))
    if slack_share > LARGE_SLACK_SHARE:
        warnings.append(
            f"{100 * slack_share:.0f} % of what the merges need is in none of the categories: one is missing"
        )
    prefix = answer.merges.shared_prefix
    if prefix is not None and answer.skip < prefix[1]:
        warnings.append(
            f"the first {prefix[1]:,} merges are those of {prefix[0]} and tell of its text: try --skip-merges auto"
        )
    return Report(
        kind="mixture",
        facts={
            "tokenizer": answer.name,
            "notes": list(answer.merges.notes),
            "shared_prefix": list(answer.merges.shared_prefix or ()),
            "intervals": COVERAGE,
            "unexplained": [
                {
                    "merge": one.rank,
                    "token": escape(one.token),
                    "slack": one.slack,
                    "frequency": one.frequency,
                }
                for one in worst
            ],
            "slack_by_script": by_script(answer.merges, *_positive(slack)),
            "missing": [escape(_token(answer.merges, t)) for t in missing[:EXAMPLES].tolist()],
            "missing_by_script": by_script(answer.merges, missing.tolist(), [1] * len(missing)),
        },
        figures=_figures(answer, slack_share, len(missing)),
        sections=_sections(answer),
        warnings=tuple(warnings),
    )


def _positive(slack: NDArray[np.float64]) -> tuple[list[int], list[float]]:
    there = np.flatnonzero(slack > 0)
    return there.tolist(), slack[there].tolist()


def _token(merges: MergeList, rank: int) -> bytes:
    return merges.tokens[merges.results[rank]]


def _figures(answer: _Answer, slack_share: float, missing: int) -> dict[str, Figure]:
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


def _sections(answer: _Answer) -> dict[str, Report]:
    counted, events = answer.counted, answer.events
    tokens = tokens_after(events, counted)
    efficiency = by_efficiency(counted.text_bytes, tokens)
    classified = by_classification(answer.solved.merge_frequency[answer.skip :])
    out: dict[str, Report] = {}
    for i, name in enumerate(counted.categories):
        low, high = answer.interval[:, i].tolist()
        figures = {
            "byte_share": Figure(float(answer.shares[i]), "share", low, high),
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
