"""Intervals by hand, and what is said of them against the experiments that they were measured in."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import mixture_coverage

from tokswap.mixture import calibration
from tokswap.mixture.calibration import COVERAGE, FLOOR, FOLD_WIDTH, TEXT_WIDTH, calibrated, coverage_words

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_intervals_by_hand() -> None:
    shares, error = np.array([0.5, 0.0, 0.5]), np.array([0.01, 0.0, 0.0])
    low, high = calibrated(shares, error, np.array([10**15, 10**6, 1_000_000]), 16_000)
    assert (high - low)[0] / 2 == pytest.approx(np.hypot(2 * FOLD_WIDTH * 0.01, FLOOR), rel=1e-6)
    assert (low[1], high[1]) == (0.0, pytest.approx(FLOOR))
    assert (high - low)[2] / 2 == pytest.approx(np.hypot(TEXT_WIDTH * 0.5 / 1_000, FLOOR), rel=1e-6)


def test_intervals_stay_between_nothing_and_all() -> None:
    low, high = calibrated(np.array([0.999, 0.001]), np.array([0.1, 0.1]), np.array([10_000, 10_000]), 300)
    assert (low >= 0).all() and (high <= 1).all() and (low < high).all()


def test_what_is_said_of_them_is_what_was_measured() -> None:
    results = json.loads((RESULTS / "mixture-coverage.json").read_text())
    groups = results["groups"]
    held_out = groups["held out: all"]
    assert results["used"] == {"a": FOLD_WIDTH, "b": TEXT_WIDTH}
    assert COVERAGE["held_out"] == held_out["coverage"] and COVERAGE["held_out_shares"] == held_out["shares"]
    (other,) = (one for name, one in groups.items() if "another source" in name)
    assert COVERAGE["other_source"] == other["coverage"]
    fitted = [one for name, one in groups.items() if name.startswith("fitted")]
    total = sum(one["coverage"] * one["shares"] for one in fitted) / sum(one["shares"] for one in fitted)
    assert COVERAGE["fitted"] == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(("held", "named"), [(0.949, False), (0.95, True)])
def test_only_what_holds_as_much_is_called_by_it(
    held: float, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "COVERAGE", {**COVERAGE, "held_out": held})
    assert coverage_words().startswith("95 % intervals") == named
    assert f"{100 * held:.1f} % of" in coverage_words()


def cell(seed: int, error: float = 0.002, size: int = 200_000) -> dict[str, Any]:
    """Shares that err by normal noise of the folds' size and of the text's."""
    draw = np.random.default_rng(seed)
    truth = draw.dirichlet(np.ones(5), 200).ravel()
    noise = np.sqrt(error**2 + 16 * truth * (1 - truth) / size)
    share = np.clip(truth + draw.normal(size=truth.shape) * noise, 0, 1)
    full = np.ones_like(truth)
    return {"share": share, "truth": truth, "error": error * full, "bytes": size * full}


def test_the_fit_holds_on_noise_it_did_not_see() -> None:
    a, b = mixture_coverage.fit([cell(0), cell(1, size=2_000_000)])
    for seed in (2, 3):
        assert 0.93 < mixture_coverage.inside(cell(seed), a, b, FLOOR).mean() < 0.995
    assert (a, b) == (2.0, 8.0), "two standard errors of either noise"
