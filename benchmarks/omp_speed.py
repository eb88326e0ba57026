"""Milliseconds a token of OMP alone, on random atoms of SmolLM2's size: `python benchmarks/omp_speed.py`.

Prints the rate of a large bf16 or fp32 matrix product in the same process, the floor that the pursuit is held against.
"""

from __future__ import annotations

import json
import time

import torch

from tokswap.methods.omp import make_dictionary, pursue

ATOMS, WIDTH, TARGETS, K = 46_145, 576, 512, 64


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(ATOMS, WIDTH, generator=generator) * (1 + torch.rand(ATOMS, 1, generator=generator))
    targets = torch.randn(TARGETS, WIDTH, generator=generator)
    dictionary = make_dictionary(atoms)
    pursue(dictionary, targets[:8], 4)  # warm up
    start = time.perf_counter()
    pursue(dictionary, targets, K)
    a_token = (time.perf_counter() - start) / TARGETS
    rounded = targets.to(dictionary.screen.dtype)
    out = torch.empty(TARGETS, len(dictionary.screen), dtype=rounded.dtype)
    torch.mm(rounded, dictionary.screen.T, out=out)
    start = time.perf_counter()
    for _ in range(8):
        torch.mm(rounded, dictionary.screen.T, out=out)
    product = (time.perf_counter() - start) / 8
    operations = 2 * ATOMS * WIDTH * TARGETS
    result = {
        "ms_a_token": 1e3 * a_token,
        "ms_a_token_of_the_product_alone": 1e3 * K * product / TARGETS,
        "product_gflop_per_s": operations / product / 1e9,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
