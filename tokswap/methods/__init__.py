"""Initialisation methods: one file each, found by name, every one a pure function over arrays.

A method is decorated with `@method("name", paper=…)`. Its keyword arguments are its parameters: they are the
recipe's schema, what `--set key=value` sets, and its line in `tokswap methods`. Their types carry their bounds
(`tokswap.methods.bounds`).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from tokswap.errors import InvalidFieldsError, TokswapError
from tokswap.schema_errors import error_sentences

if TYPE_CHECKING:
    from torch import Tensor

Space = Literal["donor", "base"]
Side = Literal["input", "output", "tied"]


@dataclass(frozen=True)
class Pieces:
    """The base tokens that spell each new token: a ragged table of n rows.

    `ids` Int[total] base ids, `lengths` Int[total] their bytes, `starts` Int[n + 1] where each row begins. A row
    is empty where the base has no token for some byte.
    """

    ids: Tensor
    lengths: Tensor
    starts: Tensor


@dataclass(frozen=True)
class Links:
    """What parallel text says of new tokens: `weights` Float[m] is P(base token | new token).

    `new` Int[m] ids of the new vocabulary, `base` Int[m] ids of the base.
    """

    new: Tensor
    base: Tensor
    weights: Tensor


@dataclass(frozen=True)
class SideBySide:
    """Input and output rows (V d) as one table (V 2d) that is never made: only the rows that are asked for are.

    A tied donor gives one solution for both matrices of an untied base; joining the two tables in memory would
    double the largest thing there is.
    """

    input: Tensor
    output: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the table."""
        return len(self.input), self.input.shape[1] + self.output.shape[1]

    def __getitem__(self, ids: Tensor) -> Tensor:
        import torch

        return torch.cat([self.input[ids], self.output[ids]], dim=-1)


class RowNetwork(Protocol):
    """A trained network that makes the rows of a task's targets (`tokswap.hypernet.predict`).

    `bias` Float32[n] are the output biases that it predicted with the last rows, or None.
    """

    bias: Tensor | None

    def rows(self, task: Task, language: str = "") -> Tensor:
        """Return Float32[n w]."""
        ...


@dataclass(frozen=True)
class Task:
    """What a method may look at to make the rows of n new tokens.

    `base` Float[V d] rows of the base in their stored dtype (input and output side by side where both come from
    one donor space); `usable` Int[m] base ids of ordinary tokens with finite rows that are not zero;
    `donor` Float[W e] rows of the donor, or None; `targets` Int[n] the new ids, which are rows of the donor;
    `anchors` Int[S 2] (base id, new id) of tokens that both have, with usable rows on both sides; `pieces` how
    the base spells the targets. In an auxiliary space `donor` holds the vectors of base and new tokens, and the
    anchors are all base tokens that have one. `links` come from parallel text, where there is any, and `network` from a
    file. `device` is where the heavy products go; `budget` bytes of working memory.
    """

    base: Tensor | SideBySide
    usable: Tensor
    targets: Tensor
    pieces: Pieces
    anchors: Tensor
    donor: Tensor | None = None
    links: Links | None = None
    network: RowNetwork | None = None
    side: Side = "tied"
    device: str = "cpu"
    seed: int = 0
    budget: int = 512 * 1024**2
    on_progress: Callable[[int, int], None] | None = None

    def report(self, done: int) -> None:
        """Tell the caller how many of the targets are done."""
        if self.on_progress is not None:
            self.on_progress(done, len(self.targets))


@dataclass(frozen=True)
class Method:
    """One entry of the registry: whose rows it reasons in, what else it needs, and its parameters."""

    name: str
    summary: str
    paper: str
    space: Space
    parallel: bool
    function: Callable[..., Tensor]
    defaults: Mapping[str, Any]
    annotations: Mapping[str, Any]
    network: bool = False

    def __call__(self, task: Task, **parameters: Any) -> Tensor:
        """Return Float32[n d], one finite row a target.

        Raises TokswapError where the task lacks what it needs, and for parameters that `checked` refuses.
        """
        parameters = self.checked(parameters)
        if self.space == "donor":
            _check_donor(self.name, task)
        if self.parallel and task.links is None:
            raise no_parallel_text(self.name)
        if self.network and task.network is None:
            raise no_network(self.name)
        return self.function(task, **parameters)

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all parameters: defaults filled in, texts converted to the types that the method declares.

        Raises TokswapError that lists every one that is unknown, of another type or out of its bounds.
        """
        try:
            return self._schema(**given).model_dump()
        except ValidationError as error:
            known = ", ".join(f"{n}={d}" for n, d in self.defaults.items()) or "none"
            sentences = error_sentences(error, list(self.defaults), given)
            raise InvalidFieldsError(
                f"method {self.name}", sentences, f"its parameters are {known}"
            ) from None

    @cached_property
    def _schema(self) -> type[BaseModel]:
        fields: dict[str, Any] = {n: (self.annotations[n], d) for n, d in self.defaults.items()}
        return create_model(f"{self.name} parameters", __config__=ConfigDict(extra="forbid"), **fields)


_REGISTRY: dict[str, Method] = {}


def method(
    name: str, *, paper: str, space: Space, parallel: bool = False, network: bool = False
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function `(task, *, parameter=default, …) -> Float32[n d]` under a name.

    `space` "donor": the rows follow from geometry among the donor's rows, so one solution serves input and
    output when both donor matrices are one. "base": they follow from the base alone, and the sides may differ.
    `parallel`: it looks at the links that parallel text gives. `network`: it takes a trained network, and makes input
    and output rows in one go.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if name in _REGISTRY:
            raise ValueError(f"two methods are called {name!r}")
        keywords = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        if any(p.default is inspect.Parameter.empty for p in keywords):
            raise ValueError(f"every parameter of {name!r} needs a default")
        _REGISTRY[name] = Method(
            name=name,
            summary=(inspect.getdoc(function) or "").split("\n")[0],
            paper=paper,
            space=space,
            parallel=parallel,
            function=function,
            defaults={p.name: p.default for p in keywords},
            annotations=inspect.get_annotations(function, eval_str=True),
            network=network,
        )
        return function

    return register


@cache
def methods() -> Mapping[str, Method]:
    """Return every method by name; the first call imports the files of this folder."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def get_method(name: str) -> Method:
    """Return one method, or raise TokswapError with the nearest names."""
    known = methods()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the methods are {', '.join(known)}"
        raise TokswapError(f"there is no method {name!r}", hint)
    return known[name]


def no_parallel_text(name: str) -> TokswapError:
    """Return the error for a method that needs parallel text and has none."""
    return TokswapError(
        f"method {name!r} needs parallel text, and none was given",
        "give two files with a line for a line: --parallel-text BASE.txt --parallel-text NEW.txt",
    )


def no_network(name: str) -> TokswapError:
    """Return the error for a method that takes a trained network and has none."""
    return TokswapError(
        f"method {name!r} needs a hypernetwork, and none was given",
        "name its folder with --hypernet DIR, or train one with: tokswap hypernet train",
    )


def _check_donor(name: str, task: Task) -> None:
    if task.donor is None:
        raise TokswapError(
            f"method {name!r} needs the donor's embeddings, and this donor is a tokenizer alone",
            "give a donor with weights, or --auxiliary ngrams, or --method subword, which needs only the tokenizer",
        )
    if len(task.anchors) == 0:
        raise TokswapError(
            f"method {name!r} needs tokens that both vocabularies have, and there is none",
            "choose --method subword, which needs no shared tokens",
        )
