"""What the doctor says of this machine, and of tokenizers and models with one fault each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_verification import failures, outcome, put_row, sentence

import tokswap
from tokswap import diagnosis
from tokswap.pretokenizers import BY_GGUF_NAME, gguf_name

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, checkpoint, lower_casing


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cache"))


def test_this_machine_is_fit() -> None:
    report = tokswap.doctor()
    assert set(report.sections) == {"versions", "device", "cache", "extras", "hub"}
    assert report.facts["sound"] is True
    assert torch.__version__.split("+")[0] in sentence(report, "versions")


def test_a_cache_that_cannot_be_written_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKSWAP_DATA", "/proc/tokswap")
    monkeypatch.setattr("os.access", lambda path, mode: "/proc" not in str(path))
    assert failures(tokswap.doctor()) == {"cache"}


def test_old_libraries_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_version", lambda name: "4.9.1" if name == "transformers" else "99.0")
    report = tokswap.doctor()
    assert failures(report) == {"versions"}
    assert "transformers 4.9.1 is older than 5.0" in sentence(report, "versions")


def test_the_token_itself_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "hf_secret" not in tokswap.doctor().to_json()


def test_a_sound_model(tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "model", byte_level())
    report = tokswap.doctor(model.folder)
    assert report.facts["sound"] is True
    assert "304 × 32, F32, untied" in sentence(report, "embeddings")
    assert "gpt-2" in sentence(report, "gguf_pattern")


def dangling(folder: Path) -> None:
    edit(folder, lambda t: t["model"]["merges"].append(["t", "qqq"]))


def unknown_pattern(folder: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "a+"}, "behavior": "Isolated", "invert": False}
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    edit(folder, lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [split, step]}))


def not_finite(folder: Path) -> None:
    put_row(folder, "model.embed_tokens.weight", 40, torch.full((32,), torch.inf))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    change(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("fault", "check", "expected"),
    [
        (dangling, "merges", "failed"),
        (unknown_pattern, "gguf_pattern", "warned"),
        (not_finite, "finite_rows", "failed"),
    ],
)
def test_faults_are_found_before_use(
    fault: Callable[[Path], None], check: str, expected: str, tmp_path: Path
) -> None:
    model = checkpoint(tmp_path / "model", byte_level())
    fault(model.folder)
    report = tokswap.doctor(model.folder)
    assert outcome(report, check) == expected
    assert report.facts["sound"] is (expected != "failed")


def test_a_tokenizer_alone_has_no_rows_to_check(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(lower_casing()))
    report = tokswap.doctor(tmp_path / "tokenizer.json")
    assert "rows" not in report.sections
    assert outcome(report, "embeddings") == "not checked"
    assert outcome(report, "round_trip") == "warned"
    assert "never yields" in sentence(report, "reach")  # capitals are lower-cased first


@pytest.mark.parametrize("name", BY_GGUF_NAME)
def test_what_gguf_names_is_recognised(name: str) -> None:
    known = BY_GGUF_NAME[name]
    found = gguf_name(json.loads(json.dumps(known.pre_tokenizer())))
    assert found is not None
    assert BY_GGUF_NAME[found].pre_tokenizer() == known.pre_tokenizer()
