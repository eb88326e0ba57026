"""A new row from the few shared tokens whose donor rows point the same way."""

from __future__ import annotations

from torch import Tensor

from tokswap.methods import Task, method
from tokswap.methods.bounds import Count, Positive
from tokswap.methods.weighting import nearest_rows


@method("nearest", paper="k nearest neighbours in the donor's space", space="donor")
def nearest(task: Task, *, k: Count = 8, temperature: Positive = 0.1) -> Tensor:
    """The mean of the k shared tokens nearest in the donor's space, weighted by softmax(cosine / temperature).

    k = 1 copies the row of the nearest shared token.
    """
    return nearest_rows(task, k, temperature)
