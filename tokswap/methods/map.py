"""A new row as a linear image of its donor row, the map fitted on the shared tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokswap.methods import Task, method
from tokswap.methods.bounds import NotNegative
from tokswap.methods.floors import BLOCK_ROWS, mean_row


@method("map", paper="ridge regression; a cousin of SAVA", space="donor")
def ridge_map(task: Task, *, ridge: NotNegative = 0.01) -> Tensor:
    """An affine map from the donor's space to the base's, by ridge regression on the shared tokens.

    Both sides are centred; `ridge` is the penalty as a share of the mean eigenvalue of the donor's Gram matrix.
    """
    assert task.donor is not None
    found = fit_map(task, ridge)
    out = torch.empty(len(task.targets), task.base.shape[1])
    for start in range(0, len(task.targets), BLOCK_ROWS):
        ids = task.targets[start : start + BLOCK_ROWS]
        rows = task.donor[ids].double() - found.from_mean
        out[start : start + len(ids)] = (rows @ found.weights + found.to_mean).float()
        task.report(start + len(ids))
    return out


@dataclass(frozen=True)
class Map:
    """An affine map from donor rows to base rows: (row - from_mean) @ weights + to_mean, all in fp64.

    `weights` Float64[e d], `from_mean` Float64[e], `to_mean` Float64[d].
    """

    weights: Tensor
    from_mean: Tensor
    to_mean: Tensor


def fit_map(task: Task, ridge: float) -> Map:
    """Fit the map to the anchors; `ridge` is the penalty as a share of the Gram matrix's mean eigenvalue."""
    assert task.donor is not None
    base_ids, new_ids = task.anchors.T
    from_mean, to_mean = mean_row(task.donor, new_ids).double(), mean_row(task.base, base_ids).double()
    width, height = task.donor.shape[1], task.base.shape[1]
    gram = torch.zeros(width, width, dtype=torch.float64)
    cross = torch.zeros(width, height, dtype=torch.float64)
    for part in range(0, len(base_ids), BLOCK_ROWS):
        rows = task.donor[new_ids[part : part + BLOCK_ROWS]].double() - from_mean
        gram += rows.T @ rows
        cross += rows.T @ (task.base[base_ids[part : part + BLOCK_ROWS]].double() - to_mean)
    # The smallest number keeps a rank-deficient Gram matrix (fewer anchors than dimensions) solvable.
    penalty = max(ridge, 1e-9) * gram.diagonal().mean().clamp_min(1e-30)
    weights = torch.linalg.solve(gram + penalty * torch.eye(width, dtype=torch.float64), cross)  # (e d)
    return Map(weights, from_mean, to_mean)
