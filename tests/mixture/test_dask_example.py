"""The example of counting on a cluster, on Dask's own scheduler and workers, against counting here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from dask.distributed import Client

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "examples"))

import count_with_dask
from tokenizer_families import byte_level

from tokswap.mixture import counting
from tokswap.mixture.corpus import spans_of
from tokswap.mixture.counting import count_words
from tokswap.mixture.merges import merge_list


def test_workers_of_dask_count_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(byte_level()))
    for name, line in (("en", "the quick brown fox"), ("fr", "le vif renard brun")):
        (tmp_path / name).mkdir()
        for part in range(3):
            (tmp_path / name / f"{part}.txt").write_text(f"{line} {part}\n" * (40 + part))
    monkeypatch.setattr(counting, "spans_of", lambda files: spans_of(files, 500))  # many tasks
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cluster"))
    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        there = count_with_dask.count(
            client, str(tmp_path / "tokenizer.json"), f"en={tmp_path}/en", f"fr={tmp_path}/fr"
        )
        assert len(client.scheduler_info()["workers"]) == 2
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "alone"))
    tokenizer = byte_level()
    texts = {name: [tmp_path / name] for name in ("en", "fr")}
    here = count_words(tokenizer, merge_list(tokenizer), texts, processes=1)
    assert there.words == here.words and np.array_equal(there.counts.toarray(), here.counts.toarray())
    assert there.text_bytes.tolist() == here.text_bytes.tolist()
