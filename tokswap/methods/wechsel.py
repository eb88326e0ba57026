"""WECHSEL's rule: neighbours in a space that both vocabularies are embedded in, whatever that space is.

The paper aligns static word vectors of two languages; here the space is the donor's, or an auxiliary one.
"""

from __future__ import annotations

from torch import Tensor

from tokswap.methods import Task, method
from tokswap.methods.bounds import Count, Positive
from tokswap.methods.weighting import nearest_rows


@method("wechsel", paper="arXiv:2112.06598", space="donor")
def wechsel(task: Task, *, k: Count = 10, temperature: Positive = 0.1) -> Tensor:
    """The k nearest tokens of an aligned space, weighted by softmax(cosine / temperature), as WECHSEL sets them.

    The rule is that of `nearest` with the paper's defaults; give the space with --auxiliary.
    """
    return nearest_rows(task, k, temperature)
