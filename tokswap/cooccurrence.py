"""Which base tokens translate a new token: IBM model 1 over the tokens of line-aligned texts.

Each base token of a line is taken to come from one of its new tokens, or from none. How likely b comes from t is
found by expectation and maximisation, with no regard to order (Brown and others, 1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError

ITERATIONS = 8
# Different tokens of a line at the most, on either side: longer lines say little and cost their square.
LONGEST_LINE = 256
# Pairs of tokens that share a line: 56 bytes each while they are counted.
MOST_PAIRS = 20_000_000
NO_TOKEN = -1  # what stands in every line for a base token that nothing translates


@dataclass(frozen=True)
class Pairs:
    """Token pairs of all lines: m occurrences of p different (new, base) pairs.

    `new`, `base` Int[p]; `pair` Int[m] which of them; `slot` Int[m] the base token of its line; `times` Float[m] how
    often the new token stands in the line; `wanted` Float[slots] how often the base token does.
    """

    new: NDArray[np.int64]
    base: NDArray[np.int64]
    pair: NDArray[np.int64]
    slot: NDArray[np.int64]
    times: NDArray[np.float64]
    wanted: NDArray[np.float64]


def translation_table(
    base_lines: Sequence[Sequence[int]], new_lines: Sequence[Sequence[int]], iterations: int = ITERATIONS
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return (new Int[p], base Int[p], probability Float[p]): P(base | new) of every pair that shares a line.

    The lines are token ids, line i of one being the translation of line i of the other. Raises TokswapError where they
    hold more pairs than memory is given for.
    """
    pairs = _pairs(base_lines, new_lines)
    chance = maximise(pairs, iterations)
    real = pairs.new != NO_TOKEN
    return pairs.new[real], pairs.base[real], chance[real]


def maximise(pairs: Pairs, iterations: int) -> NDArray[np.float64]:
    """Return Float[p]: P(base | new) after some rounds of expectation and maximisation from equal chances."""
    chance = np.ones(len(pairs.new))
    _, owner = np.unique(pairs.new, return_inverse=True)
    for _ in range(iterations):
        share = pairs.times * chance[pairs.pair]
        total = np.bincount(pairs.slot, share, minlength=len(pairs.wanted))
        share *= pairs.wanted[pairs.slot] / np.maximum(total[pairs.slot], 1e-300)
        counts = np.bincount(pairs.pair, share, minlength=len(chance))
        chance = counts / np.maximum(np.bincount(owner, counts)[owner], 1e-300)
    return chance


def _pairs(base_lines: Sequence[Sequence[int]], new_lines: Sequence[Sequence[int]]) -> Pairs:
    news: list[NDArray[Any]] = []
    bases: list[NDArray[Any]] = []
    slots: list[NDArray[Any]] = []
    times: list[NDArray[Any]] = []
    wanted: list[NDArray[Any]] = [np.zeros(0)]
    first = count = 0
    for base_line, new_line in zip(base_lines, new_lines, strict=True):
        base, base_counts = np.unique(np.asarray(base_line, dtype=np.int64), return_counts=True)
        new, new_counts = np.unique(np.asarray([NO_TOKEN, *new_line], dtype=np.int64), return_counts=True)
        if max(len(base), len(new)) > LONGEST_LINE:
            continue
        news.append(np.tile(new, len(base)))
        times.append(np.tile(new_counts, len(base)))
        bases.append(np.repeat(base, len(new)))
        slots.append(np.repeat(np.arange(first, first + len(base)), len(new)))
        wanted.append(base_counts)
        first += len(base)
        count += len(base) * len(new)
        if count > MOST_PAIRS:
            raise TokswapError(
                f"the parallel text pairs more than {MOST_PAIRS:,} tokens",
                "give fewer lines, or shorter ones: some ten thousand sentences are enough",
            )
    if not count:
        raise TokswapError("the parallel text pairs no tokens", "its lines are empty, or all too long")
    new_of, base_of = np.concatenate(news), np.concatenate(bases)
    width = int(base_of.max()) + 1
    keys, pair = np.unique((new_of - NO_TOKEN) * width + base_of, return_inverse=True)
    return Pairs(
        new=keys // width + NO_TOKEN,
        base=keys % width,
        pair=pair,
        slot=np.concatenate(slots),
        times=np.concatenate(times).astype(np.float64),
        wanted=np.concatenate(wanted).astype(np.float64),
    )
