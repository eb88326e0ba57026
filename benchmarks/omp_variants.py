"""Variants of OMP on shared tokens that were held out: which of them makes nearer rows?

    python benchmarks/omp_variants.py --base gemma3 --donor smollm2 --k 8 --max-bytes 1000

Every variant is judged on the same hidden tokens; the atoms that are chosen are plain OMP's but where a line says
otherwise. `kriging` and `map` stand beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from held_out import errors, hold_out, make_rows
from held_out_text import Judge
from scipy.optimize import nnls
from torch import Tensor

from tokswap.methods import Task
from tokswap.methods.map import fit_map
from tokswap.methods.omp import make_dictionary, pursue

RIDGE = 0.1  # penalty on the weights, as a share of the mean squared norm of an atom
BLOCK = 256
WEAK = 0.1  # share of the anchors that `strong anchors` leaves out: those nearest to the mean row in the base


def main() -> None:
    arguments = _arguments()
    problem = hold_out(arguments.base, arguments.donor, arguments.hide)
    judge = Judge(problem, arguments.texts, arguments.max_bytes) if arguments.max_bytes else None
    found: dict[str, Any] = {}

    def look(name: str, rows: Tensor) -> None:
        found[name] = errors(rows, problem.truth)
        if judge is not None:
            found[name]["bits_per_byte"] = judge.bits(rows)
        print(name, found[name], file=sys.stderr, flush=True)

    if judge is not None:
        look("true rows", problem.truth)
    for k in arguments.k:
        for name, make in _variants(problem.task, k).items():
            look(f"{name}, k={k}", make())
    for name in ("map", "kriging"):
        look(name, make_rows(name, problem.task))
    result = {
        "command": " ".join(["python", *sys.argv]),
        "pair": f"{arguments.base} <- {arguments.donor}",
        "hidden": arguments.hide,
        "median": found,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out:
        Path(arguments.out).write_text(text + "\n", encoding="utf-8")


def _variants(task: Task, k: int) -> dict[str, Callable[[], Tensor]]:
    """Return name → what makes the rows; atoms of the plain and the centred choice are found once."""
    assert task.donor is not None
    base_ids, donor_ids = task.anchors.T
    atoms, rows = task.donor[donor_ids], task.base[base_ids]
    targets = task.donor[task.targets]
    centre, mean = atoms.mean(0), rows.mean(0)
    plain = _choose(atoms, targets, k)
    centred = _choose(atoms - centre, targets - centre, k)
    norm = rows.norm(dim=1).median()
    ordinary = _combined(*plain, rows)

    def strong() -> Tensor:
        far = (rows - mean).norm(dim=1)
        keep = far > far.quantile(WEAK)
        return _combined(*_choose(atoms[keep], targets, k), rows[keep])

    def frequent() -> Tensor:
        weight = atoms.norm(dim=1).rsqrt()  # frequent tokens have short rows, and win more often
        chosen, _ = _choose(atoms, targets, k, weight / weight.max())
        return _combined(chosen, _least_squares(atoms, targets, chosen, 1e-6), rows)

    def mapped() -> Tensor:
        left = targets - _combined(*centred, atoms - centre) - centre
        return _combined(*centred, rows - mean) + mean + left @ fit_map(task, 0.01).weights.float()

    return {
        "plain": lambda: ordinary,
        "mean-centred": lambda: _combined(*centred, rows - mean) + mean,
        "norm-calibrated": lambda: ordinary * (norm / ordinary.norm(dim=1, keepdim=True)),
        "ridge": lambda: _combined(plain[0], _least_squares(atoms, targets, plain[0], RIDGE), rows),
        "mean-centred, ridge": lambda: (
            _combined(
                centred[0],
                _least_squares(atoms - centre, targets - centre, centred[0], RIDGE),
                rows - mean,
            )
            + mean
        ),
        "non-negative": partial(_non_negative, atoms, targets, plain[0], rows),
        "strong anchors": strong,
        "frequency-weighted": frequent,
        "mean-centred, the rest by the map": mapped,
    }


def _choose(atoms: Tensor, targets: Tensor, k: int, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return OMP's (atoms Int[n k], weights Float[n k]); `weight` scales what an atom counts in the choice."""
    dictionary = make_dictionary(atoms)
    if weight is not None:
        return _choose_weighted(dictionary.unit, targets, k, weight)
    parts = [pursue(dictionary, part, k) for part in targets.split(BLOCK)]
    chosen, weights = (torch.cat(list(part)) for part in zip(*parts, strict=True))
    return chosen.clamp_min(0), weights.float()


def _choose_weighted(unit: Tensor, targets: Tensor, k: int, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The same pursuit, written plainly, with weighted correlations."""
    blocks = []
    for part in targets.split(BLOCK):
        residual, chosen = part.clone(), torch.zeros(len(part), 0, dtype=torch.long)
        for _ in range(k):
            score = (residual @ unit.T).abs() * weight
            score.scatter_(1, chosen, -1.0)
            chosen = torch.cat([chosen, score.argmax(1, keepdim=True)], dim=1)
            residual = part - _combined(chosen, _least_squares(unit, part, chosen, 1e-6), unit)
        blocks.append(chosen)
    return torch.cat(blocks), torch.empty(0)


def _least_squares(atoms: Tensor, targets: Tensor, chosen: Tensor, ridge: float) -> Tensor:
    """Return Float[n k]: ridge regression of each target on its chosen atoms."""
    out = []
    for part, its in zip(targets.split(BLOCK), chosen.split(BLOCK), strict=True):
        near = atoms[its]  # (b k e)
        gram = near @ near.transpose(1, 2)
        size = gram.diagonal(dim1=1, dim2=2).mean(1)
        penalty = ridge * size[:, None, None] * torch.eye(gram.shape[1])
        out.append(torch.linalg.solve(gram + penalty, near @ part[:, :, None])[:, :, 0])
    return torch.cat(out)


def _non_negative(atoms: Tensor, targets: Tensor, chosen: Tensor, rows: Tensor) -> Tensor:
    weights = [nnls(atoms[its].T.numpy(), t.numpy())[0] for its, t in zip(chosen, targets, strict=True)]
    return _combined(chosen, torch.tensor(np.array(weights), dtype=torch.float32), rows)


def _combined(chosen: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
    parts = zip(chosen.split(BLOCK), weights.split(BLOCK), strict=True)
    return torch.cat([(w[:, None] @ rows[c])[:, 0] for c, w in parts])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="gemma3")
    parser.add_argument("--donor", default="smollm2")
    parser.add_argument("--hide", type=int, default=500, help="shared tokens to hide")
    parser.add_argument("--k", type=int, nargs="*", default=[8, 64])
    parser.add_argument("--texts", nargs="*", default=["english", "code", "french"])
    parser.add_argument(
        "--max-bytes", type=int, default=0, help="of each text read with the rows; 0 for none"
    )
    parser.add_argument("--out", help="a file for the JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
