"""From a tokenizer and texts by category to a report of what the tokenizer was trained on."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from tokswap.errors import TokswapError
from tokswap.mixture.answers import byte_shares
from tokswap.mixture.calibration import calibrated
from tokswap.mixture.folds import solve_folds, standard_error
from tokswap.mixture.program import GAP, solve
from tokswap.mixture.replay import replay
from tokswap.mixture.summary import FEW_MERGES, Answer, summarise
from tokswap.mixture.types import MergeList, WordCounts
from tokswap.report import Report

Progress = Callable[[str, int, int], None]

MOST_MERGES = 30_000
"""Merges that are looked at unless more are asked for: those the paper takes for tokenizers of language models."""


def stopping(gap: float | None, minutes: float | None) -> tuple[float, float]:
    """Return the gap that is wanted, None being 0.01, and the seconds there are, None being any number.

    Raises TokswapError for a gap outside 0 … 1, and for no time.
    """
    wanted, limit = GAP if gap is None else gap, inf if minutes is None else minutes
    if not 0 < wanted < 1:
        raise TokswapError(
            f"no gap of {wanted:g} can be proved", "give --gap above 0 and under 1, such as 0.05"
        )
    if not limit > 0:
        raise TokswapError(f"{limit:g} minutes are no time", "give --time-limit more than that")
    return wanted, 60 * limit


def infer(
    name: str,
    merges: MergeList,
    counted: WordCounts,
    *,
    steps: int | None = None,
    gap: float | None = None,
    time_limit: float | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Return the mixture of the categories that explains `steps` merges of a tokenizer called `name`.

    Merges that the list says to skip are replayed and not explained; `steps` counts those behind them, None being
    30,000 or as many as there are. The program is solved to a relative `gap` or for `time_limit` minutes, as
    `stopping` says. Raises TokswapError where nothing is left to explain.
    """
    wanted, seconds = stopping(gap, time_limit)
    skipped = merges.skip
    taken, warnings = _steps(merges, steps)
    events = replay(merges, counted, steps=taken, on_progress=on_progress)
    solved = solve(events, first=skipped, gap=wanted, seconds=seconds, on_progress=on_progress)
    if not solved.merge_frequency[skipped:].any():
        behind = f" behind the {skipped:,} that are skipped" if skipped else ""
        raise TokswapError(
            f"no text holds any of the merges{behind}",
            "give more text, in the languages of the tokenizer" + (", or --skip-merges 0" if skipped else ""),
        )
    if solved.gap > wanted:
        warnings.append(_unproved(solved.gap, wanted))
    folds = solve_folds(solved.known, on_progress=on_progress)
    sizes = events.totals, counted.text_bytes
    shares = byte_shares(solved.alpha, *sizes)
    fold_error = standard_error(byte_shares(folds, *sizes))
    interval = calibrated(shares, fold_error, counted.text_bytes, taken - skipped)
    return summarise(
        Answer(name, merges, counted, events, skipped, solved, shares, fold_error, interval), warnings
    )


def _unproved(reached: float, wanted: float) -> str:
    return (
        f"the linear program was stopped at a gap of {100 * reached:.2g} %, {100 * wanted:.2g} % was wanted: "
        "take more time, or fewer merges"
    )


def _steps(merges: MergeList, asked: int | None) -> tuple[int, list[str]]:
    """Return how many merges to replay, and what is to be said about that."""
    there = len(merges.pairs)
    left = there - merges.skip
    if left <= 0 or (asked is not None and asked < 1):
        raise TokswapError(
            f"{merges.skip:,} of {there:,} merges are skipped, and {left if asked is None else asked:,} are looked at",
            "take at least one with --merges, or skip fewer with --skip-merges",
        )
    taken = merges.skip + min(MOST_MERGES if asked is None else asked, left)
    warnings: list[str] = []
    if asked is not None and asked > left:
        warnings.append(f"{asked:,} merges were asked for and there are {left:,} to look at: all are taken")
    if taken - merges.skip < FEW_MERGES:
        warnings.append(
            f"{taken - merges.skip:,} merges say little: {FEW_MERGES} are the fewest this was tried with"
        )
    return taken, warnings
