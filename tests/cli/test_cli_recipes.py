"""The recipes that ship: complete, commented, right, and what their comments promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tokswap.methods import get_method
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
