"""A leaderboard's recipe: all that is wrong at once, and cells that follow from the registry and the recipe."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tokswap.board.cells import cells_of, making_key
from tokswap.board.config import make_leaderboard, texts_of
from tokswap.errors import TokswapError
from tokswap.methods import get_method, methods
from tokswap.recipe import make_recipe

PAIRS = {"ab": {"base": "a", "donor": "b"}, "ba": {"base": "b", "donor": "a"}}
PLAIN: dict[str, Any] = {"kind": "leaderboard", "pairs": PAIRS, "methods": {"sub": {"method": "subword"}}}


def test_everything_that_is_wrong_is_said_at_once() -> None:
    rows = {
        "k": {"method": "omp", "parameters": {"kk": 8}},
        "name": {"method": "opm"},
        "field": {"metod": "omp"},
        "own": {"method": "mean", "out": "x"},
        "where": {"method": "mean", "pairs": ["nowhere"]},
    }
    folders = {"k": "x", "braces": "{nothing}/x", "there": {"folder": "x", "pairs": ["elsewhere"]}}
    with pytest.raises(TokswapError) as caught:
        make_leaderboard({**PLAIN, "methods": rows, "rows": folders})
    for words in (
        "did you mean 'k'",
        "did you mean omp",
        "did you mean 'method'",
        "methods.own: out can't be set",
        "there is no pair nowhere",
        "rows.k: a method has that name",
        "rows.braces",
        "rows.there.pairs: there is no pair elsewhere",
    ):
        assert words in caught.value.what


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"piars": {}}, "did you mean 'pairs'"),
        ({"pairs": {}}, "pairs: must have 1 or more"),
        ({"pairs": {"a/b": PAIRS["ab"]}}, "pairs.a/b: has characters that a name can't have"),
        ({"pairs": {"ab": {"base": "a", "donor": "b", "x": 1}}}, "there is no 'pairs.ab.x'"),
        ({"methods": {}}, "there is no row"),
        ({"kind": "recipe"}, "kind"),
        ({"max_bytes": 0}, "max_bytes"),
    ],
)
def test_fields_are_checked(change: dict[str, Any], what: str) -> None:
    with pytest.raises(TokswapError, match=what):
        make_leaderboard({**PLAIN, **change})


def test_cells_are_rows_on_pairs() -> None:
    config = make_leaderboard(
        {
            **PLAIN,
            "methods": {"sub": {"method": "subword"}, "omp": {"method": "omp", "pairs": ["ba"]}},
            "rows": {"theirs": "out/{pair}/{base}-{donor}", "one": {"folder": "x", "pairs": ["ab"]}},
            "defaults": {"calibrate": "none", "seed": 3},
            "device": "cpu",
        }
    )
    cells = cells_of(config)
    assert [cell.name for cell in cells] == [
        "ab--sub",
        "ab--theirs",
        "ab--one",
        "ba--sub",
        "ba--omp",
        "ba--theirs",
    ]
    assert cells[1].folder == Path("out/ab/a-b") and cells[1].recipe is None
    recipe = cells[4].recipe
    assert recipe is not None
    assert (recipe.base, recipe.donor, recipe.calibrate, recipe.seed, recipe.device) == (
        "b",
        "a",
        "none",
        3,
        "cpu",
    )
    assert recipe.parameters == dict(get_method("omp").defaults) and not recipe.evaluate


def test_every_method_of_the_registry_is_a_row() -> None:
    named = {"mine": {"method": "subword", "parameters": {"weights": "first"}}}
    config = make_leaderboard({**PLAIN, "methods": named, "every_method": True})
    assert set(config.all_methods) == {"mine", *methods()} - {"subword"}


def test_texts_are_those_that_come_along_or_files(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("words\n" * 10)
    config = make_leaderboard({**PLAIN, "texts": ["english", str(tmp_path / "mine.txt")], "max_bytes": 20})
    texts = texts_of(config)
    assert list(texts) == ["english", "mine"] and all(text.bytes <= 20 for text in texts.values())
    assert len(texts_of(make_leaderboard(PLAIN))) >= 8
    with pytest.raises(TokswapError, match="nowhere"):
        texts_of(make_leaderboard({**PLAIN, "texts": ["nowhere"]}))


def test_a_models_key_changes_with_the_content_of_parallel_texts(tmp_path: Path) -> None:
    files = [tmp_path / "base.txt", tmp_path / "new.txt"]
    for file in files:
        file.write_text("a line\nand another\n")
    fields = {"base": "a", "donor": "b", "method": "trans-tokenizer", "parallel_texts": list(map(str, files))}
    keys = [making_key(make_recipe(fields), "base", "donor")]
    files[1].write_text("a line\nand one more\n")
    keys.append(making_key(make_recipe(fields), "base", "donor"))
    files[1].write_text("a line\nand another\n")
    keys.append(making_key(make_recipe(fields), "base", "donor"))
    assert keys[0] == keys[2] != keys[1]


def test_a_models_key_changes_with_what_is_in_an_auxiliary_folder(place: Path, tmp_path: Path) -> None:
    space = tmp_path / "space"
    shutil.copytree(place / "donor", space)
    recipe = make_recipe({"base": "a", "donor": "b", "method": "nearest", "auxiliary": str(space)})
    before = making_key(recipe, "base", "donor")
    assert making_key(recipe, "base", "donor") == before
    shutil.copy(place / "base" / "model.safetensors", space)  # another model, in the same place
    assert making_key(recipe, "base", "donor") != before
    shutil.rmtree(space)
    with pytest.raises(TokswapError, match="auxiliary space"):
        making_key(recipe, "base", "donor")
