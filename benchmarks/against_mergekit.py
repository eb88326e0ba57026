"""tokswap beside mergekit's `mergekit-tokensurgeon`, paired in one run with equal threads and one evaluator.

    python benchmarks/against_mergekit.py --base gemma3 --donor smollm2 --method omp --k 64 --rounds 3
    python benchmarks/against_mergekit.py --base smollm2 --donor gemma3 --method omp --k 8
    python benchmarks/against_mergekit.py --base smollm2 --donor gemma3 --k 64 --sample 64 --max-bytes 0

mergekit (LGPL) is called as a program in an environment of its own and never imported. Wall time and peak memory are
the operating system's figures for each whole process, taken in turn (A B A B …); both read the same local folders and
write a checkpoint; neither evaluates. Then one evaluator scores the base, mergekit's output, the same with the base's
start token put back, and ours without and with calibration, on texts that come with tokswap and on others.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from texts import other_texts

from tokswap.align import align
from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.texts import Text, default_texts, load_texts
from tokswap.sources import open_source
from tokswap.vocab import is_byte_level, vocab_of

MERGEKIT = "mergekit==0.1.5"


def main() -> None:
    arguments = _arguments()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(arguments.threads)
    program = find_mergekit(arguments.mergekit)
    base, donor = open_source(arguments.base), open_source(arguments.donor)
    work = Path(arguments.work or tempfile.mkdtemp(prefix="tokswap-bench-")).absolute()
    known = [str(with_known_class(checkpoint, work)) for checkpoint in (base, donor)]
    donor_folder = str(donor.folder)
    if arguments.sample > 1:
        sample_new_tokens(base, donor, Path(known[1]), arguments.sample)
        donor_folder = known[1]
    theirs = [str(program), *known, "{out}", "-a", arguments.method, "--quiet"]
    ours = [sys.executable, "-m", "tokswap_cli", "transplant", "--out", "{out}", "--overwrite", "--quiet"]
    ours += [
        "--base",
        str(base.folder),
        "--donor",
        donor_folder,
        "--method",
        arguments.method,
        "--no-evaluate",
    ]
    if arguments.method == "omp":
        theirs += ["-k", str(arguments.k)]
        ours += ["--set", f"k={arguments.k}"]
    commands = {"mergekit": theirs, "tokswap": [*ours, "--calibrate", "none"]}
    runs = _paired(commands, work, arguments.rounds)
    scores: dict[str, dict[str, Any]] = {}
    if arguments.max_bytes != 0:
        runs["tokswap, calibrated"] = [run([*ours, "--calibrate", "shift"], work / "calibrated")]
        (work / "mergekit-start").mkdir(exist_ok=True)
        _put_start_back(base, work / "mergekit", work / "mergekit-start")
        texts = default_texts() | load_texts(other_texts(work / "texts"))
        scores = _score(base, work, texts, arguments.max_bytes)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "threads": arguments.threads,
        "runs": runs,
        "ratios": _ratios(runs),
        "bits_per_byte": scores,
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(_table(result), file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="gemma3")
    parser.add_argument("--donor", default="smollm2")
    parser.add_argument("--method", default="omp", choices=["omp", "subword"])
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument(
        "--sample",
        type=int,
        default=1,
        help="give both a donor with every Nth new token only (to time, not to score)",
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-bytes", type=int, help="bytes of each text that are scored (all); 0 for none")
    parser.add_argument("--mergekit", help="a mergekit-tokensurgeon program; without it one is installed")
    parser.add_argument("--work", help="folder for outputs (a temporary one)")
    parser.add_argument("--out", help="write the result as JSON")
    return parser.parse_args()


def with_known_class(checkpoint: Checkpoint, work: Path) -> Path:
    """Copy a model with the tokenizer class it has on the Hub: mergekit reads the word-start mark off the class."""
    out = work / f"in-{checkpoint.config['model_type']}"
    shutil.copytree(checkpoint.folder, out, dirs_exist_ok=True)
    config = json.loads((out / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["tokenizer_class"] = "GPT2Tokenizer" if is_byte_level(checkpoint.tokenizer) else "GemmaTokenizer"
    (out / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return out


def sample_new_tokens(base: Checkpoint, donor: Checkpoint, folder: Path, step: int) -> None:
    """Leave only every `step`-th of the new tokens in the tokenizer in `folder`; shared tokens and all rows stay.

    The whole of a large direction takes hours: a sample has the same anchors and the same cost a token.
    """
    alignment = align(vocab_of(base), vocab_of(donor))
    kept = set(alignment.new_ids[::step].tolist())
    gone = {int(i) for i in alignment.new_ids} - kept
    hide_tokens(folder / "tokenizer.json", gone)


def hide_tokens(file: Path, gone: set[int]) -> None:
    """Take tokens, and the merges that make or need them, out of a BPE's tokenizer.json; their ids become holes.

    Added tokens stay: the tokenizers library would number them anew.
    """
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    gone = gone - {entry["id"] for entry in tokenizer["added_tokens"]}
    model = tokenizer["model"]
    model["vocab"] = {text: i for text, i in model["vocab"].items() if i not in gone}
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    model["merges"] = [
        [a, b] for a, b in pairs if a in model["vocab"] and b in model["vocab"] and a + b in model["vocab"]
    ]
    file.write_text(json.dumps(tokenizer), encoding="utf-8")


def find_mergekit(given: str | None) -> Path:
    if given:
        return Path(given).absolute()
    folder = Path(tempfile.gettempdir()) / "tokswap-bench-mergekit"
    if not (folder / "bin/mergekit-tokensurgeon").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for what in ("torch==2.13.0", MERGEKIT):
            subprocess.run([str(folder / "bin/pip"), "install", "-q", what], check=True)
    return folder / "bin/mergekit-tokensurgeon"


def _paired(commands: dict[str, list[str]], work: Path, rounds: int) -> dict[str, list[dict[str, float]]]:
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run(command, work / name))
    return runs


def run(command: list[str], out: Path) -> dict[str, float]:
    """Run one program to its end: wall and CPU seconds and peak resident MB of the process itself."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen([part.format(out=out) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def _put_start_back(base: Checkpoint, theirs: Path, out: Path) -> None:
    """Copy mergekit's output with the base's start-token row in the place of the new start token's."""
    shutil.copytree(theirs, out, dirs_exist_ok=True)
    new = open_checkpoint(out)
    start, old = vocab_of(new).start_id, vocab_of(base).start_id
    assert start is not None and old is not None
    info = new.tensors[new.input_name]
    row = base.read_rows(base.input_name, old, old + 1).to(new.read_rows(new.input_name, 0, 1).dtype)
    import torch

    with (out / info.shard).open("r+b") as file:
        file.seek(info.start + start * info.nbytes // info.shape[0])
        file.write(row.view(torch.uint8).numpy().tobytes())


def _score(
    base: Checkpoint, work: Path, texts: dict[str, Text], most: int | None
) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for name in ("mergekit", "mergekit-start", "tokswap", "calibrated"):
        report = evaluate(open_checkpoint(work / name), texts, against=base, max_bytes=most)
        out[name] = {text: _figures(section.figures) for text, section in report.sections.items()}
        out[name]["sample"] = report.facts.get("sample") or report.facts
    return out


def _figures(figures: Any) -> dict[str, float]:
    wanted = ("bits_per_byte", "base_bits_per_byte", "ratio", "new_token_mass", "new_token_share")
    return {key: round(float(figures[key].value), 4) for key in wanted if key in figures}


def _ratios(runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    pairs = list(zip(runs["mergekit"], runs["tokswap"], strict=True))
    return {key: statistics.median(a[key] / b[key] for a, b in pairs) for key in pairs[0][0]}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _table(result: dict[str, Any]) -> str:
    scores = result["bits_per_byte"]
    texts = [text for text in scores.get("tokswap", {}) if text != "sample"]
    lines = ["| text | base | " + " | ".join(scores) + " |", "|---" * (len(scores) + 2) + "|"]
    for text in texts:
        cells = [scores[name][text]["bits_per_byte"] for name in scores]
        lines.append(
            f"| {text} | {scores['tokswap'][text]['base_bits_per_byte']} | "
            + " | ".join(map(str, cells))
            + " |"
        )
    for name, runs in result["runs"].items():
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        lines.append(f"{name}: " + ", ".join(f"{key} {value:.1f}" for key, value in median.items()))
    lines.append("mergekit / tokswap: " + ", ".join(f"{k} {v:.2f}x" for k, v in result["ratios"].items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
