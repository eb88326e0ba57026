"""What a replacement takes away and brings, before anything is written, and what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tokswap.calibration import Calibrated
from tokswap.calibration_report import calibration_facts, calibration_figures
from tokswap.display.text import escape
from tokswap.evaluation.texts import Text
from tokswap.plan import Plan
from tokswap.reading import Reader
from tokswap.replacing.choose import Replaced
from tokswap.report import Figure, Report
from tokswap.supertokens.extending import describe, found_warnings
from tokswap.supertokens.measure import measure
from tokswap.tokenizer_traits import EXAMPLES, encode


def replacement_report(
    plan: Plan, reader: Reader, replaced: Replaced, add: int, held_out: Mapping[str, Text]
) -> Report:
    """Return the tokens that go and come, what that saves of the text, and what it does to `held_out` texts."""
    new, figures, facts = describe(plan.base, replaced.tokenizer, replaced.found)
    gone = [escape(plan.base_vocab.bytes_of(i)) for i in replaced.ids]
    figures = {
        "tokens": Figure(len(plan.base_vocab), "tokens", note="before and after"),
        "rows": Figure(plan.alignment.rows, "rows", note="before and after"),
        "replaced": Figure(len(replaced.ids), "tokens", note="at the ids of those that went"),
        "removable": Figure(replaced.removable, "tokens", note="neither used by the text nor needed"),
        **{name: figure for name, figure in figures.items() if name != "added"},
    }
    facts = {
        "base": plan.base.source,
        "out": plan.recipe.out,
        "method": plan.method.name,
        "calibration": plan.recipe.calibrate,
        "removed": gone[:EXAMPLES],
        **facts,
    }
    texts = measure(new, {"base": reader}, held_out)
    sections = {
        name: replace(one, figures={**one.figures, "removed": _used(reader, held_out[name], replaced.ids)})
        for name, one in texts.sections.items()
    }
    longer = _longer(sections)
    warnings = (*plan.warnings, *found_warnings(replaced.found, add), *longer)
    return Report("replacement", facts, figures, {"texts": replace(texts, sections=sections)}, warnings)


def with_outcome(report: Report, calibrated: Calibrated, written: Mapping[str, Any]) -> Report:
    """Return the report with what calibration did and what was written."""
    proved = Figure(written["untouched"]["tensors"], "tensors")
    return replace(
        report,
        facts={**report.facts, "calibration": calibration_facts(calibrated)},
        figures={
            **report.figures,
            "tensors_copied_and_proved_equal": proved,
            **calibration_figures(calibrated),
        },
        warnings=tuple(dict.fromkeys([*report.warnings, *written["warnings"]])),
    )


def _used(reader: Reader, text: Text, ids: tuple[int, ...]) -> Figure:
    """Return the share of a text's tokens, as they were, that are gone."""
    found = np.concatenate([np.asarray(part) for part in encode(reader.engine, text.documents)])
    return Figure(float(np.isin(found, ids).mean()), "share", note="of its tokens are no more")


def _longer(sections: Mapping[str, Report]) -> tuple[str, ...]:
    names = [name for name, one in sections.items() if one.figures["base_gain"].value < 1]
    if not names:
        return ()
    which = ", ".join(escape(name) for name in names)
    return (f"longer than before, for they used tokens that went: {which}",)
