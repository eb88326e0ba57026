"""What pydantic finds wrong with data that a person gave, in our sentences and with the names that the person wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from pydantic import ValidationError

# By the beginnings of pydantic's names of what is wrong; what has none of them is said in pydantic's own words.
_WORDS = {
    "missing": "is missing",
    "string_pattern": "has characters that a name can't have",
    "string": "must be text",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a number, and no infinity",
    "bool": "must be true or false",
    "list": "must be a list",
    "tuple": "must be a list",
    "dict": "must be names with values",
    "mapping": "must be names with values",
    "model": "must be names with values",
    "literal": "must be {expected}",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be below {lt}",
    "too_short": "must have {min_length} or more",
    "too_long": "must have {max_length} at the most",
    "value_error": "{error}",
}


KEY = "[key]"  # stands behind a name that isn't allowed itself


def error_sentences(
    error: ValidationError, names: list[str], given: Mapping[str, Any] | None = None
) -> list[str]:
    """Return one sentence for each thing that is wrong, with the nearest of `names` for an unknown one.

    `given` is the data: what a name in it may be one of several types, the sentence says all that it could be.
    """
    found: dict[str, list[str]] = {}
    unknown: list[str] = []
    for entry in error.errors():
        where = ".".join(_written([place for place in entry["loc"] if place != KEY], given))
        if entry["type"] == "extra_forbidden":
            near = get_close_matches(where, names, n=1)
            unknown.append(f"there is no {where!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        else:
            said = found.setdefault(where, [])
            said += [words] if (words := _words(entry)) not in said else []
    return [f"{where}: {_either(said)}" for where, said in found.items()] + unknown


def _either(said: list[str]) -> str:
    return " or ".join([said[0], *(words.removeprefix("must be ") for words in said[1:])])


def _words(entry: Any) -> str:
    kind = str(entry["type"])
    form = next((words for start, words in _WORDS.items() if kind.startswith(start)), None)
    return str(entry["msg"]) if form is None else form.format(**entry.get("ctx", {}))


def _written(places: Sequence[int | str], given: Mapping[str, Any] | None) -> list[str]:
    """Return the places that the data has, and the last one that it lacks: not the types of a choice of types."""
    if given is None:
        return [str(place) for place in places]
    out: list[str] = []
    at: Any = given
    for place in places:
        if isinstance(at, Mapping) and (place in at or not out or place == places[-1]):
            at = cast("Mapping[Any, Any]", at).get(place)
        elif isinstance(at, list) and isinstance(place, int) and place < len(cast("list[Any]", at)):
            at = cast("list[Any]", at)[place]
        else:
            continue
        out.append(str(place))
    return out
