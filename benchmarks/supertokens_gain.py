"""Bytes a token of superbpe over ordinary BPE of the same size, for several transitions, on held-out text.

    python benchmarks/supertokens_gain.py --transitions 6000 8000 12000

Trained on every other 100 kB of four English collections (benchmarks/mixture_texts.py); held out are the last 3 % of
each, behind a gap of 1 %, and the English prose that comes with tokswap, of which nothing like it is in the training.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mixture_texts

from tokswap.evaluation.texts import default_texts
from tokswap.supertokens.superbpe import Settings, train_superbpe
from tokswap.tokenization import load_tokenizer

COLLECTIONS = ("dictionary", "markdown", "manpages", "help")
OUT = Path(__file__).parent / "results" / "supertokens-gain.json"
PART, HELD_OUT = 100_000, 300_000
"""Characters of a part that is taken or left out, and of held-out text at most."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--transitions", type=int, nargs="+", default=[8000])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    blocks, held_out = parted_texts()
    results: dict[str, Any] = {"training_bytes": sum(len(block.encode()) for block in blocks)}
    for transition in given.transitions:
        start = time.process_time()
        trained = train_superbpe(
            blocks, blocks, Settings(given.vocab_size, transition), most_bytes=1_000_000_000
        )
        seconds = round(time.process_time() - start, 1)
        results.setdefault("ordinary", compression(trained.ordinary, held_out))
        results[f"transition {transition}"] = {"cpu_seconds": seconds} | compression(
            trained.tokenizer, held_out
        )
        print(f"transition {transition}: {seconds} CPU seconds", flush=True)
        given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results, list(held_out)))


def parted_texts() -> tuple[list[str], dict[str, str]]:
    """Return the parts that are trained on, and the held-out texts by name."""
    blocks: list[str] = []
    held_out: dict[str, str] = {}
    for name in COLLECTIONS:
        text = "".join(
            path.read_text(encoding="utf-8")
            for path in sorted(mixture_texts.texts("domains")[name].glob("*.txt"))
        )
        gap, rest = (text.rfind("\n", 0, int(len(text) * share)) + 1 for share in (0.96, 0.97))
        blocks += [text[at : min(at + PART, gap)] for at in range(0, gap, 2 * PART)]
        held_out[name] = text[rest : rest + HELD_OUT]
    held_out["prose, another domain"] = "".join(default_texts()["english"].documents)
    return blocks, held_out


def compression(tokenizer: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, float]:
    """Return the bytes a token of each text."""
    engine = load_tokenizer(tokenizer)
    return {name: round(len(text.encode()) / len(engine.encode(text).ids), 3) for name, text in texts.items()}


def table(results: Mapping[str, Any], names: list[str]) -> str:
    columns = [name for name in results if name.startswith("transition")]
    lines = ["| held out | ordinary | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name in names:
        before = results["ordinary"][name]
        cells = [
            f"{results[column][name]:.2f} ({results[column][name] / before - 1:+.1%})" for column in columns
        ]
        lines.append(f"| {name} | {before:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
