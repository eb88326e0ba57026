"""Reconstruction error on tokens whose true rows are known, for tokswap and mergekit alike.

    python benchmarks/held_out_rows.py --base gemma3 --donor smollm2 --hide 500

Some tokens that both vocabularies share are hidden from the base's tokenizer: to every tool they are new. The rows that
it makes for them are then held against the base's own: relative error ‖e − E‖ / ‖E‖ (1.0 is what a row of zeros
gets) and cosine.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from against_mergekit import find_mergekit, hide_tokens, run, sample_new_tokens, with_known_class
from torch import Tensor

from tokswap.align import align, preferred_ids
from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.sources import open_source
from tokswap.vocab import vocab_of

FEW = 1000  # of the donor's new tokens one in so many stays


def main() -> None:
    arguments = _arguments()
    work = Path(arguments.work or tempfile.mkdtemp(prefix="tokswap-bench-")).absolute()
    base, donor = open_source(arguments.base), open_source(arguments.donor)
    hidden = _hidden_pairs(base, donor, arguments.hide)
    folders = [with_known_class(checkpoint, work) for checkpoint in (base, donor)]
    sample_new_tokens(base, donor, folders[1], FEW)  # really new tokens cost time and have no true row
    hide_tokens(folders[0] / "tokenizer.json", {old for old, _ in hidden})
    rows = {"mergekit, omp": ["-a", "omp", "-k", "64"], "mergekit, subword": ["-a", "subword"]}
    result = {
        name: _errors(base, _made_by_mergekit(arguments.mergekit, folders, options, work / "theirs"), hidden)
        for name, options in rows.items()
    }
    for spec in arguments.methods:
        result[f"tokswap, {spec}"] = _errors(base, _made_by_tokswap(folders, spec, work / "ours"), hidden)
    print(json.dumps({"hidden": len(hidden), "median": result}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="gemma3")
    parser.add_argument("--donor", default="smollm2")
    parser.add_argument("--hide", type=int, default=500, help="shared tokens to hide")
    parser.add_argument(
        "--methods", nargs="*", default=["omp", "subword"], help="of tokswap, as in omp or omp:k=8"
    )
    parser.add_argument("--mergekit", help="a mergekit-tokensurgeon program; without it one is installed")
    parser.add_argument("--work", help="folder for outputs (a temporary one)")
    return parser.parse_args()


def _hidden_pairs(base: Checkpoint, donor: Checkpoint, count: int) -> list[tuple[int, int]]:
    """Draw (base id, donor id) of shared tokens of two bytes and more."""
    old, new = vocab_of(base), vocab_of(donor)
    alignment = align(old, new)
    text_ids = set(preferred_ids(old).values())
    pairs = [(int(alignment.source[i]), int(i)) for i in alignment.anchor_ids]
    pairs = [(a, b) for a, b in pairs if a in text_ids and len(new.bytes_of(b)) > 1]
    return random.Random(0).sample(pairs, count)


def _made_by_mergekit(program: str | None, folders: list[Path], options: list[str], out: Path) -> Checkpoint:
    run([str(find_mergekit(program)), *map(str, folders), "{out}", *options, "--quiet"], out)
    return open_checkpoint(out)


def _made_by_tokswap(folders: list[Path], spec: str, out: Path) -> Checkpoint:
    method, *settings = spec.split(":")
    command = [sys.executable, "-m", "tokswap_cli", "transplant", "--overwrite", "--quiet", "--no-evaluate"]
    command += ["--base", str(folders[0]), "--donor", str(folders[1]), "--method", method]
    command += ["--calibrate", "none", "--out", str(out)]
    command += [part for setting in settings for part in ("--set", setting)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return open_checkpoint(out)


def _errors(base: Checkpoint, made: Checkpoint, hidden: list[tuple[int, int]]) -> dict[str, float]:
    old, new = torch.tensor(hidden).T
    truth = base.read(base.input_name)[old].float()
    rows: Tensor = made.read(made.input_name)[new].float()
    relative = (rows - truth).norm(dim=1) / truth.norm(dim=1)
    cosine = torch.nn.functional.cosine_similarity(rows, truth)
    return {"relative_error": round(float(relative.median()), 4), "cosine": round(float(cosine.median()), 4)}


if __name__ == "__main__":
    main()
