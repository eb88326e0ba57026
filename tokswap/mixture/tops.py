"""The pairs with the greatest values while values change: a tournament tree that is repaired only when it is asked.

A leaf holds at least its pair's value. A value that rises is written at once, and stops at the first ancestor that
is as large; a value that falls is left alone until it stands at the root. Most changes therefore cost nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.compiled import compiled

NOTHING = -np.inf


def tree_of(values: int) -> NDArray[np.float64]:
    """Return an empty tree: its root is at 1, the children of i at 2 i and 2 i + 1, leaves from half its length."""
    return np.full(2 << max(values - 1, 1).bit_length(), NOTHING)


@compiled
def raised(tree: NDArray[np.float64], leaf: int, value: float) -> None:
    """Tell the tree that a leaf's value is now at least `value`."""
    at = len(tree) // 2 + leaf
    while at > 0 and tree[at] < value:
        tree[at] = value
        at //= 2


@compiled
def lowered(tree: NDArray[np.float64], leaf: int, value: float) -> None:
    """Write a leaf's smaller value and repair its ancestors."""
    at = len(tree) // 2 + leaf
    tree[at] = value
    at //= 2
    while at > 0:
        top = max(tree[2 * at], tree[2 * at + 1])
        if tree[at] == top:
            break
        tree[at] = top
        at //= 2


@compiled
def greatest(tree: NDArray[np.float64], values: NDArray[np.float64], above: float) -> int:
    """Return the leaf with the greatest of the values above `above`, or -1."""
    half = len(tree) // 2
    while tree[1] > above:
        at = 1
        while at < half:
            at = 2 * at if tree[2 * at] == tree[at] else 2 * at + 1
        leaf = at - half
        if values[leaf] >= tree[at]:
            return leaf
        lowered(tree, leaf, values[leaf])
    return -1
