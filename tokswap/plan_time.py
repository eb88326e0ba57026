"""How long a plan will take: an estimate for a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokswap.auxiliary.cost import Cost
    from tokswap.plan import Plan

DISK_RATE = 400e6
"""Bytes a second that a common disk writes, fsync included."""


def estimated_seconds(plan: Plan, written: int, *, compares: bool, auxiliary: Cost | None = None) -> float:
    """Estimate the time of the rows and of the copy: operations by the rate of a small product, bytes by a disk's.

    `written` bytes are written; `compares`: does the method take every new token's correlations with all anchors?
    `auxiliary` is what the space that it looks at takes, None for the donor's.
    """
    import time

    import torch

    from tokswap.device import choose_device, computes_bfloat16

    seconds = 2 * written / DISK_RATE
    if auxiliary is not None:
        seconds += auxiliary.seconds
    if not compares and not (auxiliary and auxiliary.operations):
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
    work = auxiliary.operations if auxiliary else 0.0
    if compares:
        work += _comparisons(plan, auxiliary) * (plan.parameters["k"] if pursues else 1)
    return seconds + 2 * work / rate  # what is no product takes about as long again


def _comparisons(plan: Plan, auxiliary: Cost | None) -> float:
    """Return the operations of every new token's correlations with all anchors."""
    targets = len(plan.alignment.new_ids)
    if auxiliary is not None:  # there every ordinary token of the base is an anchor
        return 2.0 * targets * len(plan.base_vocab) * auxiliary.width
    width = plan.donor.hidden_size * (1 if plan.donor.tied else 2)
    return 2.0 * targets * len(plan.alignment.anchor_ids) * width
