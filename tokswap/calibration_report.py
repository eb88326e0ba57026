"""What calibration did, as figures, facts and warnings of a report."""

from __future__ import annotations

from typing import Any

from tokswap.calibration import Calibrated
from tokswap.report import Figure


def calibration_figures(calibrated: Calibrated) -> dict[str, Figure]:
    """Return the shift of each group with its masses, and what a fit was judged by."""
    figures: dict[str, Figure] = {}
    for name, shift in calibrated.shifts.items():
        figures |= {
            f"shift_{name}": Figure(round(shift.c, 4), "nats", note="what its tokens' mean logit falls by"),
            f"mass_{name}_before": Figure(shift.mass_before, "probability"),
            f"mass_{name}_after": Figure(shift.mass_after, "probability", note="of the shift alone"),
            f"share_{name}": Figure(shift.share, "share of tokens"),
        }
    return figures | _fit_figures(calibrated)


def calibration_facts(calibrated: Calibrated) -> dict[str, Any]:
    """Return the kind that was carried out, the shifts in nats, and why."""
    nats = {name: round(shift.c, 4) for name, shift in calibrated.shifts.items()}
    facts: dict[str, Any] = {"kind": "shift" if nats else "none", "nats": nats, "reason": calibrated.reason}
    fit = calibrated.fit
    if fit is not None:
        facts |= {"fit": fit.reason, "precision": fit.precision}
        facts["kind"] = ("fit-all" if fit.shared else "fit") if fit.kept else facts["kind"]
    return facts


def calibration_warnings(calibrated: Calibrated) -> tuple[str, ...]:
    """Return what a person should know of a fit: that it was left out, or that shared rows moved."""
    fit = calibrated.fit
    if fit is None:
        return ()
    if not fit.kept:
        return (fit.reason,)
    return (
        ("the rows of shared tokens were fitted too: they are not the base's bit for bit",)
        if fit.shared
        else ()
    )


def _fit_figures(calibrated: Calibrated) -> dict[str, Figure]:
    fit = calibrated.fit
    if fit is None or fit.before is None or fit.after is None:
        return {}
    note = "of text that the fit did not see"
    return {
        "fit_states": Figure(fit.states, "tokens"),
        "fit_loss_before": Figure(round(fit.before, 4), "nats a token", note=note),
        "fit_loss_after": Figure(round(fit.after, 4), "nats a token", note=note),
    }
