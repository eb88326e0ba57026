"""CPU seconds and peak memory of `tokswap supertokens train` at several sizes of text, and what its tokens gain.

    python benchmarks/supertokens_size.py --megabytes 1 10 100

Every text holds the same share of each kind of benchmarks/mixture_texts.py: eight domains of English and five
programming languages, so that it is a mixture where the other benchmark's (supertokens_gain.py) is prose. Held out are
the last 3 % of each kind, behind a gap of 1 %.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mixture_texts

OUT = Path(__file__).parent / "results" / "supertokens-size.json"
CODE = ("go", "java", "perl", "ruby", "typescript")
HELD_OUT = 300_000
"""Characters of each kind's held-out text at most."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    results: dict[str, Any] = {"vocab_size": given.vocab_size}
    for megabytes in given.megabytes:
        with tempfile.TemporaryDirectory() as work:
            results[f"{megabytes} MB"] = run(Path(work), megabytes, given.vocab_size)
        given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


def run(work: Path, megabytes: int, vocab_size: int) -> dict[str, Any]:
    """Train in a process of its own; return its costs and what the held-out texts gain."""
    held_out = write_texts(work, megabytes * 1_000_000)
    command = [sys.executable, "-m", "tokswap_cli", "supertokens", "train", "--text", str(work / "train")]
    command += ["--vocab-size", str(vocab_size), "--out", str(work / "tokenizer.json"), "--json", "--quiet"]
    command += [part for path in held_out for part in ("--held-out", str(path))]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads(done.stdout)
    return {
        "bytes": sum(path.stat().st_size for path in (work / "train").iterdir()),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        # The highest of all children so far: sizes go upwards, so that it is this one's.
        "peak_megabytes": round(after.ru_maxrss / 1e3),
        "gain": gains(report),
    }


def write_texts(work: Path, size: int) -> list[Path]:
    """Write what is trained on, `size` bytes in all, and what is held out; return the files of the latter."""
    kinds = {**mixture_texts.texts("domains"), **{k: mixture_texts.texts("code")[k] for k in CODE}}
    texts = {
        name: "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.txt")))
        for name, folder in kinds.items()
    }
    share = size / sum(len(text.encode()) for text in texts.values())
    if share > 0.96:
        raise SystemExit(f"there is too little text for {size / 1e6:.0f} MB")
    (work / "train").mkdir()
    (work / "held").mkdir()
    for name, text in texts.items():
        (work / "train" / f"{name}.txt").write_text(text[: int(share * len(text))], encoding="utf-8")
        at = text.rfind("\n", 0, int(0.97 * len(text))) + 1
        (work / "held" / f"{name}.txt").write_text(text[at : at + HELD_OUT], encoding="utf-8")
    return sorted((work / "held").iterdir())


def gains(report: dict[str, Any]) -> dict[str, float]:
    """Return of each held-out text how many bytes a token holds, over what a token of ordinary BPE holds."""
    texts = report["sections"]["texts"]["sections"]
    return {
        name: round(float(one["figures"]["ordinary_gain"]["value"]), 4) for name, one in sorted(texts.items())
    }


def table(results: dict[str, Any]) -> str:
    """Return Markdown: a row a size."""
    lines = ["| text | CPU s | peak memory | bytes a token over ordinary BPE's |", "|---|---|---|---|"]
    for name, one in results.items():
        if isinstance(one, dict):
            least, most = min(one["gain"].values()) - 1, max(one["gain"].values()) - 1
            mean = sum(one["gain"].values()) / len(one["gain"]) - 1
            lines.append(
                f"| {name} | {one['cpu_seconds']:.0f} | {one['peak_megabytes']:,} MB | "
                f"{mean:+.1%} on average ({least:+.1%} to {most:+.1%}) |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
