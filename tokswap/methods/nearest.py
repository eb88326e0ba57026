"""A new row from the few shared tokens whose donor rows point the same way."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tokswap.errors import TokswapError
from tokswap.methods import Task, method


@method("nearest", paper="k nearest neighbours in the donor's space", space="donor")
def nearest(task: Task, *, k: int = 8, temperature: float = 0.1) -> Tensor:
    """The mean of the k shared tokens nearest in the donor's space, weighted by softmax(cosine / temperature).

    k = 1 copies the row of the nearest shared token. Raises TokswapError for k < 1 or temperature <= 0.
    """
    if k < 1 or temperature <= 0:
        raise TokswapError(
            "nearest: k must be at least 1 and the temperature above 0", "try k=8, temperature=0.1"
        )
    assert task.donor is not None
    base_ids, new_ids = task.anchors.T
    atoms = normalize(task.donor[new_ids].float(), dim=1).to(task.device)  # (S e)
    k = min(k, len(atoms))
    block = max(1, task.budget // (8 * len(atoms)))
    out = torch.empty(len(task.targets), task.base.shape[1])
    for start in range(0, len(task.targets), block):
        ids = task.targets[start : start + block]
        rows = normalize(task.donor[ids].float(), dim=1).to(task.device)
        cosine, chosen = (rows @ atoms.T).topk(k, dim=1)  # (B k)
        weights = torch.softmax(cosine / temperature, dim=1).cpu()
        picked = task.base[base_ids[chosen.cpu()]].float()  # (B k d)
        out[start : start + len(ids)] = torch.einsum("bk,bkd->bd", weights, picked)
        task.report(start + len(ids))
    return out
