"""Two processes with half of a step each are one with all of it; bf16 and TensorBoard change only what they say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import HOW, base, text, trained

from tokswap.errors import TokswapError
from tokswap.hypernet.files import load_hypernet

__all__ = ["base", "text"]
STAGES = ["spell=2", "lm=2", "distil=1"]
CODE = "import json, sys; from tokswap.hypernet.train import train_hypernet; train_hypernet(**json.loads(sys.argv[1]))"


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_two_processes_take_the_steps_of_one(base: Path, text: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "one", text, STAGES)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    fields = HOW | {"base": str(base), "out": str(tmp_path / "two"), "texts": [str(text)], "stages": STAGES}
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, json.dumps(fields)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [child.wait(timeout=300) for child in children] == [0, 0]
    for one, two in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert two[name] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)
    left, right = (load_hypernet(tmp_path / name).network.state_dict() for name in ("one", "two"))
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=1e-4)
    assert not list(tmp_path.glob(".two.*"))


def test_in_bf16_the_steps_are_nearly_the_same_and_the_weights_stay_fp32(
    base: Path, text: Path, tmp_path: Path
) -> None:
    trained(base, tmp_path / "fp32", text, ["spell=3", "lm=1"])
    trained(base, tmp_path / "bf16", text, ["spell=3", "lm=1"], autocast=True)
    exact, rough = (
        [line["loss"] for line in log(tmp_path / name) if "loss" in line] for name in ("fp32", "bf16")
    )
    assert rough == pytest.approx(exact, rel=0.02) and rough != exact
    assert {t.dtype for t in load_hypernet(tmp_path / "bf16").network.state_dict().values()} == {
        torch.float32
    }


def test_tensorboard_shows_the_log_or_is_asked_for(base: Path, text: Path, tmp_path: Path) -> None:
    board = tmp_path / "board"
    if find_spec("tensorboard") is None:
        with pytest.raises(TokswapError, match="not installed") as caught:
            trained(base, tmp_path / "out", text, ["spell=3"], tensorboard=board)
        assert "log.jsonl" in caught.value.hint and not (tmp_path / "out").exists()
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(base, tmp_path / "out", text, ["spell=3"], tensorboard=board)
    shown: Any = EventAccumulator(str(board))
    shown.Reload()
    lines = log(tmp_path / "out")
    for name in ("loss", "held_out_bits"):
        expected = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
        found = [(event.step, event.value) for event in shown.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)
