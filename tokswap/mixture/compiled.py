"""numba's compiler with a type: loops over words and events that numpy can't express."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function on its first call, and keep the machine code beside its source for the next process."""
    return cast("F", njit(cache=True, nogil=True)(function))
