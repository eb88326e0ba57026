"""Why something failed, in words for a person: what libraries say of it is written for programmers."""

from __future__ import annotations

import json


def reason_of(error: BaseException) -> str:
    """Return a few words: the system's for files, a place for what isn't JSON or UTF-8, else its first line."""
    if isinstance(error, UnicodeDecodeError):
        return f"it isn't UTF-8 (byte {error.start:,})"
    if isinstance(error, json.JSONDecodeError):
        return f"it breaks off or goes wrong at line {error.lineno:,}, column {error.colno:,}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing" if error.args else "something is missing"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return next(iter(str(error).splitlines()), "") or type(error).__name__
