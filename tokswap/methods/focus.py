"""FOCUS: the shared tokens that sparsemax leaves among the cosines with a new one."""

from __future__ import annotations

import torch
from torch import Tensor

from tokswap.methods import Task, method
from tokswap.methods.weighting import cosine_blocks, ragged_sums

# Scores whose largest stands for all of them while the threshold is bounded from below.
GROUP = 32
# The bound is found in fp32, from numbers below 1 in size: this is more than its error.
ROUNDING = 1e-5


@method("focus", paper="arXiv:2305.14481", space="donor")
def focus(task: Task) -> Tensor:
    """The mean of shared tokens, weighted by sparsemax of their cosines with the new one in the donor's space.

    Sparsemax is the nearest point of the simplex: the weights sum to one, and far tokens have none.
    """
    out = torch.empty(len(task.targets), task.base.shape[1])
    for start, stop, cosine in cosine_blocks(task):
        row, place, weights = (part.cpu() for part in sparsemax(cosine))
        ids = task.anchors[:, 0][place]
        out[start:stop] = ragged_sums(task.base, ids, row, weights, stop - start, task.budget)
    return out


def sparsemax(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (row, column, weight) of the positive weights of Float32[n S] scores, in ascending order of rows.

    The weight of a score z is max(z - t, 0), with t such that a row sums to one (arXiv:1602.02068). The t of a part
    of the scores is never above that of all, so the t of the largest of every group, a small problem, rules nearly
    everything out before single scores are looked at.
    """
    groups = scores.shape[1] // GROUP
    peaks = scores[:, : groups * GROUP].view(len(scores), GROUP, groups).amax(1) if groups else scores
    row, column = (scores > (_threshold(peaks) - ROUNDING)[:, None]).nonzero(as_tuple=True)
    kept = scores[row, column].double()
    bound = torch.full((len(scores),), -torch.inf, dtype=torch.float64, device=scores.device)
    bound = bound.scatter_reduce(0, row, kept, "amax") - 1
    weight = kept - _ragged_threshold(kept, row, bound)[row]
    positive = weight > 0
    return row[positive], column[positive], weight[positive].float()


def _threshold(scores: Tensor) -> Tensor:
    """Return Float32[n]: the t of each row with the sum of max(z - t, 0) equal to one.

    Newton's method from below: the sum is convex and falling in t, so each step stays below the root and drops
    scores for good; it ends when no more fall out.
    """
    t = scores.amax(1) - 1
    while True:
        above = scores > t[:, None]
        step = (torch.where(above, scores, 0).sum(1) - 1) / above.sum(1).clamp_min(1)
        if not bool((step > t).any()):
            return t
        t = torch.maximum(t, step)


def _ragged_threshold(scores: Tensor, row: Tensor, t: Tensor) -> Tensor:
    """Do the same for scores Float64[m] of rows Int[m], from bounds Float64[n] below the thresholds."""
    while True:
        above = scores > t[row]
        count = torch.bincount(row[above], minlength=len(t))
        total = torch.zeros_like(t).index_add_(0, row[above], scores[above])
        step = torch.where(count > 0, (total - 1) / count.clamp_min(1), t)
        if not bool((step > t).any()):
            return t
        t = torch.maximum(t, step)
