"""The scores that end a run: added to the report of a folder that is written and verified, whatever becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tokswap.errors import TokswapError
from tokswap.report import Report


def with_evaluation(report: Report, evaluate: Callable[[], Report]) -> Report:
    """Return the report with what `evaluate` finds as its section, or with a warning of why it found nothing."""
    try:
        measured = evaluate()
    except TokswapError as error:  # the checkpoint is written and verified: that stands
        return replace(report, warnings=(*report.warnings, f"not evaluated: {error.what} ({error.hint})"))
    return replace(report, sections={**report.sections, "evaluation": measured})
