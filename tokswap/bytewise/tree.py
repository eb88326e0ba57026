"""Many token strings that share their beginnings, read by a model at once: each token once, in a tree.

A token sees those above it in its branch and nothing else, by a mask over (token, token); its position is its depth.
Models that take no such mask get every branch as a row of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.head import captured

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel

PROBE = ((1, 2, 3), (1, 2, 4, 5), (1, 3, 2))
"""Branches on which a model has to say the same in a tree and row by row."""

SAME = {2: 0.1, 4: 1e-3}
"""Relative difference of states that is rounding, by the bytes of a number: a wrong mask makes some tenths of it."""


@dataclass
class Tree:
    """Token strings as branches: `ids` of the nodes, the node above each (-1: none) and its depth; parents first."""

    ids: list[int] = field(default_factory=list[int])
    parents: list[int] = field(default_factory=list[int])
    depths: list[int] = field(default_factory=list[int])
    places: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[int], below: int = -1) -> int:
        """Add a string under the node `below` and return the node where it ends."""
        for token_id in ids:
            place = self.places.setdefault((below, token_id), len(self.ids))
            if place == len(self.ids):
                self.ids.append(token_id)
                self.parents.append(below)
                self.depths.append(0 if below < 0 else self.depths[below] + 1)
            below = place
        return below

    def branch(self, node: int) -> list[int]:
        """Return the nodes from the top down to `node`."""
        out: list[int] = []
        while node >= 0:
            out.append(node)
            node = self.parents[node]
        return out[::-1]

    def sees(self) -> NDArray[np.bool_]:
        """Return Bool[N N]: which node sees which."""
        out = np.eye(len(self), dtype=np.bool_)
        for node, above in enumerate(self.parents):
            if above >= 0:
                out[node] |= out[above]
        return out


def takes_trees(lm: LanguageModel) -> bool:
    """Tell whether a model's states are the same in a tree as row by row, by a probe."""
    import torch

    config = lm.model.config.get_text_config()
    if lm.states_are_logits or (
        getattr(config, "sliding_window", None) and not getattr(config, "layer_types", None)
    ):
        return False
    tree = Tree()
    for branch in PROBE:
        tree.add([i % lm.rows for i in branch])
    try:
        packed, rows = tree_states(lm, tree), row_states(lm, tree)
    except (
        TypeError,
        ValueError,
        RuntimeError,
        IndexError,
        KeyError,
    ):  # as models refuse a mask of this shape
        return False
    gap = float(torch.linalg.vector_norm((packed - rows).float()))
    return gap <= SAME[lm.dtype.itemsize] * float(torch.linalg.vector_norm(rows.float()))


def tree_states(
    lm: LanguageModel, tree: Tree, past: Any = None, length: int = 0, *, keep: bool = False
) -> Tensor:
    """Return the final states (N d) of a tree's nodes, after `length` tokens whose keys and values `past` holds.

    The nodes' own keys and values are taken from `past` again, unless they are to be kept (one branch only).
    """
    import torch

    depths = np.asarray(tree.depths)
    before = np.arange(length)
    sees = np.concatenate([np.ones((len(tree), length), dtype=np.bool_), tree.sees()], axis=1)  # (N P+N)
    away = (length + depths)[:, None] - np.concatenate([before, length + depths])[None]  # (N P+N)
    ids = torch.tensor([tree.ids], device=lm.device)
    positions = torch.from_numpy(length + depths)[None].to(lm.device)
    cache: dict[str, Any] = {"use_cache": past is not None} | (
        {} if past is None else {_cache_name(lm): past}
    )
    with torch.no_grad(), captured(lm.model, skip_head=True) as caught:
        lm.model(input_ids=ids, attention_mask=_masks(lm, sees, away), position_ids=positions, **cache)
    if past is not None and not keep:
        past.crop(-len(tree))
    return caught[0][0]


def row_states(lm: LanguageModel, tree: Tree) -> Tensor:
    """Return the final states (N d) of a tree's nodes, every branch that ends in a leaf read by itself."""
    import torch

    from tokswap.evaluation.language_model import batch_size, final_states

    above = set(tree.parents)
    branches = sorted((tree.branch(n) for n in range(len(tree)) if n not in above), key=len)
    out: list[Tensor | None] = [None] * len(tree)
    while branches:
        part = branches[-batch_size(lm, len(branches[-1])) :]
        del branches[-len(part) :]
        ids = torch.zeros((len(part), max(map(len, part))), dtype=torch.long)  # (B T)
        mask = torch.zeros_like(ids)
        for row, branch in enumerate(part):
            ids[row, : len(branch)] = torch.tensor([tree.ids[node] for node in branch])
            mask[row, : len(branch)] = 1
        states = final_states(lm, ids, mask)
        for row, branch in enumerate(part):
            for at, node in enumerate(branch):
                out[node] = states[row, at] if out[node] is None else out[node]
    return torch.stack([state for state in out if state is not None])


def _cache_name(lm: LanguageModel) -> str:
    """Return what transformers calls kept keys and values: the name changes with its version."""
    return "cache" if "cache" in inspect.signature(lm.model.forward).parameters else "past_key_values"


def _masks(lm: LanguageModel, sees: NDArray[np.bool_], away: NDArray[np.int64]) -> Tensor | dict[str, Tensor]:
    """Return what is added to attention (1 1 N P+N): one mask, or one for each kind of layer that the model has."""
    config = lm.model.config.get_text_config()
    kinds: set[str] = set(getattr(config, "layer_types", None) or ())
    if "sliding_attention" not in kinds:
        return _mask(lm, sees)
    near = sees & (away < int(config.sliding_window))
    masks = {kind: _mask(lm, near if kind == "sliding_attention" else sees) for kind in kinds}
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _mask(lm: LanguageModel, sees: NDArray[np.bool_]) -> Tensor:
    import torch

    out = torch.zeros(sees.shape, dtype=lm.dtype)
    out.masked_fill_(torch.from_numpy(~sees), torch.finfo(lm.dtype).min)
    return out[None, None].to(lm.device)
