"""The libraries of the extra `mixture`, looked for before the work begins."""

from __future__ import annotations

import importlib.util

from tokswap.errors import TokswapError

NEEDED = ("highspy", "numba", "polars")


def require_mixture() -> None:
    """Raise TokswapError where a library of the extra is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise TokswapError(
            f"inferring a mixture needs {' and '.join(missing)}",
            "install them with: pip install 'tokswap[mixture]'",
        )
