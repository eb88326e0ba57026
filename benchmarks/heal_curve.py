"""What healing gives for the minutes it takes: bits per byte of English and code along runs of several rungs and seeds.

    python benchmarks/heal_texts.py texts
    python benchmarks/heal_curve.py START --base gemma3 --text texts --out curve --rungs lm alm --minutes 10 30

Minutes are of CPU time, of all threads together (--threads 1), and scores are not counted; each run has its own rise
and fall of the rates, so that a point inside a long run is no result of a short one. START, the transplanted folder,
stays as it is and nothing is written but --out: a JSON file a run, its state until it is over, and the table. A run
that was stopped goes on with the same command; runs that are there are not made again. `base` is the base with its own
tokenizer.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tokswap.evaluation.arm import Arm, document_windows, open_arm
from tokswap.evaluation.evaluate import WINDOW_BYTES
from tokswap.evaluation.language_model import LanguageModel
from tokswap.evaluation.score import score_documents
from tokswap.evaluation.texts import Text, default_texts, load_texts
from tokswap.healing.objective import rows_to_train
from tokswap.healing.pair import Pair
from tokswap.healing.settings import Settings, make_settings
from tokswap.healing.snippets import Corpus, make_corpus, text_hashes
from tokswap.healing.state import Point
from tokswap.healing.training import Trainer
from tokswap.healing.writing import stored_names
from tokswap.provenance import manifest_of
from tokswap.verification.checks import open_with_base
from tokswap.verification.subject import Subject
from tokswap.whole_file import write_whole

SCORED = ("english", "code")
FLOATS = ("rate", "row_rate")
HEADS = "rung|CPU min|seed|steps|English|code|English / base|code / base|gap closed, English|gap closed, code"


class Bench:
    """A transplanted folder, the base, the text to heal with, and the texts that are scored."""

    def __init__(self, folder: str, base: str | None, text: Path, max_bytes: int) -> None:
        self.moved, self.base = open_with_base(folder, base, None)
        self.arms = open_arm(self.moved), open_arm(self.base)
        subject = Subject(self.moved, self.base, "", manifest_of(self.moved))
        self.new_ids = subject.alignment.new_ids
        self.texts = load_texts([text])
        self.corpus: Corpus = make_corpus(self.texts, *self.arms, self.new_ids, self.moved.rows)
        self.scored = {name: default_texts()[name].first(max_bytes) for name in SCORED}

    def pair(self) -> Pair:
        return Pair(self.moved, self.base, self.arms, device="cpu", dtype="float32")

    def trainer(self, pair: Pair, settings: Settings, state: Path, clock: Clock) -> Trainer:
        body = stored_names(self.moved, pair.layers).values() if settings.rung.trains_body else ()
        rows = torch.from_numpy(rows_to_train(settings.rung, self.corpus, self.new_ids))
        layers = {name: pair.layers[name] for name in body}
        adapters = pair.train(rows, body=layers, rank=settings.rank, seed=settings.seed)
        train, held_out = self.corpus.train, self.corpus.held_out
        return Trainer(pair, adapters, settings, train, held_out, state, clock=clock)

    def bits(self, lm: LanguageModel, arm: Arm) -> dict[str, float]:
        return {name: _bits(lm, arm, text) for name, text in self.scored.items()}


class Clock:
    """Seconds of CPU time, those in `stopped` blocks left out."""

    def __init__(self) -> None:
        self._left_out = 0.0
        self._stopped_at: float | None = None

    def __call__(self) -> float:
        now = time.process_time() if self._stopped_at is None else self._stopped_at
        return now - self._left_out

    def __enter__(self) -> None:
        self._stopped_at = time.process_time()

    def __exit__(self, *_: object) -> None:
        assert self._stopped_at is not None
        self._left_out += time.process_time() - self._stopped_at
        self._stopped_at = None


def run(bench: Bench, settings: Settings, path: Path) -> dict[str, Any]:
    """Heal once and write what was found, a look at a time; a run that was stopped goes on."""
    pair, clock = bench.pair(), Clock()
    trainer = bench.trainer(pair, settings, path.with_suffix(".state"), clock)
    found: dict[str, Any] = _load(path) or {"settings": asdict(settings), "points": []}

    def save() -> None:
        write_whole(path, json.dumps(found, indent=1).encode())

    def look(point: Point) -> None:
        with clock:
            bits = bench.bits(pair.student, bench.arms[0])
        kept = [old for old in found["points"] if old["step"] < point.step]
        found["points"] = [*kept, asdict(point) | {"bits": bits}]
        save()
        print(f"{path.stem} {point.seconds:7.0f} s step {point.step}: {_told(point, bits)}", flush=True)

    progress = trainer.run(on_point=look)
    found |= {
        "steps": progress.step,
        "best_step": progress.best_step,
        "cpu_seconds": round(progress.seconds, 1),
        "stopped": progress.stopped,
        "text_bytes": bench.corpus.train_bytes,
        "texts": text_hashes(bench.texts),
        "bits": bench.bits(pair.student, bench.arms[0]),
    }
    save()
    path.with_suffix(".state").unlink(missing_ok=True)
    return found


def _bits(lm: LanguageModel, arm: Arm, text: Text) -> float:
    read = [arm.tokenize(document) for document in text.documents]
    windows = [document_windows(d, WINDOW_BYTES, WINDOW_BYTES // 2) for d in read]
    scored = score_documents(lm, read, windows, start_id=arm.start_id)
    return sum(float(s.nll.sum()) for s in scored) / (sum(d.spans.length for d in read) * math.log(2))


def _told(point: Point, bits: Mapping[str, float]) -> str:
    loss = "" if point.loss is None else f"loss {point.loss:.4f}, "
    return loss + ", ".join(f"{n} {b:.4f}" for n, b in [("held out", point.held_out_bits), *bits.items()])


def _load(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def base_bits(bench: Bench, path: Path) -> dict[str, float]:
    """Return the base's own bits per byte, under its own tokenizer; kept at `path`."""
    found = _load(path)
    if found is None:
        pair = bench.pair()
        with pair.teaching():
            found = bench.bits(pair.teacher, bench.arms[1])
        write_whole(path, json.dumps(found).encode())
    return found


def table(base: Mapping[str, float], runs: Mapping[str, dict[str, Any]]) -> str:
    """Return a Markdown table of what each run ended with."""
    start = next(iter(runs.values()))["points"][0]["bits"]
    lines = [f"|{HEADS}|", "|---" * 10 + "|", _row(["base", "", "", ""], base, base, start)]
    lines.append(_row(["start", 0, "", 0], start, base, start))
    for found in runs.values():
        its = found["settings"]
        named = [its["rung"], f"{found['cpu_seconds'] / 60:.1f}", its["seed"], found["steps"]]
        lines.append(_row(named, found["bits"], base, start))
    return "\n".join(lines)


def _row(
    named: list[Any], bits: Mapping[str, float], base: Mapping[str, float], start: Mapping[str, float]
) -> str:
    cells = [*map(str, named), *(f"{bits[name]:.4f}" for name in SCORED)]
    cells += [f"{bits[name] / base[name]:.3f}" for name in SCORED]
    cells += [f"{(start[name] - bits[name]) / (start[name] - base[name]):.0%}" for name in SCORED]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="the transplanted folder")
    parser.add_argument("--base", help="default: the one that its tokswap.json names")
    parser.add_argument("--text", type=Path, required=True, help="a file or folder of text to heal with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rungs", nargs="+", default=["lm", "alm"])
    parser.add_argument("--minutes", nargs="+", type=float, default=[10.0], help="of CPU time")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--max-bytes", type=int, default=4000, help="scored of each text")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings, e.g. rate=4e-4 rank=32"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.folder, given.base, given.text, given.max_bytes)
    base = base_bits(bench, given.out / "base.bits")
    for minutes, rung, seed in _runs(given):
        settings = make_settings(rung, budget=f"{minutes * 60:.0f}s", steps=None, seed=seed, **_more(given))
        path = given.out / ("-".join([rung, f"{minutes:g}", str(seed), *given.set]) + ".json")
        if "steps" not in (_load(path) or {}):
            run(bench, settings, path)
    runs = {p.stem: found for p in sorted(given.out.glob("*.json")) if "steps" in (found := _load(p) or {})}
    made = table(base, runs)
    write_whole(given.out / "table.md", made.encode())
    print(made)


def _runs(given: argparse.Namespace) -> list[tuple[float, str, int]]:
    return [(m, r, s) for m in given.minutes for s in given.seeds for r in given.rungs]


def _more(given: argparse.Namespace) -> dict[str, float | int]:
    pairs = (text.split("=") for text in given.set)
    return {name: float(value) if name in FLOATS else int(value) for name, value in pairs}


if __name__ == "__main__":
    main()
