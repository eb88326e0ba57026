"""Categories as people name them, and the libraries that are needed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tokswap.errors import TokswapError
from tokswap.mixture.categories import check_categories, load_categories, parse_categories
from tokswap.mixture.corpus import category_files
from tokswap.mixture.needs import require_mixture


def test_arguments_name_text_and_repeated_names_add_to_it() -> None:
    found = parse_categories(["en=a/b=c", "fr=x", "en=y"])
    assert found == {"en": [Path("a/b=c"), Path("y")], "fr": [Path("x")]}


@pytest.mark.parametrize("argument", ["en", "=x", "en=", " = "])
def test_arguments_that_name_nothing(argument: str) -> None:
    with pytest.raises(TokswapError, match="is no category"):
        parse_categories([argument])


def test_paths_of_a_file_lie_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text("en: texts/en\n'no': [a.txt, /b.txt]\n")
    assert load_categories(file) == {
        "en": [tmp_path / "texts/en"],
        "no": [tmp_path / "a.txt", Path("/b.txt")],
    }


@pytest.mark.parametrize(
    "text", ["en: 3\n", "en: []\n", "en: {a: b}\n", "- en\n", "en: [a, 3]\n", "en: *x\n"]
)
def test_files_that_name_nothing(text: str, tmp_path: Path) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text(text)
    with pytest.raises(TokswapError) as error:
        load_categories(file)
    assert "--category en=texts/en/" in error.value.hint


def test_names_that_yaml_takes_for_something_else_are_not_guessed(tmp_path: Path) -> None:
    file = tmp_path / "categories.yaml"
    file.write_text("no: texts/no\n")
    with pytest.raises(TokswapError, match="name as False") as error:
        load_categories(file)
    assert "quotes" in error.value.hint


@pytest.mark.parametrize(
    "categories", [{"a": "x", "b": [5]}, {"a": "x", "b": 5}, {"a": "x", 3: "y"}, {"a": "x", "b": None}]
)
def test_what_is_no_path_is_named(categories: Any) -> None:
    with pytest.raises(TokswapError, match=r"is no path|is no category"):
        check_categories(categories)


@pytest.mark.parametrize("path", ["x" * 300, "~nobody-of-this-name/texts"])
def test_paths_that_no_system_takes(path: str) -> None:
    with pytest.raises(TokswapError, match=r"category 'en': .* can't be read: "):
        category_files("en", check_categories({"en": [path], "fr": "x"})["en"])


def test_a_mixture_has_two_categories_and_each_has_text() -> None:
    assert check_categories({"a": "x", "b": [Path("y"), "z"]}) == {
        "a": [Path("x")],
        "b": [Path("y"), Path("z")],
    }
    with pytest.raises(TokswapError, match="not 1"):
        check_categories({"a": "x"})
    with pytest.raises(TokswapError, match="'b' has no text"):
        check_categories({"a": "x", "b": []})


def test_libraries_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec

    def find(name: str, *more: Any) -> Any:
        return None if name == "highspy" else there(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(TokswapError, match=r"needs .*highspy") as error:
        require_mixture()
    assert "tokswap[mixture]" in error.value.hint
