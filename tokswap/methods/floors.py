"""The floors: what a new row is when nothing is known about its token."""

from __future__ import annotations

import torch
from torch import Tensor

from tokswap.methods import SideBySide, Task, method
from tokswap.methods.bounds import NotNegative

# Rows of one block when a table is read in fp32: 16,384 x 8,192 columns are 512 MiB.
BLOCK_ROWS = 16_384


@method("zero", paper="-", space="base")
def zero(task: Task) -> Tensor:
    """All zeros: the floor below every method."""
    return torch.zeros(len(task.targets), task.base.shape[1])


@method("mean", paper="Hewitt 2021", space="base")
def mean(task: Task) -> Tensor:
    """The mean of the base's rows: a token that never surprises the softmax."""
    return mean_row(task.base, task.usable).expand(len(task.targets), -1).clone()


@method("normal", paper="Hewitt 2021", space="base")
def normal(task: Task, *, scale: NotNegative = 1.0) -> Tensor:
    """Draws from the Gaussian with the mean and full covariance of the base's rows, `scale` its deviation."""
    centre = mean_row(task.base, task.usable).double()
    covariance = torch.zeros(len(centre), len(centre), dtype=torch.float64)
    for ids in task.usable.split(BLOCK_ROWS):
        rows = task.base[ids].double() - centre
        covariance += rows.T @ rows
    covariance /= max(len(task.usable) - 1, 1)
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt()
    generator = torch.Generator().manual_seed(task.seed)
    noise = torch.randn(len(task.targets), len(centre), generator=generator, dtype=torch.float64)
    # The draw belongs to the token's place among the targets in the order of ids, not to the order given.
    noise = noise[task.targets.argsort().argsort()]
    return (centre + scale * (noise @ root.T)).float()


def mean_row(rows: Tensor | SideBySide, ids: Tensor) -> Tensor:
    """Return the Float32[d] mean of some rows (V d), summed in fp64 by blocks."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for part in ids.split(BLOCK_ROWS):
        total += rows[part].double().sum(0)
    return (total / max(len(ids), 1)).float()
