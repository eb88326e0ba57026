"""What a leaderboard is to compare, as checked data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from tokswap.errors import InvalidFieldsError, TokswapError
from tokswap.evaluation.texts import Text, default_texts, load_texts
from tokswap.healing.settings import Settings, make_settings
from tokswap.methods import methods
from tokswap.recipe import Recipe, make_recipe
from tokswap.schema_errors import error_sentences

KIND = "leaderboard"
"""The value of the field `kind`, which tells this kind of recipe from that of one transplant."""

OWN_FIELDS = ("base", "donor", "out", "evaluate", "evaluation_texts", "device")
"""Fields of a transplant's recipe that the leaderboard fills in itself."""

PLACES = ("pair", "base", "donor")
"""What a folder's template may name in braces."""

Name = Annotated[str, StringConstraints(pattern=r"^[\w.+-]+$")]  # names of files are made of it


class Pair(BaseModel):
    """A model to move and whose tokenizer it gets, as `open_source` takes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    donor: str


class Heal(BaseModel):
    """A healing after the transplant: a rung, its length as `budget` or `steps`, text files, and other settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rung: str
    budget: str | None = None
    steps: int | None = None
    texts: list[str] = Field(default_factory=list)
    seed: int = 0
    settings: dict[str, float] = Field(default_factory=dict)

    @property
    def settings_as_given(self) -> dict[str, Any]:
        """The other settings; those that count are whole numbers."""
        return {name: int(v) if v.is_integer() else v for name, v in self.settings.items()}

    @property
    def checked(self) -> Settings:
        """The settings of the run. Raises TokswapError for what can't be."""
        length = {"budget": self.budget, "steps": self.steps}
        return make_settings(self.rung, **length, seed=self.seed, **self.settings_as_given)


class Row(BaseModel):
    """A row of the table: fields of a transplant's recipe, a healing, and the pairs it is tried on (None: all)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    pairs: list[str] | None = None
    heal: Heal | None = None

    @property
    def recipe_fields(self) -> dict[str, Any]:
        """The fields that go into the recipe."""
        return dict(self.model_extra or {})


class Folder(BaseModel):
    """A row that is only evaluated: a folder with {pair}, {base} and {donor} in it, and the pairs that have one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str
    pairs: list[str] | None = None


class Leaderboard(BaseModel):
    """Rows x pairs x texts. `texts` are names of those that come with tokswap, or files; empty means the former all.

    `methods`: row → recipe fields; `every_method` adds each registered method that no row names, with its defaults;
    `defaults` are recipe fields of all of them. `rows`: row → folder that is only evaluated, or its template alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["leaderboard"]
    out: str = "leaderboard"
    pairs: dict[Name, Pair] = Field(min_length=1)
    methods: dict[Name, Row] = Field(default_factory=dict)
    every_method: bool = False
    defaults: dict[str, Any] = Field(default_factory=dict)
    rows: dict[Name, str | Folder] = Field(default_factory=dict)
    texts: list[str] = Field(default_factory=list)
    max_bytes: int | None = Field(default=None, ge=1)
    segmentation: bool = True
    probe: bool = True
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    keep_checkpoints: bool = False

    @property
    def folders(self) -> dict[str, Folder]:
        """The rows that are only evaluated."""
        return {n: Folder(folder=row) if isinstance(row, str) else row for n, row in self.rows.items()}

    @property
    def all_methods(self) -> dict[str, Row]:
        """The rows of methods, those of the registry that no row names at the end."""
        if not self.every_method:
            return dict(self.methods)
        named = {str(row.recipe_fields.get("method", "auto")) for row in self.methods.values()}
        rest = {name: Row.model_validate({"method": name}) for name in methods() if name not in named}
        return {**self.methods, **{name: row for name, row in rest.items() if name not in self.methods}}


def make_leaderboard(fields: Mapping[str, Any]) -> Leaderboard:
    """Check the fields of a leaderboard and of each of its transplants, all errors at once.

    Raises TokswapError that lists every error, with the nearest name for an unknown one.
    """
    names = list(Leaderboard.model_fields)
    try:
        config = Leaderboard.model_validate(dict(fields))
    except ValidationError as error:
        raise _wrong(error_sentences(error, names, fields)) from None
    wrong = [*_wrong_rows(config), *_wrong_folders(config)]
    if not config.all_methods and not config.rows:
        wrong.append("there is no row: name some under methods, or set every_method")
    if wrong:
        raise _wrong(wrong)
    return config


def recipe_of(config: Leaderboard, row: Row, pair: Pair) -> Recipe:
    """Return the transplant of one cell. Raises TokswapError for fields that are not right."""
    fields = {**config.defaults, **row.recipe_fields}
    if own := [name for name in OWN_FIELDS if name in fields]:
        raise TokswapError(f"{', '.join(own)} can't be set for a row", "the leaderboard fills it in")
    return make_recipe(
        {**fields, "base": pair.base, "donor": pair.donor, "device": config.device, "evaluate": False}
    )


def folder_of(template: str, name: str, pair: Pair) -> Path:
    """Return the folder of a row that is only evaluated."""
    return Path(template.format(pair=name, base=pair.base, donor=pair.donor)).expanduser()


def texts_of(config: Leaderboard) -> dict[str, Text]:
    """Return the texts to score. Raises TokswapError for files that can't be used."""
    known = default_texts()
    if not config.texts:
        chosen: Mapping[str, Text] = known
    else:
        files = load_texts([Path(name).expanduser() for name in config.texts if name not in known])
        chosen = {name: known[name] for name in config.texts if name in known} | files
    if config.max_bytes is None:
        return dict(chosen)
    return {name: text.first(config.max_bytes) for name, text in chosen.items()}


def _wrong_rows(config: Leaderboard) -> list[str]:
    out: list[str] = []
    pair = next(iter(config.pairs.values()))
    for name, row in config.all_methods.items():
        out += _wrong_pairs(config, f"methods.{name}", row.pairs)
        try:
            recipe_of(config, row, pair)
            if row.heal is not None:
                row.heal.checked  # noqa: B018 - it raises for settings that are wrong
        except TokswapError as error:
            out.append(f"methods.{name}: {error}")
    return out


def _wrong_folders(config: Leaderboard) -> list[str]:
    out = [f"rows.{name}: a method has that name" for name in config.rows if name in config.all_methods]
    for name, row in config.folders.items():
        out += _wrong_pairs(config, f"rows.{name}", row.pairs)
        try:
            row.folder.format(**dict.fromkeys(PLACES, ""))
        except (KeyError, ValueError, IndexError, AttributeError, TypeError):
            places = ", ".join("{" + place + "}" for place in PLACES)
            out.append(f"rows.{name}: {row.folder!r} may have {places} in it, and no other braces")
    return out


def _wrong_pairs(config: Leaderboard, where: str, pairs: list[str] | None) -> list[str]:
    unknown = [name for name in pairs or [] if name not in config.pairs]
    return [f"{where}.pairs: there is no pair {', '.join(unknown)}"] if unknown else []


def _wrong(sentences: list[str]) -> TokswapError:
    names = ", ".join(Leaderboard.model_fields)
    return InvalidFieldsError("the leaderboard is not right", sentences, f"its fields are {names}")
