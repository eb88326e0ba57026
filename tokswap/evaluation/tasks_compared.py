"""The same tasks on a model and on its base, as one report."""

from __future__ import annotations

import math

from tokswap.report import Figure, Report


def tasks_compared(model: Report, base: Report) -> Report:
    """Return the model's report with each figure's `base_NAME` and `NAME_difference` (model less base) beside it.

    The difference's interval takes the two for independent, which they are not: on the same examples it is too wide.
    """
    sections = {
        name: Report(its.kind, its.facts, {**its.figures, **_beside(its, base.sections.get(name))})
        for name, its in model.sections.items()
    }
    facts = {**model.facts, "against": base.facts["model"]}
    return Report(model.kind, facts, model.figures, sections, (*model.warnings, *base.warnings))


def _beside(model: Report, base: Report | None) -> dict[str, Figure]:
    out: dict[str, Figure] = {}
    for name, figure in ({} if base is None else base.figures).items():
        out[f"base_{name}"] = figure
        if (ours := model.figures.get(name)) is not None:
            out[f"{name}_difference"] = _difference(ours, figure)
    return out


def _difference(ours: Figure, theirs: Figure) -> Figure:
    value = ours.value - theirs.value
    if ours.high is None or theirs.high is None:
        return Figure(value, ours.unit)
    wide = math.hypot(ours.high - ours.value, theirs.high - theirs.value)
    note = "interval: as if the two were independent, so too wide"
    return Figure(value, ours.unit, value - wide, value + wide, note)
