"""TokenAdapt's hybrid: the pieces that spell a new token, and the tokens that mean nearly the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tokswap.errors import TokswapError
from tokswap.methods import Task, method
from tokswap.methods.bounds import Count, Positive, Share, ShareBelowOne
from tokswap.methods.floors import mean_row
from tokswap.methods.weighting import neighbours, ragged_sums

# What the paper's code sets: temperature, k, global_weight, threshold.
PAPER = (0.3, 3, 0.3, 0.0)
# On shared tokens that were held out, Gemma 3 onto SmolLM2, rows are nearest to the base's own with this much from
# neighbours: cosine 0.62 of centred rows, against 0.52 with the paper's 0.3 and 0.59 with neighbours alone.
GLOBAL_WEIGHT = 0.7


@method("hybrid", paper="arXiv:2505.09738 (TokenAdapt)", space="donor")
def hybrid(
    task: Task,
    *,
    temperature: Positive = 0.3,
    k: Count = 3,
    global_weight: Share = GLOBAL_WEIGHT,
    threshold: ShareBelowOne = 0.0,
    parity: bool = False,
) -> Tensor:
    """Pieces weighted by likeness and length, mixed with the k nearest tokens; likeness is cosine in the space.

    The space is the donor's, or that of --auxiliary. Local: w = softmax(((softmax(cosine) + share of the length) / 2)
    / temperature) over the base's pieces. Global: softmax(cosine / temperature) over the k nearest, weights below
    `threshold` dropped and the rest summed to one. The row is (1 - global_weight) local + global_weight global; a
    token that has only one of them gets that one. `parity` takes all four numbers from the paper's code (0.3, 3, 0.3,
    0). Raises TokswapError for parameters that are given beside `parity`.
    """
    if parity:
        if (temperature, k, global_weight, threshold) != (0.3, 3, GLOBAL_WEIGHT, 0.0):
            raise TokswapError(
                "hybrid: parity=true takes the paper's numbers, and others were given too",
                "leave out parity to choose them",
            )
        temperature, k, global_weight, threshold = PAPER
    likeness = _piece_cosines(task)
    counts = task.pieces.starts.diff()
    owner = torch.arange(len(counts)).repeat_interleave(counts)
    local_weights = _local_weights(likeness, task.pieces.lengths, owner, len(counts), temperature)
    base_ids = task.anchors[:, 0]
    out = torch.empty(len(task.targets), task.base.shape[1])
    for start, stop, cosine, places in neighbours(task, k):
        near = _global_weights(cosine, temperature, threshold)
        n = stop - start
        spelt, known = counts[start:stop] > 0, near.sum(1) > 0
        share = torch.where(known, torch.where(spelt, global_weight, 1.0), 0.0)  # (b) of the global part
        pieces = slice(int(task.pieces.starts[start]), int(task.pieces.starts[stop]))
        at = owner[pieces] - start
        ids = torch.cat([task.pieces.ids[pieces], base_ids[places.flatten()]])
        rows = torch.cat([at, torch.arange(n).repeat_interleave(places.shape[1])])
        weights = torch.cat([local_weights[pieces] * (1 - share)[at], (near * share[:, None]).flatten()])
        out[start:stop] = ragged_sums(task.base, ids, rows, weights, n, task.budget)
        if not bool((spelt | known).all()):
            out[start:stop][~(spelt | known)] = mean_row(task.base, task.usable)
    return out


def _piece_cosines(task: Task) -> Tensor:
    """Return Float32[total]: each piece's cosine with its token, 0 for a piece that has no vector in the space."""
    assert task.donor is not None
    place = torch.full((task.base.shape[0],), -1, dtype=torch.long)
    place[task.anchors[:, 0]] = task.anchors[:, 1]
    owner = torch.arange(len(task.targets)).repeat_interleave(task.pieces.starts.diff())
    piece, token = place[task.pieces.ids], task.targets[owner]
    out = torch.zeros(len(piece))
    step = max(1, task.budget // (24 * task.donor.shape[1]))  # both vectors, before and after normalising
    for part in (piece >= 0).nonzero()[:, 0].split(step):
        pairs = (normalize(task.donor[ids[part]].float(), dim=1) for ids in (piece, token))
        out[part] = torch.mul(*pairs).sum(1)
    return out


def _local_weights(cosine: Tensor, lengths: Tensor, owner: Tensor, count: int, temperature: float) -> Tensor:
    """Return Float32[total], each token's weights of its pieces summing to one."""
    bytes_of = torch.zeros(count).index_add_(0, owner, lengths.float())
    share = lengths / bytes_of[owner]
    return _ragged_softmax((_ragged_softmax(cosine, owner, count) + share) / (2 * temperature), owner, count)


def _ragged_softmax(values: Tensor, owner: Tensor, count: int) -> Tensor:
    top = torch.full((count,), -torch.inf).scatter_reduce(0, owner, values, "amax")
    powers = (values - top[owner]).exp()
    return powers / torch.zeros(count).index_add_(0, owner, powers)[owner]


def _global_weights(cosine: Tensor, temperature: float, threshold: float) -> Tensor:
    """Return Float32[b k] that sum to one, or to zero where no weight reaches the threshold."""
    weights = torch.softmax(cosine / temperature, dim=1)
    weights = torch.where(weights >= threshold, weights, 0)
    return weights / weights.sum(1, keepdim=True).clamp_min(1e-30)
