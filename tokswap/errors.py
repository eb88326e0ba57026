"""The one exception that tokswap raises for bad input, with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence


class TokswapError(Exception):
    """Something a person can mend: `what` was tried and failed, `hint` says what to do.

    The command line prints the two as ``error:`` and ``hint:`` lines and exits with code 2. Where several things are
    wrong at once, `lines` has a sentence for each.
    """

    def __init__(self, what: str, hint: str, lines: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.lines = tuple(lines) or (what,)

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})"


class InvalidFieldsError(TokswapError):
    """Fields that a person gave are not right."""

    def __init__(self, subject: str, sentences: Sequence[str], hint: str) -> None:
        lines = [f"{subject}: {sentence}" for sentence in sentences]
        super().__init__(f"{subject}: {'; '.join(sentences)}", hint, lines)


class NotFiniteError(TokswapError):
    """A model computes NaN or infinity: there is nothing to measure, and verification fails."""
