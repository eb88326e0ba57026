"""How accurate inferred mixtures are, and how often the printed intervals hold: tokenizers trained on known mixtures.

    python benchmarks/mixture_experiments.py                  runs what has no result yet; can be stopped
    python benchmarks/mixture_experiments.py --only "code 5"  those series alone whose name begins so

Texts are those of benchmarks/mixture_texts.py. Categories are drawn, shares drawn uniformly on the simplex as in
arXiv:2407.16607, and `size` bytes are trained on and as many counted, the same number of each category, from other
pages of the same texts unless the series says otherwise. A and B are the two halves of the categories: the intervals
are fitted on A alone (benchmarks/mixture_coverage.py). benchmarks/mixture_accuracy.py makes the table and the plot.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mixture_texts

from tokswap.mixture.documents import Documents, read_documents
from tokswap.mixture.trial import Setting, run_trial

OUT = Path(__file__).parent / "results" / "mixture-experiments.json"
DIGITS = 6  # of what is kept: shares are no better known
MEGABYTE = 1_000_000


# Languages whose stories (train) are under 200 kB, or are hardly translated.
TOO_LITTLE = ("hi", "km", "ro", "sl", "eu", "da", "el", "et", "ko", "id")
# Large trials take more of each category than the others, and leave out what has little.
LARGE, MOST_TEXT = 50 * MEGABYTE, 64 * MEGABYTE
UNDER_20_MEGABYTES = ("lisp", "perl", "ruby", "typescript")
PAGE_BYTES = 4000
NUMBER: dict[str, int] = {}
"""Of each word that was counted so far: pages remember theirs."""


@dataclass(frozen=True)
class Series:
    """Trials of one setting. `size` in bytes; `half` of the categories, all of them where it is empty."""

    texts: str
    draw: int
    size: int
    trials: int
    merges: tuple[int, ...]
    half: str = ""
    how: str = ""
    """"overlap" counts the pages trained on, "shifted" trains on stories and counts manuals."""

    @property
    def name(self) -> str:
        parts = (self.texts, str(self.draw), f"{self.size // MEGABYTE} MB", self.half, self.how)
        return " ".join(part for part in parts if part)

    @property
    def setting(self) -> Setting:
        overlap = self.how == "overlap"
        return Setting(self.draw, self.merges, self.size, self.size / self.draw, overlap)

    @property
    def seed(self) -> int:
        return {"A": 0, "B": 1000}.get(self.half, 2000)

    def documents(self) -> tuple[Mapping[str, Documents], Mapping[str, Documents]]:
        """Return those that are trained on and those that are counted, by category."""
        if self.how == "shifted":
            return read("stories", self.size), read("manuals", self.size)
        # A share may be nearly 1, and half of a category's pages are counted.
        every = read(self.texts, self.size if self.how == "overlap" else 2 * self.size)
        names = sorted(every)
        some = {"A": names[::2], "B": names[1::2]}.get(self.half, names)
        kept = {name: every[name] for name in some}
        return kept, kept


@lru_cache(maxsize=2)
def read(kind: str, most_bytes: int) -> dict[str, Documents]:
    """Return a kind's texts; those of another size before are let go."""
    large = kind == "code" and most_bytes > LARGE
    left = UNDER_20_MEGABYTES if large else TOO_LITTLE if kind in ("stories", "manuals") else ()
    most_text = MOST_TEXT if large else mixture_texts.MOST_BYTES
    folders = mixture_texts.texts(kind, most_text)
    paths = {name: [folder] for name, folder in folders.items() if name not in left}
    return read_documents(paths, page_bytes=PAGE_BYTES, most_bytes=most_bytes)


MERGES = (100, 300, 1000, 3000)
MORE_MERGES = (*MERGES, 10_000)
SERIES = [
    *(Series("languages", 5, MEGABYTE, 10, MERGES, half) for half in "AB"),
    *(Series("code", 5, MEGABYTE, 10, MERGES, half) for half in "AB"),
    Series("languages", 5, MEGABYTE, 20, MERGES, how="shifted"),
    *(Series("languages", 10, MEGABYTE, 10, MERGES, half) for half in "AB"),
    Series("languages", 5, 10 * MEGABYTE, 20, (1000, 3000), how="overlap"),
    Series("languages", 20, MEGABYTE, 20, MERGES),
    Series("code", 10, MEGABYTE, 20, MERGES),
    Series("languages", 5, 10 * MEGABYTE, 10, MORE_MERGES, "A"),
    Series("languages", 5, 10 * MEGABYTE, 10, MERGES, "B"),
    Series("domains", 5, MEGABYTE, 20, MERGES),
    Series("languages", 5, 5 * MEGABYTE, 20, (1000,)),
    *(Series("code", 5, 10 * MEGABYTE, 10, (1000, 3000), half) for half in "AB"),
    Series("languages", 20, 10 * MEGABYTE, 20, (1000, 3000, 30_000)),
    Series("code", 10, 10 * MEGABYTE, 20, (1000, 3000)),
    Series("domains", 5, 10 * MEGABYTE, 20, (1000, 3000)),
    Series("languages", 5, MEGABYTE, 20, MERGES, how="overlap"),
    Series("code", 8, 100 * MEGABYTE, 5, (1000, 3000, 30_000)),
]


def rounded(value: Any) -> Any:
    """Round all numbers of JSON-able data."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def run(series: Series, done: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
    """Yield what is done of a series after each trial up to `most`: its setting, its CPU seconds, and the trials."""
    setting = {"texts": series.texts, "draw": series.draw, "size": series.size, "half": series.half}
    out = done or {"setting": {**setting, "how": series.how}, "cpu_seconds": 0.0, "trials": []}
    start = time.process_time()
    for at in range(len(out["trials"]), min(series.trials, most)):
        trial = run_trial(*series.documents(), NUMBER, series.setting, series.seed + at)
        # JSON has no numbers as names: what is written is what is read back.
        out["trials"].append(rounded(_kept(json.loads(json.dumps(trial.to_dict())))))
        out["cpu_seconds"] = round(out["cpu_seconds"] + time.process_time() - start, 1)
        start = time.process_time()
        yield out


def _kept(trial: dict[str, Any]) -> dict[str, Any]:
    """Leave out the intervals, which follow from what is kept (benchmarks/mixture_coverage.py)."""
    found = {
        merges: {key: value for key, value in one.items() if key not in ("low", "high")}
        for merges, one in trial["found"].items()
    }
    return {**trial, "found": found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", default="", help="series whose names begin so")
    parser.add_argument("--trials", type=int, default=1000, help="of a series, at most")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no trial after so many")
    given = parser.parse_args()
    results = json.loads(given.out.read_text()) if given.out.is_file() else {}
    start = time.monotonic()
    for series in SERIES:
        if not series.name.startswith(given.only):
            continue
        for done in run(series, results.get(series.name, {}), given.trials):
            results[series.name] = done
            given.out.write_text(json.dumps(results, separators=(",", ":")) + "\n")
            if time.monotonic() - start > given.seconds:
                return
        print(f"{series.name}: {results[series.name]['cpu_seconds']:.0f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()
