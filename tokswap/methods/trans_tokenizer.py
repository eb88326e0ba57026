"""Trans-tokenization: a new token as the base tokens that it is aligned with in parallel text."""

from __future__ import annotations

import torch
from torch import Tensor

from tokswap.methods import Task, method
from tokswap.methods.bounds import ShareBelowOne
from tokswap.methods.subword import subword
from tokswap.methods.weighting import ragged_sums


@method("trans-tokenizer", paper="arXiv:2408.04303", space="base", parallel=True)
def trans_tokenizer(task: Task, *, floor: ShareBelowOne = 0.05) -> Tensor:
    """The mean of the base tokens that a new token is aligned with in parallel text, by their probability.

    Probabilities below `floor` are dropped and the rest summed to one. A token that the text does not align has
    the mean of its pieces. Raises TokswapError without parallel text.
    """
    links = task.links
    assert links is not None
    count = len(task.targets)
    place = torch.full((int(torch.cat([links.new, task.targets, torch.tensor([0])]).max()) + 1,), -1)
    place[task.targets] = torch.arange(count)
    owner = place[links.new]
    kept = (owner >= 0) & (links.weights >= floor) & torch.isin(links.base, task.usable)
    owner, ids, weights = owner[kept], links.base[kept], links.weights[kept]
    total = torch.zeros(count).index_add_(0, owner, weights)
    out = ragged_sums(task.base, ids, owner, weights / total[owner], count, task.budget)
    unlinked = total == 0
    out[unlinked] = subword(task)[unlinked]
    return out
