"""A new row as the weighted mean of the rows of the base tokens that spell it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from tokswap.methods import Pieces, Task, method
from tokswap.methods.bounds import Share
from tokswap.methods.floors import mean_row
from tokswap.methods.weighting import ragged_sums

Weights = Literal["mean", "length", "first", "last", "decay"]


@method("subword", paper="arXiv:2408.05506 (FVT), arXiv:2410.04335 (ReTok)", space="base")
def subword(
    task: Task, *, weights: Weights = "mean", output_weights: Weights | None = None, decay: Share = 0.5
) -> Tensor:
    """The weighted mean of the base's pieces; input and output rows may weigh them apart.

    `weights` for the input (and a tied matrix), `output_weights` for the output, None meaning the same: a causal
    model reads the end of a token and predicts its beginning. `mean` counts pieces, `length` their bytes,
    `first` and `last` take one, `decay` gives piece j weight decay**j. A token that the base can't spell gets the
    mean row.
    """
    kind = output_weights if task.side == "output" and output_weights is not None else weights
    per_piece = piece_weights(task.pieces, kind, decay)
    counts = task.pieces.starts.diff()
    owner = torch.arange(len(counts)).repeat_interleave(counts)
    out = ragged_sums(task.base, task.pieces.ids, owner, per_piece, len(counts), task.budget)
    task.report(len(counts))
    empty = counts == 0
    if bool(empty.any()):
        out[empty] = mean_row(task.base, task.usable)
    return out


def piece_weights(pieces: Pieces, kind: Weights, decay: float) -> Tensor:
    """Return Float32[total], each token's weights summing to one."""
    counts = pieces.starts.diff()  # (n)
    place = torch.arange(len(pieces.ids)) - pieces.starts[:-1].repeat_interleave(counts)  # (total)
    last = counts.repeat_interleave(counts) - 1
    raw = {
        "mean": lambda: torch.ones(len(place)),
        "length": lambda: pieces.lengths.float(),
        "first": lambda: (place == 0).float(),
        "last": lambda: (place == last).float(),
        "decay": lambda: torch.tensor(float(decay)) ** place,
    }[kind]()
    owner = torch.arange(len(counts)).repeat_interleave(counts)
    total = torch.zeros(len(counts)).index_add_(0, owner, raw)
    return raw / total[owner]
