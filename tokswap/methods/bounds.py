"""Bounds of parameters, declared where a method declares the parameter: `k: Count = 8`.

They are part of the recipe's schema, so that a value outside is refused before anything is read; a method that is
called by itself checks them too.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]

WORDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def type_and_bounds(annotation: Any) -> tuple[Any, str]:
    """Return a parameter's bare type and its bounds in words, "" for none: (int, "at least 1")."""
    if get_origin(annotation) is not Annotated:
        return annotation, ""
    bare, *declared = get_args(annotation)
    limits = [limit for field in declared if isinstance(field, FieldInfo) for limit in field.metadata]
    words = [
        f"{word} {getattr(limit, name):g}"
        for limit in limits
        for name, word in WORDS.items()
        if hasattr(limit, name)
    ]
    return bare, ", ".join(words)
