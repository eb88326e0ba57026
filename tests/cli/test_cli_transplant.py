"""`tokswap transplant` on tiny models: from flags, from a recipe, planned, carried out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_models import byte_level, checkpoint

from tokswap_cli.transplant import assignments, recipe_fields


def test_dry_run_writes_nothing(cli: Any, base: Path, donor: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = cli("transplant", "--base", base, "--donor", donor, "--out", out, "--dry-run")
    assert ran.code == 0 and not out.exists()
    for words in ("Rows", "made by the method", "peak memory", "free on that disk", "Special tokens"):
        assert words in ran.out
    assert "nothing was written" in ran.err


def test_the_whole_run(cli: Any, base: Path, donor: Path, prose: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "out", tmp_path / "report.html"
    line = ["transplant", "--base", base, "--donor", donor, "--out", out, "--calibrate", "shift"]
    line += [
        "--calibration-text",
        prose,
        "--evaluation-text",
        prose,
        "--report",
        page,
        "--pad-to-multiple-of",
        "64",
    ]
    ran = cli(*line)
    assert ran.code == 0
    assert (
        "shifted: " in ran.out
        and "probability before" in ran.out
        and "prose" in ran.out
        and "new / base" in ran.out
    )
    first, *_ = ran.err.splitlines()
    assert first.startswith("base onto the tokenizer of donor: ")
    assert f"written and verified: {out}" in ran.err and "hint: " in ran.err
    assert json.loads((out / "config.json").read_text())["vocab_size"] % 64 == 0
    assert page.read_text().startswith("<!doctype html>")
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["method"] == "subword" and recipe["calibrate"] == "shift"
    assert cli(*line).code == 2  # the output exists
    quiet = cli(*line, "--overwrite", "--no-evaluate", "-q").err.splitlines()
    told = ("warning: the new tokenizer puts a space before a text", "warning: numbers are cut differently")
    assert len(quiet) == 2 and all(map(str.startswith, quiet, told))


def test_json_and_what_to_do_next(cli: Any, base: Path, donor: Path, tmp_path: Path) -> None:
    line = ["--base", base, "--donor", donor / "tokenizer.json", "--out", tmp_path / "a b", "--no-evaluate"]
    ran = cli(
        "transplant", *line, "--calibrate", "none", "--json", "--method", "subword", "--set", "weights=last"
    )
    document = ran.document
    assert document["kind"] == "transplant" and document["facts"]["parameters"]["weights"] == "last"
    assert f"tokswap evaluate '{tmp_path}/a b' --against {base}" in ran.err


@pytest.mark.parametrize("option", ["--evaluation-text", "--calibration-text"])
@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_text_that_cannot_be_read_is_refused_before_the_work(
    cli: Any, base: Path, donor: Path, tmp_path: Path, option: str, more: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    ran = cli("transplant", "--base", base, "--donor", donor, "--out", out, option, "nope.txt", *more)
    assert ran.code == 2 and ran.out == "" and not out.exists()
    first, *_ = ran.err.splitlines()
    assert first.startswith("error: nope.txt can't be read"), "no plan was announced"


def test_what_is_published_names_no_folder_of_this_machine(
    cli: Any, base: Path, donor: Path, prose: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = ["--base", base, "--donor", donor / "tokenizer.json", "--out", out, "--method", "subword"]
    line += ["--no-evaluate", "--calibrate", "none", "--calibration-text", prose, "--evaluation-text", prose]
    assert cli("transplant", *line).code == 0
    texts = {name: (out / name).read_text() for name in ("README.md", "tokswap.json", "recipe.yaml")}
    for path in (base, donor, prose, tmp_path):
        assert not [name for name, text in texts.items() if str(path.parent) in text]
    assert "The body of `base`, unchanged, under the tokenizer of `tokenizer.json`" in texts["README.md"]
    manifest = json.loads(texts["tokswap.json"])
    assert (manifest["base"], manifest["donor"]) == ("base", "tokenizer.json")
    assert manifest["recipe"] == yaml.safe_load(texts["recipe.yaml"])
    assert manifest["recipe"]["evaluation_texts"] == ["prose.txt"]


def test_recipe_run_is_transplant_with_a_config(cli: Any, base: Path, donor: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fields = {"base": str(base), "donor": str(donor), "method": "subword", "parameters": {"weights": "first"}}
    path.write_text(yaml.safe_dump(fields | {"evaluate": False, "calibrate": "none"}))
    one = cli("recipes", "run", path, "--dry-run", "--json").document
    other = cli("transplant", "-c", path, "--dry-run", "--json").document
    for document in (one, other):
        del document["figures"]["free_disk"]
    assert one == other and one["facts"]["parameters"]["weights"] == "first"
    assert cli("recipes", "run", path, "--out", tmp_path / "out", "-q").code == 0
    assert (tmp_path / "out" / "tokswap.json").exists()


def test_flags_override_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fields = {"base": "a", "donor": "b", "method": "omp", "parameters": {"k": 8, "tolerance": 0.1}}
    path.write_text(yaml.safe_dump(fields | {"map": {"<x>": "<y>"}, "seed": 3, "untie": True}))
    flags = {"donor": "c", "seed": None, "untie": False, "evaluation_texts": []}
    merged = recipe_fields(str(path), flags, {"k": "16"}, {"<z>": "<s>"})
    assert merged["donor"] == "c" and merged["seed"] == 3 and merged["untie"] is False
    assert merged["parameters"] == {"k": "16", "tolerance": 0.1}
    assert merged["map"] == {"<x>": "<y>", "<z>": "<s>"}
    other = recipe_fields(str(path), {"method": "subword"}, {}, {})
    assert "parameters" not in other, "they are the other method's"
    assert recipe_fields(str(path), {"method": "omp"}, {}, {})["parameters"] == fields["parameters"]


@pytest.mark.parametrize(
    ("option", "text", "name", "value"),
    [
        ("--set", "k=8", "k", "8"),
        ("--set", "name=a=b", "name", "a=b"),
        ("--map", "<new>=<old> x", "<new>", "<old> x"),
        ("--map", "==<old>", "=", "<old>"),
        ("--map", "<a=b>=<c>", "<a=b>", "<c>"),
    ],
)
def test_assignments(option: str, text: str, name: str, value: str) -> None:
    assert assignments(option, [text]) == {name: value}


def test_output_weights_without_an_output_are_warned_of(cli: Any, tmp_path: Path, donor: Path) -> None:
    tied = tmp_path / "tied"
    checkpoint(tied, byte_level(), tie_word_embeddings=True)
    line = ["transplant", "--base", tied, "--donor", donor, "--dry-run", "--method", "subword", "-q"]
    assert "output_weights" not in cli(*line).err
    ran = cli(*line, "--set", "output_weights=first")
    assert ran.code == 0 and "warning: output_weights has no effect: the base is tied" in ran.err


def test_a_dry_run_says_that_the_output_would_be_refused(
    cli: Any, base: Path, donor: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    line = ["transplant", "--base", base, "--donor", donor, "--out", out, "--dry-run", "-q"]
    assert "refused" not in cli(*line).err
    out.mkdir()
    ran = cli(*line)
    assert ran.code == 0 and f"warning: without --dry-run this is refused: the output {out} exists" in ran.err
    assert "refused" not in cli(*line, "--overwrite").err


def test_counts_have_thousands_separators(cli: Any, base: Path, donor: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tokswap.align.Alignment.anchor_ids", list(range(1234)))
    ran = cli("transplant", "--base", base, "--donor", donor, "--dry-run", "-q")
    assert "1,234 tokens are shared" in ran.out


def test_none_can_be_set(cli: Any, base: Path, donor: Path) -> None:
    line = ["transplant", "--base", base, "--donor", donor, "--dry-run", "--json", "--method", "subword"]
    document = cli(*line, "--set", "output_weights=none", "--set", "decay=0.25").document
    assert document["facts"]["parameters"] == {"weights": "mean", "output_weights": None, "decay": 0.25}


@pytest.mark.real
def test_real_models_are_planned(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    ran = cli("transplant", "-c", "gemma3-smollm2", "--dry-run", "--json", "-q")
    assert ran.document["figures"]["copied_same_bytes"]["value"] == 46_145
