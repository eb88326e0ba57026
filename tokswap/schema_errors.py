"""What pydantic finds wrong with data that a person gave, in sentences."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def error_sentences(error: ValidationError, names: list[str]) -> list[str]:
    """Return one sentence for each thing that is wrong, with the nearest of `names` for an unknown one."""
    out: list[str] = []
    for entry in error.errors():
        where = ".".join(map(str, entry["loc"]))
        if entry["type"] == "extra_forbidden":
            near = get_close_matches(where, names, n=1)
            out.append(f"there is no {where!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        else:
            out.append(f"{where}: {entry['msg']}")
    return out
