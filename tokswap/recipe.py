"""What a transplant is to do, as checked data: the command's flags, a YAML file and the library take the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tokswap.calibration_kinds import check_calibration
from tokswap.errors import InvalidFieldsError, TokswapError
from tokswap.methods import get_method
from tokswap.reasons import reason_of
from tokswap.schema_errors import error_sentences
from tokswap.vocab import MAX_TOKEN_ID

MAX_RECIPE_BYTES = 1_000_000
MAX_TOKENS = 100_000  # of YAML, four an entry: read in a second
MAX_DEPTH = 20  # levels of lists and mappings; recipes have two or three
# What PyYAML raises: besides its own errors those of int, float and date on a tagged or impossible value.
_NO_YAML = (yaml.YAMLError, RecursionError, ValueError, KeyError, AttributeError, TypeError, OverflowError)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it
_OPENING = (
    yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken,
)  # fmt: skip
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
Calibration = Annotated[str, AfterValidator(check_calibration)]


class Recipe(BaseModel):
    """A transplant: `base` and `donor` as `open_source` takes them, the method and all that decides the rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str
    donor: str
    out: str | None = None
    draft: bool = Field(
        default=False, description="the donor is the target of speculative decoding: ids and size exactly its"
    )
    supertokens: int | None = Field(
        default=None, ge=1, description="tokens that the base's own tokenizer gets more, learnt from text"
    )
    supertoken_texts: list[str] = Field(default_factory=list)
    max_words: int = Field(default=1, ge=1, description="words in a supertoken at most")
    method: str = "auto"
    parameters: dict[str, Any] = Field(default_factory=dict)
    hypernet: str | None = Field(
        default=None, description="the folder of a hypernetwork, or auto: the one in the cache for this base"
    )
    predict_all: bool = Field(
        default=False, description="let the hypernetwork predict shared tokens too, in place of copying them"
    )
    auxiliary: str = Field(
        default="donor", description="the space of donor-space methods: donor, ngrams or a folder"
    )
    map: dict[str, str] = Field(
        default_factory=dict, description="new token → base tokens, separated by spaces"
    )
    calibrate: Calibration = "auto"
    calibration_texts: list[str] = Field(default_factory=list)
    parallel_texts: list[str] = Field(
        default_factory=list,
        max_length=2,
        description="two line-aligned files: the base's language, the new tokenizer's",
    )
    keep_digits: Literal["base", "donor"] = "donor"
    untie: bool = False
    gguf: bool = Field(default=False, description="write a GGUF into the folder too")
    pad_vocab_to: int | None = Field(default=None, ge=1, le=MAX_TOKEN_ID)
    pad_to_multiple_of: int | None = Field(default=None, ge=1, le=MAX_TOKEN_ID)
    evaluate: bool = True
    evaluation_texts: list[str] = Field(default_factory=list)
    device: str = "auto"
    seed: int = Field(default=0, ge=0)

    def identity(self, inputs: Mapping[str, str]) -> str:
        """Return a stable id of what decides the output's bytes: the recipe without where and how it is run."""
        data = self.model_dump(exclude={"out", "evaluate", "evaluation_texts", "device"})
        text = json.dumps({"recipe": data, "inputs": dict(inputs)}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def make_recipe(fields: Mapping[str, Any]) -> Recipe:
    """Check the fields of a recipe and the parameters of its method, all errors at once.

    Raises TokswapError that lists every error, with the nearest name for an unknown one.
    """
    hints: list[str] = []
    sentences: list[str] = []
    if fields.get("supertokens") is not None and not fields.get("donor"):
        fields = {**fields, "donor": fields.get("base")}
    recipe, parameters = None, dict[str, Any]()
    try:
        recipe = Recipe.model_validate(dict(fields))
    except ValidationError as error:
        sentences = error_sentences(error, list(Recipe.model_fields), fields)
        hints.append(f"its fields are {', '.join(Recipe.model_fields)}")
    unnamed = "auto" if recipe is not None else None  # a misspelt `method` is one error, not two
    try:
        parameters = _parameters(fields.get("method", unnamed), fields.get("parameters"))
    except TokswapError as error:
        if recipe is not None:
            raise
        sentences += error.lines
        hints.append(error.hint)
    if recipe is None:
        raise InvalidFieldsError("the recipe is not right", sentences, "; ".join(hints))
    _check_learning(recipe)
    return recipe.model_copy(update={"parameters": parameters})


def _check_learning(recipe: Recipe) -> None:
    """Refuse tokens that can't be learnt: their donor is the base, and they need text."""
    if recipe.supertokens is None:
        if recipe.supertoken_texts or recipe.max_words > 1:
            raise TokswapError(
                "supertoken_texts and max_words say what supertokens are learnt from, and none are asked for",
                "give their number with --supertokens",
            )
        return
    if not recipe.supertoken_texts:
        raise TokswapError(
            "supertokens are learnt from text, and none was given",
            "name what to learn from with --text, as in --supertokens 2000 --text texts/en",
        )
    if recipe.draft:
        raise TokswapError(
            "a draft has its target's tokenizer exactly, and supertokens make another",
            "leave --for-draft-of (draft) or --supertokens out",
        )
    if recipe.donor != recipe.base:
        raise TokswapError(
            "supertokens go on from the base's own tokenizer, and another donor was named",
            "leave the donor out; `tokswap supertokens extend` writes a tokenizer.json that can be one",
        )


def _parameters(method: object, given: object) -> dict[str, Any]:
    """Return all parameters of a recipe's method; what is of the wrong type altogether is for the schema to refuse."""
    if not isinstance(method, str) or not isinstance(given, Mapping | None):
        return {}
    named = {str(name): value for name, value in (given or {}).items()}
    if method != "auto":
        return get_method(method).checked(named)
    if named:
        raise TokswapError(
            "parameters belong to one method, and the method is auto", "name it, as in --method omp --set k=8"
        )
    return {}


def load_recipe(path: Path) -> dict[str, Any]:
    """Read a YAML recipe into fields for `make_recipe`; aliases, which can explode, are refused."""
    try:
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise TokswapError(
                f"{path} is larger than {MAX_RECIPE_BYTES:,} bytes", "a recipe is a page of YAML"
            )
        text = path.read_text(encoding="utf-8")
        _refuse_tricks(path, text)
        data = yaml.load(text, Loader=_LOADER)
    except (OSError, UnicodeDecodeError) as error:
        raise TokswapError(
            f"{path} can't be read: {reason_of(error)}", "`tokswap recipes ls` shows the ones that ship"
        ) from None
    except _NO_YAML as error:
        raise TokswapError(
            f"{path} is no YAML: {_place(error)}",
            "`tokswap recipes cp` gives one",
        ) from None
    if not isinstance(data, dict):
        raise TokswapError(f"{path} holds no fields", "`tokswap recipes show gemma3-smollm2` shows one")
    return cast("dict[str, Any]", data)


def _place(error: Exception) -> str:
    """Return where a file stops being YAML, and how."""
    mark: Any = getattr(error, "problem_mark", None)
    if mark is None:
        return reason_of(error)
    problem = getattr(error, "problem", None) or "it goes wrong"
    return f"line {mark.line + 1:,}, column {mark.column + 1:,}: {problem}"


def _refuse_tricks(path: Path, text: str) -> None:
    """Refuse what makes a small file large or slow: aliases, endless lists, nesting deeper than any recipe's.

    With PyYAML's own scanner: libyaml's looks ahead, and some of its builds crash or give up on deep nesting
    before the first bracket is handed over.
    """
    depth = 0
    for count, token in enumerate(yaml.scan(text, Loader=yaml.SafeLoader)):
        if count > MAX_TOKENS:
            raise TokswapError(
                f"{path} holds more than {MAX_TOKENS:,} YAML tokens", "a recipe is a page of YAML"
            )
        if isinstance(token, yaml.AliasToken):
            raise TokswapError(f"{path} uses YAML aliases", "write the value out where it is used")
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > MAX_DEPTH:
            raise TokswapError(f"{path} is nested more than {MAX_DEPTH} deep", "a recipe is a page of YAML")
