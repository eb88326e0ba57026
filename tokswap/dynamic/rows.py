"""Rows of merged tokens from the base tokens that spell them, made when they are asked for, the latest of them kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tokswap.dynamic.merging import Word
from tokswap.methods import Pieces, SideBySide, Task

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from tokswap.hypernet.files import Hypernet

KEPT = 50_000
"""Rows that are kept: what a batch merges is what the next one merges, mostly."""
MakeRows = Callable[[Sequence[Word]], "Tensor"]
"""Spellings in base ids → Float32[n w]."""


@dataclass
class RowCache:
    """Rows by spelling, the least recently used ones dropped beyond `capacity`; `made` and `found` count rows."""

    make: MakeRows
    capacity: int = KEPT
    made: int = 0
    found: int = 0
    _rows: OrderedDict[Word, Tensor] = field(default_factory=OrderedDict[Word, "Tensor"])

    def rows(self, spellings: Sequence[Word]) -> Tensor:
        """Return Float32[n w] of n spellings, one at least; those that aren't kept are made together."""
        import torch

        missing = [word for word in dict.fromkeys(spellings) if word not in self._rows]
        fresh = dict(zip(missing, self.make(missing), strict=True)) if missing else {}
        self.made += len(missing)
        self.found += len(spellings) - len(missing)
        out = [fresh[word] if word in fresh else self._rows[word] for word in spellings]
        for word in spellings:
            self._rows[word] = fresh[word] if word in fresh else self._rows.pop(word)
            self._rows.move_to_end(word)
        while len(self._rows) > self.capacity:
            self._rows.popitem(last=False)
        return torch.stack(out)


def network_rows(
    hypernet: Hypernet,
    base: Tensor | SideBySide,
    usable: Tensor,
    byte_lengths: NDArray[np.int64],
    device: str = "cpu",
) -> MakeRows:
    """Return what makes rows with a hypernetwork; an untrained residual one makes those of its start.

    `base` Float[V w] are the base's rows, `usable` Int[m] the ids of the trained ones, `byte_lengths` Int[V].
    """
    from tokswap.hypernet.predict import Predictor

    def make(spellings: Sequence[Word]) -> torch.Tensor:
        import torch

        pieces = pieces_of(spellings, byte_lengths)
        task = Task(
            base=base, usable=usable, targets=torch.arange(len(spellings)), pieces=pieces,
            anchors=torch.zeros(0, 2, dtype=torch.long), device=device,
        )  # fmt: skip
        return Predictor(hypernet).rows(task)

    return make


def pieces_of(spellings: Sequence[Word], byte_lengths: NDArray[np.int64]) -> Pieces:
    """Return spellings as a ragged table; `byte_lengths` Int[V] are those of the base's tokens."""
    import torch

    flat = np.asarray([piece for word in spellings for piece in word], dtype=np.int64)
    starts = torch.tensor([0, *map(len, spellings)]).cumsum(0)
    lengths = byte_lengths[flat]
    return Pieces(torch.from_numpy(flat), torch.from_numpy(lengths), starts)
