"""Mixture inference on files: the one place that joins a tokenizer, texts, the program and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath

from tokswap.mixture.categories import check_categories
from tokswap.mixture.counting import count_words
from tokswap.mixture.infer import infer, stopping
from tokswap.mixture.merges import merge_list
from tokswap.report import Report
from tokswap.sources import open_source

Source = str | PathLike[str]


def infer_from_files(
    tokenizer: Source,
    categories: Mapping[str, Source | Sequence[Source]],
    *,
    merges: int | None = None,
    skip_merges: int | None = None,
    field: str = "text",
    gap: float | None = None,
    time_limit: float | None = None,
    processes: int | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Return the mixture of `categories`, names with files, folders or globs, as `tokswap.infer_mixture` describes."""
    stopping(gap, time_limit)
    texts = check_categories(categories)
    source = open_source(fspath(tokenizer), only_tokenizer=True, on_progress=on_progress)
    learnt = merge_list(source.tokenizer, skip="auto" if skip_merges is None else skip_merges)
    counted = count_words(
        source.tokenizer, learnt, texts, field=field, processes=processes, on_progress=on_progress
    )
    return infer(
        source.source, learnt, counted, steps=merges, gap=gap, time_limit=time_limit, on_progress=on_progress
    )
