"""The frozen base reading text through rows that a hypernetwork predicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Arm, Tokenized
from tokswap.evaluation.head import captured
from tokswap.halfway import states_before
from tokswap.hypernet.sampling import Vocabulary
from tokswap.methods import SideBySide

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel

START = 0
"""The place of the base's start token among a batch's columns; shared tokens follow, then predicted ones."""


@dataclass(frozen=True)
class Columns:
    """The tokens that a batch's softmax knows.

    `place` Int[V] is the column of every id of the vocabulary, -1 for those that are left out; `predicted` Int[p] are
    places among the vocabulary's new tokens, whose columns come last; `offset` is added to the logits of the last
    `sampled` of them, which stand for all new tokens that the text lacks (sampled softmax).
    """

    place: NDArray[np.int64]
    predicted: NDArray[np.int64]
    sampled: int = 0
    offset: float = 0.0


def all_columns(vocabulary: Vocabulary) -> Columns:
    """Return the columns of a full softmax."""
    return _columns(vocabulary, np.arange(len(vocabulary.new)))


def sampled_columns(
    vocabulary: Vocabulary, read: Sequence[Tokenized], negatives: int, seed: Sequence[int]
) -> Columns:
    """Return the columns of a text: all shared tokens, its own new ones, and some of the other new ones."""
    seen = np.unique(np.concatenate([its.ids for its in read]))
    mine = np.flatnonzero(np.isin(vocabulary.new, seen))
    others = np.setdiff1d(np.arange(len(vocabulary.new)), mine, assume_unique=True)
    count = min(negatives, len(others))
    drawn = np.random.default_rng(list(seed)).choice(others, size=count, replace=False)
    offset = math.log(len(others) / count) if count else 0.0
    return _columns(vocabulary, np.concatenate([mine, drawn]), count, offset)


def _columns(
    vocabulary: Vocabulary, predicted: NDArray[np.int64], sampled: int = 0, offset: float = 0.0
) -> Columns:
    place = np.full(vocabulary.vocab.max_id + 1, -1, dtype=np.int64)
    place[vocabulary.shared] = 1 + np.arange(len(vocabulary.shared))
    place[vocabulary.new[predicted]] = 1 + len(vocabulary.shared) + np.arange(len(predicted))
    return Columns(place, predicted.astype(np.int64), sampled, offset)


class Student:
    """A frozen language model whose embeddings are given with each text; `rows` Float[V w] are the base's own."""

    def __init__(self, lm: LanguageModel, arm: Arm, rows: Tensor | SideBySide) -> None:
        self.lm, self.arm, self.rows = lm, arm, rows
        self.tied = not isinstance(rows, SideBySide)
        embedding, head = lm.model.get_input_embeddings(), lm.model.get_output_embeddings()
        if head is None or getattr(head, "bias", None) is not None:
            raise TokswapError(
                f"{type(lm.model).__name__} has no output layer of its own, or one with a bias",
                "train with --stage spell=2000, which needs no text and no model",
            )
        embedding.padding_idx = None  # it would drop the gradient of whichever row has that place in a batch
        self._names = _names_of(
            lm.model, [embedding.weight] if self.tied else [embedding.weight, head.weight]
        )
        self._kept: tuple[Vocabulary, tuple[Tensor, ...]] | None = None

    @property
    def third(self) -> int:
        """The layer at a third of the depth."""
        return max(1, round(int(self.lm.model.config.get_text_config().num_hidden_layers) / 3))

    def tables(self, vocabulary: Vocabulary, predicted: Tensor) -> tuple[Tensor, ...]:
        """Return the table of a batch's columns, Float[c d], or two of them: the base's rows, then predicted ones."""
        if self._kept is None or self._kept[0] is not vocabulary:
            self._kept = vocabulary, self._frozen(vocabulary)
        import torch

        parts = [predicted] if self.tied else predicted.chunk(2, dim=1)
        return tuple(
            torch.cat([kept, part.to(kept)]) for kept, part in zip(self._kept[1], parts, strict=True)
        )

    def read(
        self,
        tables: tuple[Tensor, ...],
        columns: Columns,
        tokens: NDArray[np.int64],
        *,
        layer: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return Float[n] log-probabilities of a text's tokens Int[n], and, where asked for, Float[n d] states."""
        import torch
        from torch.func import functional_call

        places = np.concatenate([[START], columns.place[tokens]])
        if (places < 0).any():
            raise TokswapError(
                "a text holds a control token of the donor, for which there is no row",
                "take it out of the text",
            )
        ids = torch.from_numpy(places).to(self.lm.device)
        given = {"input_ids": ids[None], "use_cache": False, "output_hidden_states": layer is not None}
        out = functional_call(self.lm.model, dict(zip(self._names, tables, strict=True)), (), given)
        logits = out.logits[0, :-1].float()  # (n c)
        if columns.sampled:
            logits = torch.cat(
                [logits[:, : -columns.sampled], logits[:, -columns.sampled :] + columns.offset], dim=1
            )
        found = logits.gather(-1, ids[1:, None])[:, 0] - logits.logsumexp(-1)
        return found, None if layer is None else out.hidden_states[layer][0, 1:]

    def own_states(self, read: Tokenized, layer: int) -> Tensor:
        """Return Float[n d]: the base's own states after each token of a text in its own ids."""
        import torch

        ids = torch.from_numpy(np.concatenate([[self.arm.start_id], read.ids])).to(self.lm.device)
        with torch.no_grad(), captured(self.lm.model, skip_head=True):
            return states_before(self.lm.model, layer, ids[None])[0, 1:]

    def _frozen(self, vocabulary: Vocabulary) -> tuple[Tensor, ...]:
        import torch

        ids = torch.from_numpy(np.concatenate([[self.arm.start_id], vocabulary.base]))
        sides = (self.rows,) if not isinstance(self.rows, SideBySide) else (self.rows.input, self.rows.output)
        return tuple(side[ids].to(self.lm.device, self.lm.dtype) for side in sides)


def _names_of(model: Any, weights: Sequence[torch.Tensor]) -> list[str]:
    named: Mapping[str, Any] = dict(model.named_parameters())
    return [next(name for name, parameter in named.items() if parameter is weight) for weight in weights]
