"""The categories of a mixture: names and where their text is, from a command line or a YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from tokswap.errors import TokswapError
from tokswap.recipe import load_recipe

MOST_CATEGORIES = 1000
HINT = "a category is a name and its text, as in --category en=texts/en/, or `en: texts/en/` in a YAML file"

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


def parse_categories(given: Sequence[str]) -> dict[str, list[Path]]:
    """Turn "name=path" arguments into paths by name; a name that comes again adds to its text."""
    out: dict[str, list[Path]] = {}
    for argument in given:
        name, equals, path = argument.partition("=")
        if not (equals and name.strip() and path.strip()):
            raise TokswapError(f"{argument!r} is no category", HINT)
        out.setdefault(name.strip(), []).append(Path(path))
    return out


def load_categories(path: Path) -> dict[str, list[Path]]:
    """Read a YAML file of name: path, or name: [path, …]; paths are relative to the file's folder."""
    try:
        data: Any = load_recipe(path)
    except TokswapError as error:
        raise TokswapError(error.what, HINT) from None
    for name in data:
        if not isinstance(name, str):  # YAML takes the Norwegian no for false
            raise TokswapError(
                f"YAML reads a category's name as {name!r}", "put it in quotes, as in 'no': texts/no/"
            )
    return {name: _beside(path.parent, name, entry) for name, entry in data.items()}


def check_categories(categories: Mapping[str, Paths]) -> dict[str, list[Path]]:
    """Return categories as lists of paths. Raises TokswapError for fewer than two, or one without paths."""
    out = {name: _listed(name, paths) for name, paths in categories.items()}
    if not 2 <= len(out) <= MOST_CATEGORIES:
        raise TokswapError(f"a mixture needs 2 to {MOST_CATEGORIES:,} categories, not {len(out)}", HINT)
    for name, paths in out.items():
        if not paths:
            raise TokswapError(f"the category {name!r} has no text", HINT)
    return out


def _beside(folder: Path, name: str, entry: Any) -> list[Path]:
    entries: list[Any] = entry if isinstance(entry, list) else [entry]
    if not entries or not all(isinstance(one, str) and one for one in entries):
        raise TokswapError(f"the category {name!r} has no path, or one that is no text", HINT)
    return [Path(one) if one.startswith("~") else folder / one for one in entries]


def _listed(name: Any, paths: Any) -> list[Path]:
    several = [paths] if isinstance(paths, str | PathLike) else paths
    if not isinstance(name, str) or not isinstance(several, Sequence):
        raise TokswapError(f"{name!r}: {paths!r} is no category", HINT)
    wrong = [path for path in several if not isinstance(path, str | PathLike)]
    if wrong:
        raise TokswapError(f"the category {name!r} has {wrong[0]!r}, which is no path", HINT)
    return [Path(path) for path in several]
