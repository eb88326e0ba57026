"""What the methods that weigh rows share: blocks of cosines, and sums of base rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tokswap.methods import SideBySide, Task

# Bytes of working memory a pair of target and anchor takes: its cosine, and what is compared or sorted beside it.
PAIR_BYTES = 16
# Targets of one block at the most: beyond it the cosines fall out of the cache and nothing gets faster.
BLOCK_TARGETS = 512
# Anchors whose base rows are read in fp32 at once: 8,192 x 4,096 columns are 128 MiB.
BLOCK_ANCHORS = 8_192


def cosine_blocks(task: Task, centre: Tensor | None = None) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (start, stop, Float32[stop - start, S]): the cosines of these targets with all anchors, on the device.

    With `centre` Float32[e] they are those of the rows' differences from it. Progress is reported when the caller
    comes back for the next block.
    """
    assert task.donor is not None
    donor = task.donor

    def unit(ids: Tensor) -> Tensor:
        rows = donor[ids].float()
        return normalize(rows if centre is None else rows - centre, dim=1).to(task.device)

    atoms = unit(task.anchors[:, 1])  # (S e)
    block = max(1, min(BLOCK_TARGETS, task.budget // (PAIR_BYTES * len(atoms))))
    for start in range(0, len(task.targets), block):
        stop = min(start + block, len(task.targets))
        yield start, stop, unit(task.targets[start:stop]) @ atoms.T
        task.report(stop)


def dense_sums(base: Tensor | SideBySide, ids: Tensor, weights: Tensor) -> Tensor:
    """Return Float32[b d]: Float32[b S] weights times the base rows `ids` Int[S], read a few at a time."""
    out = torch.zeros(len(weights), base.shape[1], device=weights.device)
    for start in range(0, len(ids), BLOCK_ANCHORS):
        part = ids[start : start + BLOCK_ANCHORS]
        out.addmm_(weights[:, start : start + len(part)], base[part].float().to(weights.device))
    return out.cpu()


def ragged_sums(
    base: Tensor | SideBySide, ids: Tensor, owner: Tensor, weights: Tensor, count: int, budget: int
) -> Tensor:
    """Return Float32[count d]: row `owner[i]` gets `weights[i]` times the base row `ids[i]` for each i of m.

    `budget` bounds the bytes of base rows that are read at once.
    """
    out = torch.zeros(count, base.shape[1])
    step = max(1, budget // (8 * base.shape[1]))
    for start in range(0, len(ids), step):
        part = slice(start, start + step)
        out.index_add_(0, owner[part], base[ids[part]].float() * weights[part, None].float())
    return out


def neighbours(task: Task, k: int, centre: Tensor | None = None) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """Yield (start, stop, cosines Float32[b k], places Int[b k]): each target's k nearest anchors, nearest first."""
    k = min(k, len(task.anchors))
    for start, stop, cosine in cosine_blocks(task, centre):
        values, places = cosine.topk(k, dim=1)
        yield start, stop, values.cpu(), places.cpu()


def nearest_rows(task: Task, k: int, temperature: float) -> Tensor:
    """Return Float32[n d]: sums of the k nearest anchors' base rows, weighted by softmax(cosine / temperature)."""
    out = torch.empty(len(task.targets), task.base.shape[1])
    for start, stop, cosine, places in neighbours(task, k):
        weights = torch.softmax(cosine / temperature, dim=1)
        owner = torch.arange(stop - start).repeat_interleave(places.shape[1])
        ids = task.anchors[:, 0][places.flatten()]
        out[start:stop] = ragged_sums(task.base, ids, owner, weights.flatten(), stop - start, task.budget)
    return out
