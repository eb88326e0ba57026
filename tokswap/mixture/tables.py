"""Tables of words and their counts: sorted parquet files that add up, on this machine or on any engine's workers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.mixture.types import WordCounts


def write_table(counts: Mapping[str, int], path: Path) -> Path:
    """Write words and counts as a parquet file with the columns `word` and `count`, sorted by word."""
    pl = polars()
    schema = {"word": pl.String, "count": pl.Int64}
    frame = pl.DataFrame({"word": list(counts), "count": list(counts.values())}, schema=schema)
    frame.sort("word").write_parquet(path)
    return path


def merge_counts(tables: Sequence[Path], path: Path) -> Path:
    """Add tables up into one; the sum doesn't depend on their order, nor on how the text was divided among them."""
    pl = polars()
    merged = pl.scan_parquet(list(tables)).group_by("word").agg(pl.col("count").sum()).sort("word")
    merged.sink_parquet(path)
    return path


def assemble(
    tables: Mapping[str, Path], text_bytes: Mapping[str, int], most_words: int | None = None
) -> WordCounts:
    """Put one table a category side by side, and keep the `most_words` most frequent words if there are more.

    Frequent is by the sum over categories of a word's share in each, so that a small category isn't drowned.
    """
    from scipy.sparse import csc_array

    pl = polars()
    frames = [pl.read_parquet(path) for path in tables.values()]
    totals = np.array([frame["count"].sum() for frame in frames], dtype=np.int64)
    words = _kept_words(frames, most_words)
    columns = [_column(frame, words) for frame in frames]
    indices = np.concatenate([rows for rows, _ in columns])
    data = np.concatenate([counts for _, counts in columns])
    starts = np.cumsum([0, *(len(rows) for rows, _ in columns)])
    counts = csc_array((data, indices, starts), shape=(len(words), len(frames))).tocsr()
    dropped = totals - np.asarray(counts.sum(axis=0)).ravel()
    return WordCounts(
        categories=tuple(tables),
        words=tuple(words.to_list()),
        counts=counts,
        text_bytes=np.array([text_bytes[name] for name in tables], dtype=np.int64),
        dropped=dropped if dropped.any() else None,
    )


def _kept_words(frames: Sequence[Any], most_words: int | None) -> Any:
    pl = polars()
    shares = [frame.select("word", pl.col("count") / pl.col("count").sum()) for frame in frames]
    words = pl.concat(shares).group_by("word").agg(pl.col("count").sum())
    if most_words is not None and len(words) > most_words:
        # By word where shares are equal: the same text keeps the same words, on any number of threads.
        words = words.sort(["count", "word"], descending=[True, False]).head(most_words)
    return words["word"].sort()


def _column(frame: Any, words: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows and counts of a category; both sides are sorted by word."""
    pl = polars()
    numbered = words.to_frame().with_row_index("row")
    found = numbered.join(frame, on="word", how="inner").sort("row")
    return found["row"].to_numpy().astype(np.int64), found["count"].cast(pl.Int64).to_numpy()


def polars() -> Any:
    """Return the polars module; TokswapError where it isn't installed."""
    try:
        return importlib.import_module("polars")
    except ImportError as error:
        hint = "install it with `pip install 'tokswap[mixture]'`"
        raise TokswapError("counting words needs the package polars", hint) from error
