"""Texts that people name: what is said of those that aren't there, and how those are thinned that are packed."""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokswap.corpora import open_corpora
from tokswap.errors import TokswapError
from tokswap.supertokens.files import blocks_of, thinned

RECORDS = 400
PARTS = 4
RECORD_BYTES = 5_000


def record(i: int) -> str:
    """A text that packs to a hundredth of its size."""
    return f"record {i:06}\n" + "the same words over and over\n" * (RECORD_BYTES // 29)


def as_gz(path: Path) -> Path:
    lines = [json.dumps({"text": record(i)}) for i in range(RECORDS)]
    path.with_suffix(".jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return path.with_suffix(".jsonl.gz")


def as_zst(path: Path) -> Path:
    zstandard: Any = importlib.import_module("zstandard")
    text = "".join(record(i) for i in range(RECORDS))
    path.with_suffix(".txt.zst").write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    return path.with_suffix(".txt.zst")


def as_parquet(path: Path) -> Path:
    polars: Any = importlib.import_module("polars")
    frame = polars.DataFrame({"text": [record(i) for i in range(RECORDS)]})
    frame.write_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_records_of_much_else(path: Path) -> Path:
    """The text is a tenth of what is stored."""
    lines = [json.dumps({"text": record(i), "html": "x" * 9 * RECORD_BYTES}) for i in range(RECORDS)]
    path.with_suffix(".jsonl").write_text("\n".join(lines))
    return path.with_suffix(".jsonl")


@pytest.mark.parametrize("write", [as_gz, as_zst, as_parquet, as_records_of_much_else])
def test_what_is_thinned_is_from_all_over_the_text_whatever_its_file(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    file = write(tmp_path / "text")
    most = RECORDS * RECORD_BYTES // 2
    kept = list(thinned(blocks_of(open_corpora([file])), most))
    assert most - 300_000 < sum(len(block.encode()) for block in kept) <= most
    seen = [int(part[:6]) for block in kept for part in block.split("record ")[1:]]
    parts = [sum(i * PARTS // RECORDS == part for i in seen) for part in range(PARTS)]
    assert seen == sorted(seen) and min(parts) > RECORDS / PARTS / 4


def test_less_text_than_there_is_room_for_is_taken_whole(tmp_path: Path) -> None:
    blocks = list(blocks_of(open_corpora([as_records_of_much_else(tmp_path / "text")])))
    assert list(thinned(blocks, RECORDS * (RECORD_BYTES + 100))) == blocks


@pytest.mark.parametrize("write", [as_gz, as_parquet, as_records_of_much_else])
def test_what_has_been_read_never_falls_and_ends_at_what_is_stored(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    write(tmp_path / "text")
    (tmp_path / "a.txt").write_text("plain\n" * 1000)
    (tmp_path / "z.txt").write_text("plain\n")
    (corpus,) = open_corpora([tmp_path])
    told: list[int] = []
    for _ in corpus.blocks(told.append):
        pass
    assert told == sorted(told) and told[-1] == corpus.size == sum(f.stat().st_size for f in corpus.files)
    assert told[0] == 6000, "plain text is counted as it is"


def test_text_that_is_not_there_is_named_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(TokswapError) as error:
        open_corpora([tmp_path / "nowhere", "texts/*.none"])
    assert error.value.what == f"there is no text at {tmp_path / 'nowhere'}"
    with pytest.raises(TokswapError, match=r"there is no text at texts/.*none") as error:
        open_corpora(["texts/*.none"])
    assert "category" not in error.value.what + error.value.hint
