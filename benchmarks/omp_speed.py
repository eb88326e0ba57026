"""Milliseconds a token of OMP alone, on random atoms of SmolLM2's size, and what share of the machine's rate that is.

    python benchmarks/omp_speed.py
    python benchmarks/omp_speed.py --model --rate 131
    python benchmarks/omp_speed.py --model --rate 400000

The rates are those of two matrix products in the same process, on the same threads: the pursuit's own (all targets of a
block with all atoms, in the screening dtype) and a large square one in the same dtype, the most that is to be had.
`--model` computes the cost of 128k new tokens on 150k anchors instead, at a `--rate` in GFLOP/s that you name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tokswap.methods.omp import BLOCK_TARGETS, make_dictionary, pursue

SQUARE = 4096


@dataclass(frozen=True)
class Size:
    """A problem: anchors S, width e of the donor, new tokens n, atoms k."""

    anchors: int
    width: int
    targets: int
    k: int

    @property
    def operations(self) -> int:
        """The correlations of every target with every atom, in every step: all but a few percent of the work."""
        return 2 * self.anchors * self.width * self.targets * self.k


def main() -> None:
    arguments = _arguments()
    if arguments.model:
        found = model(Size(150_000, 4096, 128_000, arguments.k), arguments.rate)
    else:
        found = measure(Size(46_145, 576, arguments.targets, arguments.k))
    print(json.dumps(found, indent=1))


def measure(size: Size) -> dict[str, float]:
    """Time the pursuit, its product alone, and a large square product."""
    generator = torch.Generator().manual_seed(0)
    lengths = 1 + torch.rand(size.anchors, 1, generator=generator)
    atoms = torch.randn(size.anchors, size.width, generator=generator) * lengths
    targets = torch.randn(size.targets, size.width, generator=generator)
    dictionary = make_dictionary(atoms)
    pursue(dictionary, targets[:8], 4)  # warm up
    whole = _seconds(lambda: pursue(dictionary, targets, size.k), 1)
    rounded = targets.to(dictionary.screen.dtype)
    scores = torch.empty(size.targets, len(dictionary.screen), dtype=rounded.dtype)
    product = _seconds(lambda: torch.mm(rounded, dictionary.screen.T, out=scores), 4)
    square = torch.full((SQUARE, SQUARE), 1 / SQUARE, dtype=rounded.dtype)
    out = torch.empty_like(square)
    large = _seconds(lambda: torch.mm(square, square, out=out), 4)
    rate, most = size.operations / whole / 1e9, 2 * SQUARE**3 / large / 1e9
    return {
        "ms_a_token": 1e3 * whole / size.targets,
        "ms_a_token_of_the_product_alone": 1e3 * size.k * product / size.targets,
        "pursuit_gflop_per_s": rate,
        "product_gflop_per_s": size.operations / size.k / product / 1e9,
        "large_product_gflop_per_s": most,
        "share_of_the_large_product": rate / most,
        "threads": torch.get_num_threads(),
    }


def model(size: Size, gflop_per_s: float) -> dict[str, float]:
    """Return operations, memory and seconds at a rate that is given, and what is not in the correlations."""
    s, e, n, k = size.anchors, size.width, size.targets, size.k
    # Gram-Schmidt twice against up to k basis rows of e numbers: 8 operations a number, k²/2 of them a target.
    other = n * (4 * k * k * e + 2 * k * e)
    block = BLOCK_TARGETS
    return {
        "correlations_pflop": size.operations / 1e15,
        "rest_pflop": other / 1e15,
        "atoms_gb_fp32_and_bf16": s * e * 6 / 1e9,
        "block_gb": block * (2 * s + 4 * k * (e + k)) / 1e9,
        "donor_rows_of_targets_gb": n * e * 2 / 1e9,
        "gflop_per_s": gflop_per_s,
        "seconds_of_the_correlations": size.operations / gflop_per_s / 1e9,
        "hours_of_the_correlations": size.operations / gflop_per_s / 1e9 / 3600,
    }


def _seconds(work: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", type=int, default=512)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument(
        "--model", action="store_true", help="compute the cost of a large problem, run nothing"
    )
    parser.add_argument("--rate", type=float, default=131.0, help="GFLOP/s that --model reckons with")
    return parser.parse_args()


if __name__ == "__main__":
    main()
