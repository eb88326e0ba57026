"""A new row from the few shared tokens whose donor rows point the same way."""

from __future__ import annotations

from torch import Tensor

from tokswap.errors import TokswapError
from tokswap.methods import Task, method
from tokswap.methods.weighting import nearest_rows


@method("nearest", paper="k nearest neighbours in the donor's space", space="donor")
def nearest(task: Task, *, k: int = 8, temperature: float = 0.1) -> Tensor:
    """The mean of the k shared tokens nearest in the donor's space, weighted by softmax(cosine / temperature).

    k = 1 copies the row of the nearest shared token. Raises TokswapError for k < 1 or temperature <= 0.
    """
    if k < 1 or temperature <= 0:
        raise TokswapError(
            "nearest: k must be at least 1 and the temperature above 0", "try k=8, temperature=0.1"
        )
    return nearest_rows(task, k, temperature)
