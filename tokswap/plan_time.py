"""How long a plan will take: an estimate for a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokswap.plan import Plan

DISK_RATE = 400e6
"""Bytes a second that a common disk writes, fsync included."""


def estimated_seconds(plan: Plan, written: int, *, compares: bool) -> float:
    """Estimate the time of the rows and of the copy: operations by the rate of a small product, bytes by a disk's.

    `written` bytes are written; `compares`: does the method take every new token's correlations with all anchors?
    """
    import time

    import torch

    from tokswap.device import choose_device, computes_bfloat16

    seconds = 2 * written / DISK_RATE
    if not compares:
        return seconds
    pursues = plan.method.name == "omp"  # the others take the cosines of targets and anchors once, in fp32
    device = choose_device(plan.recipe.device)
    dtype = torch.bfloat16 if pursues and computes_bfloat16(device) else torch.float32
    side = 1024
    factor = torch.full((side, side), 1 / side, dtype=dtype, device=device)
    product = factor @ factor
    start = time.perf_counter()
    for _ in range(4):
        product = product @ factor
    product.sum().item()  # a GPU answers only now
    rate = 4 * 2 * side**3 / (time.perf_counter() - start)
    width = plan.donor.hidden_size * (1 if plan.donor.tied else 2)
    passes = plan.parameters["k"] if pursues else 1
    work = 2 * len(plan.alignment.new_ids) * len(plan.alignment.anchor_ids) * width * passes
    return seconds + 2 * work / rate  # what is no product takes about as long again
