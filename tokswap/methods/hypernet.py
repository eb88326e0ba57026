"""Rows that a trained hypernetwork predicts from the base tokens that spell a new one."""

from __future__ import annotations

from torch import Tensor

from tokswap.methods import Task, method


@method("hypernet", paper="arXiv:2405.07883 (ZeTT)", space="base", network=True)
def hypernet(task: Task, *, language: str = "") -> Tensor:
    """What a hypernetwork (--hypernet) predicts from the pieces of the new token.

    A residual network refines the rows of the training-free method that it was trained over; a ZeTT network predicts
    input and output rows afresh. `language` is a code that the network was trained with, where it was. Raises
    TokswapError without a network and for a language that it doesn't know.
    """
    assert task.network is not None
    return task.network.rows(task, language)
