"""What calibration did, as figures, facts and warnings of a report."""

from __future__ import annotations

from typing import Any

from tokswap.calibration import Calibrated
from tokswap.judging import Judged
from tokswap.report import Figure

# Stage → the word that its facts and figures begin with, and what its strength is called.
SETTINGS = {
    "lexicon": ("lexicon", "lexicon_share"),
    "chain": ("chain", "chain_deviation"),
    "fit": ("fit", "precision"),
    "fit-all": ("fit", "precision"),
}


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
    for name, judged in calibrated.stages.items():
        figures |= _gain(SETTINGS[name][0], judged)
    return figures


def calibration_facts(calibrated: Calibrated) -> dict[str, Any]:
    """Return the kind that was carried out, the shifts in nats, why, and what came of each further stage."""
    nats = {name: round(shift.c, 4) for name, shift in calibrated.shifts.items()}
    kept = [name for name, judged in calibrated.stages.items() if judged.kept]
    kind = "+".join(kept) or ("shift" if nats else "none")
    facts: dict[str, Any] = {"kind": kind, "nats": nats, "reason": calibrated.reason}
    for name, judged in calibrated.stages.items():
        word, setting = SETTINGS[name]
        facts |= {word: judged.reason, setting: judged.setting}
    return facts


def calibration_warnings(calibrated: Calibrated) -> tuple[str, ...]:
    """Return what a person should know of the further stages: what was left out, or that shared rows moved."""
    left_out = [judged.reason for judged in calibrated.stages.values() if not judged.kept]
    every = calibrated.stages.get("fit-all")
    moved = ["the rows of shared tokens were fitted too: they are not the base's bit for bit"]
    return (*left_out, *(moved if every is not None and every.kept else []))


def _gain(word: str, judged: Judged) -> dict[str, Figure]:
    if judged.before is None or judged.after is None:
        return {}
    note = "of text that the fit did not see" if word == "fit" else "of text that it did not see"
    return {
        f"{word}_states": Figure(judged.states, "tokens"),
        f"{word}_loss_before": Figure(round(judged.before, 4), "nats a token", note=note),
        f"{word}_loss_after": Figure(round(judged.after, 4), "nats a token", note=note),
    }
