"""What the trials of benchmarks/mixture_experiments.py say: a table in Markdown and a plot.

    python benchmarks/mixture_accuracy.py          prints the table
    python benchmarks/mixture_accuracy.py --plot   draws benchmarks/results/mixture-accuracy.svg as well

Errors are log10 of the mean squared error of the shares of bytes. *Random* is another mixture, drawn as the true one
was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from log_plot import Line, Panel, svg

RESULTS = Path(__file__).parent / "results" / "mixture-experiments.json"
SMALLEST_ERROR = 1e-16
PROGRAM, *BASELINES = ("byte_share", "efficiency_share", "classification_share", "uniform_share")
MEGABYTE = 1_000_000
PLOTTED_MERGES = "3000"
RANDOM_DRAWS = 200

Trial = dict[str, Any]
Setting = tuple[str, int, int, str]
"""Texts, number of categories, bytes, and how the counted text differs from the usual."""


def joined(results: dict[str, Any]) -> dict[Setting, list[Trial]]:
    """Return the trials by setting, both halves of the categories together."""
    out: dict[Setting, list[Trial]] = {}
    for one in results.values():
        setting = one["setting"]
        key = setting["texts"], setting["draw"], setting["size"], setting["how"]
        out.setdefault(key, []).extend(one["trials"])
    return dict(sorted(out.items(), key=lambda item: (item[0][0], item[0][3], item[0][1], item[0][2])))


def with_merges(trials: list[Trial]) -> dict[str, list[Trial]]:
    """Return trials by number of merges, without what single tokenizers had as their last one."""
    every = sorted({merges for one in trials for merges in one["found"]}, key=int)
    by = {merges: [one for one in trials if merges in one["found"]] for merges in every}
    return {merges: there for merges, there in by.items() if 2 * len(there) >= len(trials)}


def log_errors(trials: list[Trial], merges: str, estimate: str = PROGRAM) -> np.ndarray:
    """Return log10 of each trial's mean squared error."""
    squares = [
        np.mean((np.array(one["truth"]) - np.array(one["found"][merges]["shares"][estimate])) ** 2)
        for one in trials
    ]
    return np.log10(np.maximum(squares, SMALLEST_ERROR))


def random_errors(trials: list[Trial]) -> np.ndarray:
    """Return log10 of the mean squared errors of mixtures that are drawn uniformly."""
    draw = np.random.default_rng(0)
    errors = [
        np.mean((np.array(one["truth"]) - draw.dirichlet(np.ones(len(one["truth"])), RANDOM_DRAWS)) ** 2, 1)
        for one in trials
    ]
    return np.log10(np.concatenate(errors))


def table(results: dict[str, Any]) -> str:
    """Return Markdown: a row a setting and number of merges."""
    lines = [
        "| | merges | trials | program | efficiency | tokens | uniform | random | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (texts, draw, size, how), trials in joined(results).items():
        name = f"{draw} {texts}, {size // MEGABYTE} MB {how}".strip()
        for merges, there in with_merges(trials).items():
            error = log_errors(there, merges)
            cells = [f"{error.mean():.2f} ± {error.std(ddof=1):.2f}" if len(there) > 1 else f"{error[0]:.2f}"]
            cells += [f"{log_errors(there, merges, estimate).mean():.2f}" for estimate in BASELINES]
            seconds = np.mean([one["found"][merges]["cpu_seconds"] for one in there])
            row = [name, f"{int(merges):,}", str(len(there)), *cells, f"{random_errors(there).mean():.2f}"]
            lines.append("| " + " | ".join([*row, f"{seconds:.1f}"]).replace("-", "−") + " |")
    return "\n".join(lines)


def plot(results: dict[str, Any]) -> str:
    """Return the mean squared error against merges, bytes and categories, as SVG."""
    every = joined(results)
    error = {
        (*setting, int(merges)): 10 ** float(log_errors(there, merges).mean())
        for setting, trials in every.items()
        for merges, there in with_merges(trials).items()
    }
    usual = {key: value for key, value in error.items() if not key[3]}
    merges = {
        f"{draw} {texts}": [(key[4], value) for key, value in usual.items() if key[:3] == (texts, draw, size)]
        for texts, draw, size in {key[:3] for key in usual}
        if size == 10 * MEGABYTE
    }
    at = int(PLOTTED_MERGES)
    sizes: dict[str, list[tuple[float, float]]] = {}
    numbers: dict[str, list[tuple[float, float]]] = {}
    for (texts, draw, size, _, steps), value in usual.items():
        if steps == at:
            sizes.setdefault(f"{draw} {texts}", []).append((size / MEGABYTE, value))
            numbers.setdefault(f"{texts} {size // MEGABYTE} MB", []).append((draw, value))
    return svg(
        [
            _panel("mean squared error, 10 MB", "merges", merges),
            _panel(f"{at:,} merges", "MB trained on, and counted", sizes),
            _panel(f"{at:,} merges", "categories", numbers),
        ]
    )


def _panel(title: str, below: str, lines: dict[str, list[tuple[float, float]]]) -> Panel:
    several = {name: sorted(points) for name, points in sorted(lines.items()) if len(points) > 1}
    return Panel(title, below, [Line(name, points) for name, points in several.items()])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--plot", action="store_true")
    given = parser.parse_args()
    results = json.loads(given.results.read_text())
    print(table(results))
    if given.plot:
        given.results.with_name("mixture-accuracy.svg").write_text(plot(results))


if __name__ == "__main__":
    main()
