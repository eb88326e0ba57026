"""The cells of a leaderboard, and keys that tell whether a result on disk is that of the same inputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap import __version__
from tokswap.auxiliary import DONOR, NGRAMS, open_space
from tokswap.board.config import Heal, Leaderboard, folder_of, recipe_of
from tokswap.evaluation.probe import default_prompts
from tokswap.evaluation.texts import default_texts, load_texts
from tokswap.parallel_texts import read_parallel
from tokswap.recipe import Recipe

if TYPE_CHECKING:
    from tokswap.evaluation.texts import Text

RESULT_VERSION = 1  # goes up when the same inputs would give other figures
_DIGITS = 16  # of a key in a file's name


@dataclass(frozen=True)
class Cell:
    """One row on one pair: a transplant to carry out, or a folder that somebody else made."""

    pair: str
    row: str
    base: str
    donor: str
    recipe: Recipe | None = None
    folder: Path | None = None
    heal: Heal | None = None

    @property
    def name(self) -> str:
        """The cell's name, and the beginning of its files' names."""
        return f"{self.pair}--{self.row}"


def cells_of(config: Leaderboard) -> list[Cell]:
    """Return every cell, pair by pair, in the order of the recipe."""
    return [cell for name in config.pairs for cell in _cells_of_pair(config, name)]


def _cells_of_pair(config: Leaderboard, name: str) -> list[Cell]:
    pair = config.pairs[name]
    made = [
        Cell(name, row, pair.base, pair.donor, recipe=recipe_of(config, fields, pair), heal=fields.heal)
        for row, fields in config.all_methods.items()
        if fields.pairs is None or name in fields.pairs
    ]
    given = [
        Cell(name, row, pair.base, pair.donor, folder=folder_of(fields.folder, name, pair))
        for row, fields in config.folders.items()
        if fields.pairs is None or name in fields.pairs
    ]
    return [*made, *given]


def making_key(recipe: Recipe, base: str, donor: str) -> str:
    """Return a hash of all that decides the rows: recipe, version, contents of texts, and the models' identities.

    Raises TokswapError for texts and an auxiliary space that can't be read.
    """
    inputs = {"base": base, "donor": donor, "tokswap": __version__}
    paths = [Path(path).expanduser() for path in recipe.calibration_texts]
    texts = load_texts(paths) if paths else default_texts("calibration")
    parallel = read_parallel([Path(path).expanduser() for path in recipe.parallel_texts])
    return _hash([recipe.identity(inputs), _content(texts), parallel, _space(recipe.auxiliary)])


def healed_key(making: str, heal: Heal) -> str:
    """Return a hash of a transplant, its healing and the contents of the text. Raises TokswapError for the text."""
    paths = [Path(path).expanduser() for path in heal.texts]
    texts = load_texts(paths) if paths else default_texts("calibration")
    return _hash([making, heal.model_dump(exclude={"texts"}), _content(texts)])


def cell_key(making: str, base: str, texts: Mapping[str, Text], config: Leaderboard) -> str:
    """Return a hash of the model (`making`), of its base's identity and of all else that decides its figures."""
    how: dict[str, Any] = config.model_dump(include={"segmentation", "probe", "device", "dtype"})
    how["prompts"] = default_prompts() if config.probe else ()
    return _hash([RESULT_VERSION, __version__, making, base, _content(texts), how])


def file_name(cell: Cell, key: str) -> str:
    """Return the name that the files of a cell begin with."""
    return f"{cell.name}-{key[:_DIGITS]}"


def _space(auxiliary: str) -> str:
    """Return the name of an auxiliary space, and of a folder its identity: a model may be replaced in its place."""
    return auxiliary if auxiliary in (DONOR, NGRAMS) else open_space(auxiliary).identity()


def _content(texts: Mapping[str, Text]) -> list[Any]:
    return [[name, list(text.documents)] for name, text in texts.items()]


def _hash(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
