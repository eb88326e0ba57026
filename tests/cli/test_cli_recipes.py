"""The recipes that ship: complete, commented, right, and what their comments promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tokswap.aliases import read_aliases
from tokswap.board.cells import cells_of
from tokswap.board.config import Leaderboard, make_leaderboard, texts_of
from tokswap.healing.objective import Rung
from tokswap.methods import get_method, methods
from tokswap.mixture.experiment import Experiment, make_experiment
from tokswap.recipe import load_recipe, make_recipe
from tokswap_cli.recipe_files import shipped, summary

NAMES = {"gemma3-smollm2", "smollm2-gemma3", "tokenizer-only-donor", "dry-run-70b"}


def test_the_recipes_are_there() -> None:
    assert set(shipped()) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_is_right_complete_and_explained(name: str) -> None:
    path = shipped()[name]
    fields = load_recipe(path)
    recipe = make_recipe(fields)
    assert {"base", "donor", "out", "method", "parameters", "calibrate", "evaluate", "device", "seed"} <= set(
        fields
    )
    assert set(fields["parameters"]) == set(get_method(recipe.method).defaults), "every parameter is named"
    assert summary(path).endswith(".")
    text = path.read_text()
    assert text.count("#") > 8 and f"tokswap recipes {'cp' if 'tokenizer' in name else 'run'} {name}" in text


def test_the_leaderboard_is_right_complete_and_explained(cli: Any) -> None:
    path = shipped()["leaderboard"]
    fields = load_recipe(path)
    config = make_leaderboard(fields)
    assert set(fields) == set(Leaderboard.model_fields), "every field is named"
    assert {pair.base for pair in config.pairs.values()} == {"gemma3", "smollm2"}
    assert {str(cell.recipe.method) for cell in cells_of(config) if cell.recipe} == set(methods())
    known = read_aliases()
    assert all(name in known for pair in config.pairs.values() for name in (pair.base, pair.donor))
    text = path.read_text()
    assert summary(path).endswith(".") and text.count("#") > 15 and "tokswap leaderboard -c" in text
    assert set(texts_of(config)) == set(fields["texts"])
    facts = cli("recipes", "validate", "leaderboard", "--json").document["facts"]
    assert facts["recipe"]["pairs"]["gemma3-smollm2"] == {"base": "gemma3", "donor": "smollm2"}


def test_the_ladder_goes_from_free_rows_to_the_last_rung() -> None:
    config = make_leaderboard(load_recipe(shipped()["ladder"]))
    healed = {str(cell.heal.rung): cell.heal.checked for cell in cells_of(config) if cell.heal}
    assert list(healed) == [str(rung) for rung in Rung]
    assert len({settings.seconds for settings in healed.values()}) == 1, "all rungs get the same minutes"
    assert summary(shipped()["ladder"]).endswith(".")


def test_a_leaderboard_runs_as_a_recipe_too(cli: Any, base: Path, donor: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    assert cli("recipes", "cp", "leaderboard", mine).code == 0
    fields = yaml.safe_load(mine.read_text())
    fields |= {"pairs": {"ab": {"base": str(base), "donor": str(donor)}}, "out": str(tmp_path / "out")}
    fields["methods"] = {"sub": {"method": "subword"}}
    mine.write_text(yaml.safe_dump(fields))
    planned = cli("recipes", "run", mine, "--dry-run", "--json").document
    assert planned["kind"] == "leaderboard" and not (tmp_path / "out").exists()
    ready = [
        method for method in methods().values() if not (method.parallel or method.network)
    ]  # no text, no network
    assert planned["figures"]["to_do"]["value"] == len(ready)
    assert len(planned["sections"]) == len(methods())
    assert planned == cli("leaderboard", "-c", mine, "--dry-run", "--json").document
    shown = cli("leaderboard", "-c", mine, "--dry-run")
    assert "sub       to do" in shown.out and "nothing was run" in shown.err
    fields["methods"] = {"sub": {"method": "subwrd"}}
    mine.write_text(yaml.safe_dump(fields))
    ran = cli("recipes", "validate", mine)
    assert ran.code == 2 and "did you mean subword" in ran.err


def test_the_experiment_is_right_complete_and_explained(cli: Any) -> None:
    path = shipped()["mixture-experiment"]
    fields = load_recipe(path)
    assert set(fields) == set(Experiment.model_fields), "every field is named"
    assert make_experiment(fields).draw == 5
    text = path.read_text()
    assert summary(path).endswith(".") and text.count("#") > 15 and "tokswap recipes cp mixture-exp" in text
    facts = cli("recipes", "validate", "mixture-experiment", "--json").document["facts"]
    assert facts["recipe"]["trials"] == 20


def test_an_experiment_runs_as_a_recipe(cli: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    fields = load_recipe(shipped()["mixture-experiment"])
    mine.write_text(yaml.safe_dump(fields | {"trials": 2, "merges": [60]}))
    assert "To be tried" in cli("recipes", "run", mine, "--dry-run").out
    ran = cli("recipes", "run", mine, "--json")
    assert ran.code == 0 and ran.document["kind"] == "mixture-experiment"
    assert len(ran.document["facts"]["trials"]) == 2
    figures = ran.document["sections"]["60"]["figures"]
    assert figures["byte_share_error"]["value"] < figures["uniform_share_error"]["value"]
    refused = cli("recipes", "run", mine, "--out", tmp_path / "x")
    assert refused.code == 2 and "no output folder" in refused.err
    mine.write_text(yaml.safe_dump(fields | {"draw": 50}))
    wrong = cli("recipes", "validate", mine)
    assert wrong.code == 2 and "50 of 7 categories" in wrong.err


def test_the_70b_shaped_folder_is_made_and_planned(cli: Any, base: Path, donor: Path, tmp_path: Path) -> None:
    """The script in the comment is run as it stands; its 141 GB are a hole in a file."""
    text = shipped()["dry-run-70b"].read_text()
    found = re.search(r"python - <<'PY'\n(.*?)#   PY\n", text, re.DOTALL)
    assert found
    script = re.sub(r"^#   ?", "", found[1], flags=re.MULTILINE)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    folder = tmp_path / "llama-70b-shaped"
    (folder / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    line = [
        "-c",
        "dry-run-70b",
        "--base",
        folder,
        "--donor",
        donor,
        "--out",
        tmp_path / "out",
        "--dry-run",
        "--json",
    ]
    figures = cli("transplant", *line).document["figures"]
    assert figures["base_parameters"]["value"] == 70_553_706_496
    assert figures["peak_memory"]["value"] < 8e9


def test_each_kind_of_recipe_is_sent_to_its_own_command(cli: Any) -> None:
    for command, name, right in (
        ("transplant", "leaderboard", "tokswap recipes run leaderboard"),
        ("leaderboard", "gemma3-smollm2", "tokswap transplant -c gemma3-smollm2"),
        ("transplant", "mixture-experiment", "tokswap recipes run mixture-experiment"),
    ):
        ran = cli(command, "-c", name)
        assert ran.code == 2 and f"hint: run it with: {right}" in ran.err
    assert cli("transplant", "-c", "gemma3-smollm2", "--help").code == 0


def test_a_leaderboards_recipe_is_shown_row_by_row(cli: Any) -> None:
    shown = cli("recipes", "validate", "leaderboard")
    assert shown.code == 0 and "is right" in shown.err
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "gemma3-smollm2 gemma3 smollm2" in lines
    assert "omp-64 omp k = 64 calibrate = auto, seed = 0 gemma3-smollm2" in lines
    assert " = base = " not in shown.out, "no mapping within a mapping"
