"""CLP-Transfer: every shared token has a say, in proportion to its cosine with the new one."""

from __future__ import annotations

import torch
from torch import Tensor

from tokswap.methods import Task, method
from tokswap.methods.weighting import cosine_blocks, dense_sums


@method("clp", paper="arXiv:2301.09626", space="donor")
def clp(task: Task) -> Tensor:
    """The mean of all shared tokens, weighted by their positive cosine in the donor's space.

    With tens of thousands of shared tokens it is close to their mean. A token that has no positive cosine with any
    gets the plain mean.
    """
    out = torch.empty(len(task.targets), task.base.shape[1])
    for start, stop, cosine in cosine_blocks(task):
        weights = cosine.clamp_min_(0)
        total = weights.sum(1, keepdim=True)
        weights = torch.where(total > 0, weights / total.clamp_min(1e-30), 1 / weights.shape[1])
        out[start:stop] = dense_sums(task.base, task.anchors[:, 0], weights)
    return out
