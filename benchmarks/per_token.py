"""Would a method chosen by class of token beat one method for all? Shared tokens are held out, in two halves.

    python benchmarks/per_token.py --base smollm2 --donor gemma3 --hide 3000 --max-bytes 1500

On the first half each class gets the method that costs the text least there: the excess over the true rows at every
place where such a token stands or has just stood. The choice is judged on the second half, beside each method for all.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from held_out import hold_out, make_rows
from held_out_text import WINDOW, Judge
from numpy.typing import NDArray
from torch import Tensor

from tokswap.evaluation.arm import document_windows
from tokswap.evaluation.score import score_documents

METHODS = ["kriging", "omp:k=8:rest=map", "subword", "nearest"]


def class_of(token: bytes) -> str:
    """Return the class of a token's bytes."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "fragment"
    if not text.isascii():
        return "other script"
    if text.strip().isalpha():
        return "word" if text.startswith(" ") else "inside a word"
    return "digits and signs"


class Losses(Judge):
    """Nats of every token of the texts with made rows in the place of some of the held-out tokens'."""

    def nats(self, ids: Tensor, rows: Tensor) -> NDArray[np.float64]:
        with torch.no_grad():
            own = self.table[ids].clone()
            self.table[ids] = rows
            parts = [p for its in self.documents.values() for p in self._nats_of(its)]
            self.table[ids] = own
        return np.concatenate(parts)

    def _nats_of(self, documents: list[Any]) -> list[NDArray[np.float64]]:
        windows = [document_windows(d, WINDOW, WINDOW // 2) for d in documents]
        scored = score_documents(self.lm, documents, windows, start_id=self.arm.start_id)
        return [np.asarray(s.nll, dtype=np.float64) for s in scored]


def main() -> None:
    arguments = _arguments()
    problem = hold_out(arguments.base, arguments.donor, arguments.hide)
    made = {spec: make_rows(spec, problem.task) for spec in METHODS}
    judge = Losses(problem, arguments.texts, arguments.max_bytes)
    bytes_read = sum(d.spans.length for its in judge.documents.values() for d in its)
    stream = np.concatenate([d.ids for its in judge.documents.values() for d in its])
    classes = np.array([class_of(judge.arm.vocab.bytes_of(int(i))) for i in problem.ids])
    first = torch.arange(len(problem.ids)) % 2 == 0
    base = judge.nats(problem.ids[:0], problem.truth[:0])

    def excess(half: Tensor, rows: Tensor) -> NDArray[np.float64]:
        return judge.nats(problem.ids[half], rows[half]) - base

    by_class: dict[str, dict[str, float]] = {}
    for spec, rows in made.items():
        more = excess(first, rows)
        for name in np.unique(classes):
            its = problem.ids[first & torch.from_numpy(classes == name)].numpy()
            at = np.isin(stream, its)
            near = at | np.concatenate([[False], at[:-1]])
            by_class.setdefault(str(name), {})[spec] = round(float(more[near].sum()), 2)
        print(spec, {n: c[spec] for n, c in by_class.items()}, file=sys.stderr, flush=True)
    choice = {name: min(costs, key=costs.__getitem__) for name, costs in by_class.items()}
    mixed = problem.truth.clone()
    for name, spec in choice.items():
        its = torch.from_numpy(classes == name)
        mixed[its] = made[spec][its]
    scale = bytes_read * float(np.log(2))
    judged = {
        n: round(float(excess(~first, r).sum()) / scale, 4) for n, r in {**made, "by class": mixed}.items()
    }
    result = {
        "command": " ".join(["python", *sys.argv]),
        "pair": f"{arguments.base} <- {arguments.donor}",
        "hidden": arguments.hide,
        "tokens_of_text_in_each_half": [
            int(np.isin(stream, problem.ids[half].numpy()).sum()) for half in (first, ~first)
        ],
        "excess_nats_on_the_first_half": by_class,
        "choice": choice,
        "excess_bits_per_byte_on_the_second_half": judged,
    }
    print(json.dumps(result, indent=1))
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--donor", default="gemma3")
    parser.add_argument("--hide", type=int, default=4000, help="shared tokens to hide, in two halves")
    parser.add_argument("--texts", nargs="*", default=["english", "code", "french"])
    parser.add_argument("--max-bytes", type=int, default=2500, help="of each text")
    parser.add_argument("--out", help="a file for the JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
