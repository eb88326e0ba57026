"""Where recipes are: files of a person's own, or by name those that ship with tokswap."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from tokswap.data_files import recipes_folder
from tokswap.errors import TokswapError


def shipped() -> dict[str, Path]:
    """Return name → file of the recipes that ship with tokswap."""
    return {path.stem: path for path in sorted(recipes_folder().glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Return the file that a path or the name of a shipped recipe stands for; TokswapError with the nearest names."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    known = shipped()
    if name.removesuffix(".yaml") in known:
        return known[name.removesuffix(".yaml")]
    near = get_close_matches(name, known, n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"those that ship are {', '.join(known)}"
    raise TokswapError(f"there is no recipe {name!r}, neither a file nor one that ships with tokswap", hint)


def summary(path: Path) -> str:
    """Return the first comment line of a recipe: what it is for."""
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.lstrip("# ").strip()


def kind_of(name: str) -> str:
    """Return the field `kind` of a recipe: leaderboard, mixture-experiment, or nothing for a transplant's."""
    from tokswap.recipe import load_recipe

    return str(load_recipe(find_recipe(name)).get("kind", ""))


def is_transplant(name: str) -> bool:
    """Tell a recipe for a transplant: it has its own base, and no `kind` or `pairs`."""
    from tokswap.recipe import load_recipe

    fields = load_recipe(find_recipe(name))
    return "base" in fields and not {"kind", "pairs"} & set(fields)
