"""Tokens that training never reached, by their output rows: Land and Bartolo 2024, Fishing for Magikarp, section 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LEAST_REFERENCE = 8
"""Rows known to be untrained that are needed to say what such rows look like."""
REFERENCE_SHARE = 0.9
"""Share of the known untrained rows that a row has to be as close to their mean as."""
BLOCK_ROWS = 1 << 14


def undertrained(rows: Tensor, reference: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of the ids `among` whose row of `rows` (V d) lies where the rows of `reference` lie, nearest first.

    Rows that get no gradient of their own drift together in one direction. Both are compared by the cosine to the mean
    of the reference rows, after the mean of all rows, which they share, is taken away. Too few reference rows, or ones
    that have no direction in common, say nothing: the result is then empty.
    """
    if len(reference) < LEAST_REFERENCE or not len(among):
        return np.zeros(0, dtype=np.int64)
    centre = _mean(rows, among)
    towards = _mean(rows, reference) - centre
    known, tried = _cosines(rows, reference, centre, towards), _cosines(rows, among, centre, towards)
    bound = float(np.quantile(known, 1 - REFERENCE_SHARE))
    if bound <= float(
        np.quantile(tried, 0.99)
    ):  # the reference is nowhere apart: it isn't what was taken for
        return np.zeros(0, dtype=np.int64)
    near = np.flatnonzero(tried >= bound)
    return among[near[np.argsort(-tried[near], kind="stable")]]


def _mean(rows: Tensor, ids: NDArray[np.int64]) -> Tensor:
    import torch

    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for part in torch.from_numpy(ids).split(BLOCK_ROWS):
        total += rows[part].double().sum(0)
    return total / len(ids)


def _cosines(rows: Tensor, ids: NDArray[np.int64], centre: Tensor, towards: Tensor) -> NDArray[np.float64]:
    import torch

    found = [
        torch.nn.functional.cosine_similarity(rows[part].double() - centre, towards[None], dim=1)
        for part in torch.from_numpy(ids).split(BLOCK_ROWS)
    ]
    return torch.nan_to_num(
        torch.cat(found), nan=1.0
    ).numpy()  # a row that is exactly the mean was never apart
