"""The memory that is told before the first step is what the process takes at its height."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from taught_pairs import made

from tokswap import device
from tokswap.board.jobs import run_job


def test_memory_that_the_system_gives_back_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 70 kB\nBuffers: 3 kB\n")
    monkeypatch.setattr(device, "MEMORY", file)
    assert device.free_memory(torch.device("cpu")) == 70 * 1024
    file.unlink()
    assert device.free_memory(torch.device("cpu")) > 2**20, "another system's own figure"


@pytest.mark.parametrize("rank", [8, 256])
def test_the_memory_told_before_the_start_is_what_the_process_takes(
    rank: int, text: Path, tmp_path: Path
) -> None:
    base, moved = made(tmp_path, hidden_size=512, intermediate_size=1536)
    fields = {
        "folder": str(moved), "base": str(base), "texts": [str(text)], "rung": "lm", "steps": 2, "rank": rank,
        "device": "cpu",
    }  # fmt: skip
    done = run_job({"job": "heal", "fields": fields, "out": str(tmp_path / "out")}, threads=1)
    assert done.peak_memory is not None
    assert done.report.figures["memory"].value / done.peak_memory == pytest.approx(1, abs=0.25)
