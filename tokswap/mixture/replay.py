"""The replay of a merge list on word counts, as the changes of pair counts that each merge makes.

A word is cut and merged by itself, so its replay is short and is done once, however often the word occurs and in
however many categories. Nothing is tokenised again. (Hayase et al. 2024, arXiv:2407.16607, section 3, whose
code counts pairs with a changed tokenizer library instead.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.mixture.events import Events, Run, merge_runs, numbered
from tokswap.mixture.kernels import RankTable, rank_table, replay_words, summed
from tokswap.mixture.types import UNKNOWN, MergeList, WordCounts

CHUNK_PAIRS = 400_000
"""Adjacent pairs replayed at once; their changes take about 100 MB."""

CHANGES_A_PAIR = 6
"""At most: its own start, and -3 +2 for the merge that can remove it."""

CODE_BITS = 63


@dataclass(frozen=True)
class _Chunk:
    """Parts of words with at least one pair: part i is symbols[starts[i]:starts[i + 1]] of the word words[i]."""

    symbols: NDArray[np.int32]
    starts: NDArray[np.int64]
    words: NDArray[np.int64]


def replay(
    merges: MergeList,
    counted: WordCounts,
    *,
    steps: int,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Events:
    """Return how the counts of all pairs change over the first `steps` merges, by category.

    Merges are applied in order, each once, to all words; overlapping pairs count ("aaa" holds (a, a) twice).
    Raises TokswapError where a category holds no pair, and ValueError for steps outside 1 … T.
    """
    if not 1 <= steps <= len(merges.pairs):
        raise ValueError(f"{steps} steps of a list of {len(merges.pairs)}")
    size = _symbols(merges)
    if (steps + 1) * size * size >= 2**CODE_BITS:
        raise TokswapError(
            f"{steps:,} merges over {size:,} symbols are more than pairs can be numbered for",
            "take fewer with --merges",
        )
    table = rank_table(merges.pairs[: steps - 1].astype(np.int64), size)
    runs: list[Run] = []
    done, total = 0, len(counted.words)
    for chunk in _chunks(merges, counted):
        runs.append(_run(chunk, counted, table, merges, size))
        _merge_alike(runs)
        done = int(chunk.words[-1]) + 1
        if on_progress is not None:
            on_progress("replay", done, total)
    while len(runs) > 1:
        runs.append(merge_runs(runs.pop(), runs.pop()))
    events = numbered(runs[0] if runs else Run.empty(), merges.pairs[:steps], size, len(counted.categories))
    _require_pairs(events, counted)
    return events


def _symbols(merges: MergeList) -> int:
    """Return how many symbols there are: one more than the highest index in use."""
    highest = max(merges.alphabet.values(), default=0)
    return int(max(highest, merges.pairs.max(initial=0), merges.results.max(initial=0))) + 1


def _chunks(merges: MergeList, counted: WordCounts) -> Iterator[_Chunk]:
    """Yield words cut into symbols, about CHUNK_PAIRS pairs at a time; parts of one symbol hold no pair."""
    symbols: list[int] = []
    starts, words = [0], list[int]()
    for number, word in enumerate(counted.words):
        for part in _known_parts(merges.symbols(word)):
            symbols += part
            starts.append(len(symbols))
            words.append(number)
        if len(symbols) - len(words) >= CHUNK_PAIRS:
            yield _chunk(symbols, starts, words)
            symbols, starts, words = [], [0], []
    if words:
        yield _chunk(symbols, starts, words)


def _known_parts(symbols: list[int]) -> Iterator[list[int]]:
    """Yield the parts, of two symbols or more, between characters that the tokenizer has no symbol for."""
    if UNKNOWN not in symbols:
        parts = [symbols]
    else:
        parts = [list(part) for known, part in groupby(symbols, UNKNOWN.__ne__) if known]
    yield from (part for part in parts if len(part) > 1)


def _chunk(symbols: list[int], starts: list[int], words: list[int]) -> _Chunk:
    return _Chunk(
        np.asarray(symbols, dtype=np.int32),
        np.asarray(starts, dtype=np.int64),
        np.asarray(words, dtype=np.int64),
    )


def _run(chunk: _Chunk, counted: WordCounts, table: RankTable, merges: MergeList, size: int) -> Run:
    """Replay a chunk and sum the changes of its words over categories."""
    room = CHANGES_A_PAIR * (len(chunk.symbols) - len(chunk.words))
    codes = np.empty(room, dtype=np.int64)
    signed = np.empty(room, dtype=np.int32)  # (word + 1) × the sign of the change
    used = replay_words(
        chunk.symbols,
        chunk.starts,
        table.keys,
        table.ranks,
        merges.pairs,
        merges.results,
        size,
        codes,
        signed,
    )
    order = np.argsort(codes[:used])
    counts = counted.counts[chunk.words]
    indptr, indices = counts.indptr.astype(np.int64), counts.indices.astype(np.int64)
    parts = summed(codes[order], signed[order], indptr, indices, counts.data, len(counted.categories))
    return Run(*parts)


def _merge_alike(runs: list[Run]) -> None:
    """Merge the last runs while they are of like size, so that each change is copied a few times only."""
    while len(runs) > 1 and 2 * len(runs[-1].codes) >= len(runs[-2].codes):
        runs.append(merge_runs(runs.pop(), runs.pop()))


def _require_pairs(events: Events, counted: WordCounts) -> None:
    for name, pairs in zip(counted.categories, events.totals, strict=True):
        if pairs <= 0:
            raise TokswapError(
                f"the text of the category {name!r} holds no pair of symbols",
                "give it text that the tokenizer's own rules cut into words of two characters or more",
            )
