"""There and back: the restored folder is the base again, and what the body learnt in between stays."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import tokswap
from tokswap.checkpoint import open_checkpoint

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from test_verification import failures, outcome, put_row, sentence
from tiny_models import byte_level, checkpoint, sentencepiece

UP = "model.layers.0.mlp.up_proj.weight"
HOW: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False}


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    checkpoint(tmp_path / "donor", sentencepiece(), seed=1)
    return tmp_path / "donor"


def same_files(one: Path, other: Path, *names: str) -> bool:
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("untie", [False, True])
def test_there_and_back_is_the_base(tied: bool, untie: bool, tmp_path: Path, donor: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level(), tie_word_embeddings=tied).folder
    (base / "chat_template.jinja").write_text("{{ messages }}")
    tokswap.transplant(base, donor, out=tmp_path / "moved", untie=untie, **HOW)
    report = tokswap.restore(tmp_path / "moved", base=base, out=tmp_path / "back")
    kept = (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    )
    assert same_files(base, tmp_path / "back", *kept)
    old, new = open_checkpoint(base), open_checkpoint(tmp_path / "back")
    assert set(old.tensors) == set(new.tensors)
    for name in old.tensors:
        assert torch.equal(old.read(name).view(torch.uint8), new.read(name).view(torch.uint8))
    assert report.facts["body"] == "the base's, byte for byte"
    assert (
        tokswap.verify(tmp_path / "back", against=base).sections["hidden_states"].facts["outcome"] == "passed"
    )


def test_what_the_body_learnt_stays(tmp_path: Path, donor: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level()).folder
    tokswap.transplant(base, donor, out=tmp_path / "moved", **HOW)
    put_row(tmp_path / "moved", UP, 3, torch.full((32,), 7.0))
    report = tokswap.restore(tmp_path / "moved", base=base, out=tmp_path / "back")
    assert report.figures["tensors_trained_since"].value == 1
    back = open_checkpoint(tmp_path / "back")
    assert bool((back.read(UP)[3] == 7).all())
    old = open_checkpoint(base)
    assert torch.equal(back.read(back.input_name), old.read(old.input_name))


def test_verify_knows_a_body_that_was_trained_before_it_was_restored(tmp_path: Path, donor: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level()).folder
    tokswap.transplant(base, donor, out=tmp_path / "moved", **HOW)
    put_row(tmp_path / "moved", UP, 3, torch.full((32,), 7.0))
    tokswap.restore(tmp_path / "moved", base=base, out=tmp_path / "back")
    report = tokswap.verify(tmp_path / "back", against=base)
    assert not failures(report) - {"padded_rows"}  # the base's own may win
    assert outcome(report, "untouched_tensors") == "warned"
    assert sentence(report, "untouched_tensors").startswith("1 of 19 tensors were trained")
    assert outcome(report, "hidden_states") == "not checked"
    manifest = (tmp_path / "back" / "tokswap.json").read_bytes()
    put_row(tmp_path / "back", UP.replace("0", "1"), 3, torch.full((32,), 7.0))  # what no manifest names
    (tmp_path / "back" / "tokswap.json").write_bytes(manifest)
    assert {"manifest", "untouched_tensors"} <= failures(tokswap.verify(tmp_path / "back", against=base))


def without(folder: Path, name: str) -> None:
    state = load_file(folder / "model.safetensors")
    del state[name]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def reshaped(folder: Path, name: str) -> None:
    state = load_file(folder / "model.safetensors")
    state[name] = state[name][:-1].clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "said"), [(without, "is missing"), (reshaped, r"is \[47, 32\], the base's \[48")]
)
def test_a_body_that_the_base_has_no_place_for_is_refused(
    spoil: Callable[[Path, str], None], said: str, tmp_path: Path, donor: Path
) -> None:
    base = checkpoint(tmp_path / "base", byte_level()).folder
    tokswap.transplant(base, donor, out=tmp_path / "moved", **HOW)
    spoil(tmp_path / "moved", UP)
    with pytest.raises(tokswap.TokswapError, match=said):
        tokswap.restore(tmp_path / "moved", base=base, out=tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_tensor_that_training_added_comes_along_and_is_told(tmp_path: Path, donor: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level()).folder
    tokswap.transplant(base, donor, out=tmp_path / "moved", **HOW)
    state = load_file(tmp_path / "moved" / "model.safetensors")
    save_file(
        state | {"value_head.weight": torch.ones(1, 32)},
        tmp_path / "moved" / "model.safetensors",
        metadata={"format": "pt"},
    )
    report = tokswap.restore(tmp_path / "moved", base=base, out=tmp_path / "back")
    assert report.warnings == ("1 tensors that the base lacks came along: value_head.weight",)
    assert report.facts["body"] == "the folder's, trained since"


def test_another_model_is_no_base(tmp_path: Path, donor: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level()).folder
    other = checkpoint(tmp_path / "other", byte_level(), seed=9).folder
    tokswap.transplant(base, donor, out=tmp_path / "moved", **HOW)
    with pytest.raises(tokswap.TokswapError, match="is not the base that"):
        tokswap.restore(tmp_path / "moved", base=other, out=tmp_path / "back")
    wide = checkpoint(tmp_path / "wide", byte_level(), hidden_size=64).folder
    (tmp_path / "moved" / "tokswap.json").unlink()
    with pytest.raises(tokswap.TokswapError, match="width 64"):
        tokswap.restore(tmp_path / "moved", base=wide, out=tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_base_that_is_not_named_or_not_here_is_asked_for(tmp_path: Path, donor: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level()).folder
    tokswap.transplant(base, donor, out=tmp_path / "moved", **HOW)
    with pytest.raises(tokswap.TokswapError) as caught:
        tokswap.restore(tmp_path / "moved", out=tmp_path / "back")
    assert "'base' isn't on this machine" in caught.value.what and "--base" in caught.value.hint
    manifest = json.loads((tmp_path / "moved" / "tokswap.json").read_text())
    assert manifest["inputs"]["base"]["tables"].keys() == {"model.embed_tokens.weight", "lm_head.weight"}
