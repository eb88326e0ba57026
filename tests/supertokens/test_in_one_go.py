"""A transplant that learns its own donor: the same as two steps, again the same from its recipe, refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizer_families as families
import yaml
from tiny_models import checkpoint

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.errors import TokswapError
from tokswap.recipe import load_recipe, make_recipe

TEXT = "Note: the lighthouse keeper's 1234 boats. The lighthouse stood on the harbour wall.\n" * 30
QUIET: dict[str, Any] = {"evaluate": False, "calibrate": "none"}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    return checkpoint(tmp_path / "base", families.byte_level(), rows=400).folder


def test_it_is_extending_and_moving_in_one(base: Path, tmp_path: Path) -> None:
    learnt = {"supertokens": 25, "supertoken_texts": ["text.txt"], "max_words": 3}
    report = tokswap.transplant(base, out="one", **learnt, **QUIET)
    assert report.figures["new"].value == 25 and report.figures["copied_same_bytes"].value >= 398
    tokswap.extend_tokenizer(base, ["text.txt"], add=25, max_words=3, out="tokenizer.json")
    tokswap.transplant(base, "tokenizer.json", out="two", **QUIET)
    one, two = (open_checkpoint(tmp_path / name) for name in ("one", "two"))
    assert one.tokenizer["model"] == two.tokenizer["model"] and one.rows == two.rows == 425
    assert one.tokenizer["pre_tokenizer"] == two.tokenizer["pre_tokenizer"]
    assert (tmp_path / "one/model.safetensors").read_bytes() == (
        tmp_path / "two/model.safetensors"
    ).read_bytes()
    assert tokswap.verify("one", against=base).facts["sound"]


def test_its_recipe_repeats_it(base: Path, tmp_path: Path) -> None:
    tokswap.transplant("base", out="one", supertokens=12, supertoken_texts=["text.txt"], **QUIET)
    fields = load_recipe(tmp_path / "one" / "recipe.yaml")
    assert fields["supertokens"] == 12 and fields["supertoken_texts"] == ["text.txt"]
    again = make_recipe({**fields, "evaluate": False})
    tokswap.transplant(
        again.base, out="two", **{k: v for k, v in again.model_dump().items() if k not in ("base", "out")}
    )
    manifests = [json.loads((tmp_path / name / "tokswap.json").read_text()) for name in ("one", "two")]
    assert manifests[0]["recipe"] == manifests[1]["recipe"]
    assert manifests[0]["donor"] == "base with 12 tokens learnt from text"
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert str(tmp_path) not in (tmp_path / "one" / "README.md").read_text()


def test_calibration_reads_what_was_learnt_from(base: Path) -> None:
    """The texts that come with tokswap hold none of these tokens: there they would be worth nothing."""
    Path("own.txt").write_text("qqzx vvkj wwyp " * 400)
    report = tokswap.transplant(
        base, out="one", supertokens=9, supertoken_texts=["own.txt"], calibrate="shift", evaluate=False
    )
    shares = [figure.value for name, figure in report.figures.items() if name.startswith("share_")]
    assert max(shares) > 0.1


def test_a_dry_run_plans_with_what_would_be_learnt(base: Path) -> None:
    report = tokswap.transplant(base, dry_run=True, supertokens=5, supertoken_texts=["text.txt"])
    assert report.figures["new"].value == 5 and "5 tokens learnt from text" in report.facts["donor"]
    many = tokswap.transplant(base, dry_run=True, supertokens=5000, supertoken_texts=["text.txt"])
    assert any("no other pair stands in it twice" in warning for warning in many.warnings)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"supertokens": 5}, "none was given"),
        ({"supertokens": 5, "supertoken_texts": ["t"], "donor": "b"}, "another donor was named"),
        ({"supertokens": 5, "supertoken_texts": ["t"], "draft": True}, "a draft has its target's tokenizer"),
        ({"supertokens": 0, "supertoken_texts": ["t"]}, "must be 1 or more"),
        ({"donor": "b", "supertoken_texts": ["t"]}, "none are asked for"),
        ({"donor": "b", "max_words": 3}, "none are asked for"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(TokswapError, match=words):
        make_recipe({"base": "a", **fields})


def test_a_recipe_without_a_donor_learns_it() -> None:
    fields = yaml.safe_load("base: a\nsupertokens: 5\nsupertoken_texts: [t]\n")
    assert make_recipe(fields).donor == "a"
    with pytest.raises(TokswapError, match="donor: is missing"):
        make_recipe({"base": "a"})


def test_a_text_that_is_not_there_is_found_first(base: Path) -> None:
    with pytest.raises(TokswapError, match="there is no text at"):
        tokswap.transplant(base, out="one", supertokens=5, supertoken_texts=["nowhere"])
    assert not Path("one").exists()


def test_a_wordpiece_base_is_refused(base: Path, tmp_path: Path) -> None:
    other = checkpoint(tmp_path / "other", families.wordpiece(), rows=450).folder
    with pytest.raises(TokswapError, match="only BPE"):
        tokswap.transplant(other, out="one", supertokens=5, supertoken_texts=["text.txt"], **QUIET)
    assert base.exists() and not Path("one").exists()
