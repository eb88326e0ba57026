"""Find the data that travels with tokswap: `recipes/` and `data/`, in a wheel and in a checkout alike."""

from __future__ import annotations

from pathlib import Path

from tokswap.errors import TokswapError


def data_folder(name: str) -> Path:
    """Return the folder `recipes` or `data`: inside an installed package `_name`, in a checkout `name`.

    Raises TokswapError when neither is there (a damaged installation).
    """
    package = Path(__file__).resolve().parent
    for folder in (package / f"_{name}", package.parent / name):
        if folder.is_dir():
            return folder
    raise TokswapError(f"the folder {name!r} that belongs to tokswap is missing", "reinstall tokswap")


def recipes_folder() -> Path:
    """Return the folder of the recipes that come with tokswap."""
    return data_folder("recipes")


def data_file(name: str) -> Path:
    """Return one file of `data/`, e.g. ``aliases.yaml``; TokswapError when it is not there."""
    path = data_folder("data") / name
    if not path.exists():
        raise TokswapError(f"the data file {name!r} that belongs to tokswap is missing", "reinstall tokswap")
    return path
