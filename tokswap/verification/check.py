"""What a check is: a name, a function, and a finding that is a sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from tokswap.errors import TokswapError
from tokswap.report import Figure

if TYPE_CHECKING:
    from tokswap.verification.subject import Subject

EXAMPLES = 5
"""Most tokens, tensors or files that a sentence names."""


class Outcome(StrEnum):
    """What became of a check; only `FAILED` makes the answer no."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """An outcome, a sentence that says what was found or why nothing could be, and numbers where there are any."""

    outcome: Outcome
    sentence: str
    figures: Mapping[str, Figure] = field(default_factory=dict[str, Figure])


CheckFunction = Callable[["Subject"], Finding]


@dataclass(frozen=True)
class Check:
    """One check by its name, and what it can't be made without.

    `rows` are embedding tables that can be found and read, `tokenizer` a tokenizer.json; `runs_model` is true where
    the model is loaded, not only its files read.
    """

    name: str
    function: CheckFunction
    rows: bool = False
    tokenizer: bool = False
    runs_model: bool = False


def passed(sentence: str, **figures: Figure) -> Finding:
    """Return the finding of a check that holds."""
    return Finding(Outcome.PASSED, sentence, figures)


def warned(sentence: str, **figures: Figure) -> Finding:
    """Return a finding that a person should know and that breaks nothing by itself."""
    return Finding(Outcome.WARNED, sentence, figures)


def failed(sentence: str, **figures: Figure) -> Finding:
    """Return the finding of a check that doesn't hold."""
    return Finding(Outcome.FAILED, sentence, figures)


def not_checked(why: str) -> Finding:
    """Return the finding of a check that can't be made here."""
    return Finding(Outcome.NOT_CHECKED, why)


def run_check(check: Check, subject: Subject) -> Finding:
    """Run one check; an input that the check itself can't read is a failure and ends no other check."""
    if check.rows and subject.lacks_rows:
        return not_checked(subject.lacks_rows)
    if check.tokenizer and not subject.checkpoint.tokenizer:
        return not_checked("there is no tokenizer.json")
    try:
        return check.function(subject)
    except TokswapError as error:
        return failed(f"{error.what} ({error.hint})")


def first_of(names: Sequence[str]) -> str:
    """Return the first few names with the number of the others: "a, b, and 3 more"."""
    shown = ", ".join(names[:EXAMPLES])
    return shown if len(names) <= EXAMPLES else f"{shown}, and {len(names) - EXAMPLES:,} more"
