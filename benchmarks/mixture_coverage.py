"""Fits the width of infer-mixture's intervals on one half of the categories, and measures their coverage on the rest.

    python benchmarks/mixture_coverage.py            prints the fit and what tokswap/mixture/calibration.py has
    python benchmarks/mixture_coverage.py --write    writes benchmarks/results/mixture-coverage.json

Half of an interval is sqrt((a e)^2 (T / 1000)^(1/2) + b^2 s (1 - s) / bytes + c^2): e the standard error from folds of
the T merges, s the share, bytes those counted of the category. Fitted on `FITTED`, series of half A of the languages
and of the programming languages (benchmarks/mixture_experiments.py): the narrowest with which each of them, at every
number of merges, holds at least 95 % of the true shares. Held out are half B's series alone, whose categories no fit
has seen. Series of half A at other sizes, those that draw from both halves, and the domains, two of eight of which are
in half A, are counted apart.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tokswap.mixture import calibration

RESULTS = Path(__file__).parent / "results"
WANTED = 0.95
FITTED = ("languages 5 1 MB A", "code 5 1 MB A")
FOLDS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 14.0, 16.0)
TEXT = (0.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 32.0, 40.0, 48.0, 64.0, 80.0, 96.0)
FLOOR = calibration.FLOOR


def cells(results: dict[str, Any]) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Return (series, merges) → shares, truth, grown fold errors and bytes, one entry a category of a trial."""
    out: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name, one in results.items():
        trials = one["trials"]
        for merges in sorted({m for trial in trials for m in trial["found"]}, key=int):
            there = [trial for trial in trials if merges in trial["found"]]
            if len(there) * 2 < len(trials):
                continue
            found = [trial["found"][merges] for trial in there]
            out[name, merges] = {
                "share": np.concatenate([f["shares"]["byte_share"] for f in found]),
                "truth": np.concatenate([trial["truth"] for trial in there]),
                "error": np.concatenate([f["fold_error"] for f in found]) * calibration.growth(int(merges)),
                "bytes": np.concatenate([trial["text_bytes"] for trial in there]),
            }
    return out


def inside(cell: dict[str, np.ndarray], a: float, b: float, c: float) -> np.ndarray:
    """Return which true shares the intervals hold."""
    return np.abs(cell["share"] - cell["truth"]) <= half(cell, a, b, c)


def half(cell: dict[str, np.ndarray], a: float, b: float, c: float) -> np.ndarray:
    """Return half the width of each interval."""
    text = b**2 * cell["share"] * (1 - cell["share"]) / cell["bytes"]
    return np.sqrt((a * cell["error"]) ** 2 + text + c**2)


def fit(fitted: Iterable[dict[str, np.ndarray]]) -> tuple[float, float]:
    """Return a and b of the narrowest intervals that hold enough in every cell."""
    those = list(fitted)
    enough = [
        (float(np.mean([np.log(half(cell, a, b, FLOOR)).mean() for cell in those])), a, b)
        for a, b in product(FOLDS, TEXT)
        if all(inside(cell, a, b, FLOOR).mean() >= WANTED for cell in those)
    ]
    if not enough:
        raise SystemExit("no width of the grid holds enough: widen it")
    _, a, b = min(enough)
    return a, b


def group(name: str) -> str:
    """Return what a series is reported as."""
    texts, draw, *_, last = name.split()
    several = f"{texts}, {draw} at once"
    if last == "shifted":
        return "text of another source (stories trained on, manuals counted)"
    if last == "overlap":
        return f"the pages that were trained on: {several}"
    if name in FITTED:
        return f"fitted: {several}"
    if last == "B":
        return f"held out: {several}"
    return f"{'categories fitted to, other settings' if last == 'A' else 'both halves together'}: {several}"


def coverage(every: dict[tuple[str, str], dict[str, np.ndarray]], a: float, b: float) -> dict[str, Any]:
    """Return by group, and over all that is held out: coverage, shares, median half width."""
    groups: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for (name, _), cell in every.items():
        entry = inside(cell, a, b, FLOOR), half(cell, a, b, FLOOR)
        groups.setdefault(group(name), []).append(entry)
        if group(name).startswith("held out"):
            groups.setdefault("held out: all", []).append(entry)
    return {
        name: {
            "coverage": round(float(np.concatenate([held for held, _ in entries]).mean()), 4),
            "worst_cell": round(min(float(held.mean()) for held, _ in entries), 4),
            "shares": int(sum(len(held) for held, _ in entries)),
            "median_half_width": round(float(np.median(np.concatenate([width for _, width in entries]))), 5),
        }
        for name, entries in sorted(groups.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS / "mixture-experiments.json")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    every = cells(json.loads(given.results.read_text()))
    a, b = fit(cell for (name, _), cell in every.items() if name in FITTED)
    used = calibration.FOLD_WIDTH, calibration.TEXT_WIDTH
    print(f"fitted: a = {a}, b = {b}; calibration.py has {used}")
    found = coverage(every, *used)
    for name, one in found.items():
        print(f"{name}: {one}")
    for (name, merges), cell in every.items():
        print(f"  {name}, {merges} merges: {inside(cell, *used, FLOOR).mean():.3f}")
    if given.write:
        data = {"fit": {"a": a, "b": b}, "used": {"a": used[0], "b": used[1]}, "groups": found}
        (RESULTS / "mixture-coverage.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
