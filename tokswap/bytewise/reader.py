"""Next-token probabilities after token strings that grow: keys and values of what they share are kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.bytewise.tree import Tree, row_states, takes_trees, tree_states

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel

KEPT_STRINGS = 64
"""Token strings whose next-token probabilities are kept: the next byte needs nearly all of them again."""

Ids = tuple[int, ...]


class Reader:
    """A model that is asked about token strings, each time nearly the same ones; `start_id` comes before each."""

    def __init__(self, lm: LanguageModel, start_id: int) -> None:
        self.lm = lm
        self.start_id = start_id
        self._trees = takes_trees(lm)
        self._past: Any = None
        self._held: Ids = ()
        self._logs: dict[Ids, NDArray[np.float32]] = {}

    def read(self, strings: Sequence[Sequence[int]]) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
        """Return log-probabilities Float[n] of strings, and Float[rows] of the token after each of them.

        Those of the strings are relative to the beginning that all strings of the call share.
        """
        full: list[Ids] = [(self.start_id, *its) for its in strings]
        shared = max(1, _shared(full))
        needed = {its[:n]: None for its in full for n in range(shared, len(its) + 1)}
        self._read([its for its in needed if its not in self._logs])
        self._forget(needed)
        weights = [sum(float(self._logs[its[:n]][its[n]]) for n in range(shared, len(its))) for its in full]
        return np.asarray(weights), [self._logs[its] for its in full]

    def _read(self, missing: Sequence[Ids]) -> None:
        """Ask the model about strings, all at once."""
        from tokswap.evaluation.language_model import logit_slices

        if not missing:
            return
        held = missing[0][: _shared(missing) - 1] if self._trees else ()
        tree = Tree()
        nodes = [tree.add(its[len(held) :]) for its in missing]
        wanted = self._states(tree, held)[nodes]  # (n d)
        for part, logits in logit_slices(self.lm, wanted):
            logs = logits.log_softmax(-1).cpu().numpy()
            for its, row in zip(missing[part], logs, strict=True):
                self._logs[its] = row.copy()

    def _states(self, tree: Tree, held: Ids) -> Tensor:
        if not self._trees:
            return row_states(self.lm, tree)
        self._hold(held)
        return tree_states(self.lm, tree, self._past, len(held))

    def _hold(self, ids: Ids) -> None:
        """Have the keys and values of `ids`, and of nothing else, ready."""
        from transformers import DynamicCache

        if self._past is None:
            self._past = DynamicCache()
        kept = _shared([self._held, ids])
        if kept < len(self._held):
            self._past.crop(kept - len(self._held))
        self._held = ids
        if kept == len(ids):
            return
        tree = Tree()
        tree.add(ids[kept:])
        tree_states(self.lm, tree, self._past, kept, keep=True)

    def _forget(self, needed: dict[Ids, None]) -> None:
        """Drop the oldest strings that this call had no need of."""
        others = [its for its in self._logs if its not in needed]
        for its in others[: max(0, len(self._logs) - max(KEPT_STRINGS, len(needed)))]:
            del self._logs[its]


def _shared(strings: Sequence[Ids]) -> int:
    """Return how many ids all strings begin with."""
    return sum(1 for _ in takewhile(lambda its: len(set(its)) == 1, zip(*strings, strict=False)))
