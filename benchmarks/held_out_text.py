"""Bits per byte of texts in which shared tokens that were held out have the rows that a method makes for them.

    python benchmarks/held_out_text.py --base smollm2 --donor gemma3 --methods subword omp:k=8 kriging

The base keeps its tokenizer and all its other rows: nothing but the made rows differs between two lines, and no
segmentation is in the way. Nothing is calibrated. `base` has the true rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from held_out import HeldOut, errors, hold_out, make_rows
from torch import Tensor

from tokswap.evaluation.arm import document_windows, open_arm
from tokswap.evaluation.language_model import load_language_model
from tokswap.evaluation.score import score_documents
from tokswap.evaluation.texts import default_texts

METHODS = ["mean", "subword", "clp", "focus", "hybrid", "nearest", "map", "omp:k=8", "kriging"]
WINDOW = 1024  # bytes, in strides of half


class Judge:
    """The base, loaded once, whose tied rows are replaced and put back."""

    def __init__(self, problem: HeldOut, names: list[str], max_bytes: int) -> None:
        self.arm = open_arm(problem.base)
        self.lm = load_language_model(self.arm.folder, known_ids=self.arm.vocab.ids, dtype="float32")
        texts = default_texts("evaluation")
        self.documents = {
            n: [self.arm.tokenize(d) for d in texts[n].first(max_bytes).documents] for n in names
        }
        self.table = self.lm.model.get_input_embeddings().weight
        self.ids = problem.ids

    def shares(self) -> dict[str, float]:
        """The share of each text's tokens that are held out."""
        ids = {n: np.concatenate([d.ids for d in its]) for n, its in self.documents.items()}
        return {n: round(float(np.isin(its, self.ids.numpy()).mean()), 4) for n, its in ids.items()}

    def bits(self, rows: Tensor) -> dict[str, float]:
        """Bits per byte of each text with these rows in the place of the base's own."""
        with torch.no_grad():
            own = self.table[self.ids].clone()
            self.table[self.ids] = rows
            out = {name: self._bits_of(its) for name, its in self.documents.items()}
            self.table[self.ids] = own
        return out

    def _bits_of(self, documents: list[Any]) -> float:
        windows = [document_windows(d, WINDOW, WINDOW // 2) for d in documents]
        scored = score_documents(self.lm, documents, windows, start_id=self.arm.start_id)
        nats = sum(float(s.nll.sum()) for s in scored)
        return round(nats / (sum(d.spans.length for d in documents) * float(np.log(2))), 4)


def main() -> None:
    arguments = _arguments()
    problem = hold_out(arguments.base, arguments.donor, arguments.hide)
    judge = Judge(problem, arguments.texts, arguments.max_bytes)
    found: dict[str, Any] = {"base": {"bits_per_byte": judge.bits(problem.truth)}}
    for spec in arguments.methods:
        start = time.process_time()
        rows = make_rows(spec, problem.task)
        seconds = round(time.process_time() - start, 1)
        found[spec] = {
            **errors(rows, problem.truth),
            "cpu_s": seconds,
            "bits_per_byte": judge.bits(rows),
        }
        print(spec, found[spec], file=sys.stderr, flush=True)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "pair": f"{arguments.base} <- {arguments.donor}",
        "hidden": arguments.hide,
        "share_of_tokens": judge.shares(),
        "methods": found,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        Path(arguments.out).write_text(text + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="gemma3")
    parser.add_argument("--donor", default="smollm2")
    parser.add_argument("--hide", type=int, default=4000, help="shared tokens to hide")
    parser.add_argument("--methods", nargs="*", default=METHODS, help="as in omp or omp:k=8")
    parser.add_argument("--texts", nargs="*", default=["english", "code", "french"])
    parser.add_argument("--max-bytes", type=int, default=4000, help="of each text")
    parser.add_argument("--out", help="a file for the JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
