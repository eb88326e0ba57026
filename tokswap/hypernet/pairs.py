"""What a hypernetwork learns from the base alone: tokens and the pieces that they were merged from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.align import preferred_ids
from tokswap.errors import TokswapError
from tokswap.vocab import Vocab

if TYPE_CHECKING:
    from tokswap.methods import Pieces

HELD_OUT = 20
"""Of so many tokens one is held out."""
FURTHER = 0.35
"""Chance that one more piece of a spelling is replaced by the two that it was merged from."""


@dataclass(frozen=True)
class Pairs:
    """`tokens` Int[n] base ids and the two pieces of each; `left`, `right` Int[V] those of every id, -1 for none.

    `held_out` Int[m] are tokens too, of which training never sees the rows as a target.
    """

    tokens: NDArray[np.int64]
    held_out: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    byte_lengths: NDArray[np.int64]

    def batch(self, size: int, longest: int, seed: Sequence[int]) -> tuple[NDArray[np.int64], Pieces]:
        """Return `size` tokens drawn at random and spellings of at most `longest` pieces."""
        rng = np.random.default_rng(list(seed))
        ids = rng.choice(self.tokens, size=min(size, len(self.tokens)), replace=False)
        return ids, self.spelt(ids, longest, rng)

    def spelt(self, ids: NDArray[np.int64], longest: int, rng: np.random.Generator | None = None) -> Pieces:
        """Return spellings of tokens: their two pieces, expanded further at random where there is an `rng`."""
        import torch

        from tokswap.methods import Pieces

        rows = [self._spelling(int(token), longest, rng) for token in ids]
        flat = np.asarray([piece for row in rows for piece in row], dtype=np.int64)
        starts = np.cumsum([0, *map(len, rows)])
        return Pieces(
            torch.from_numpy(flat), torch.from_numpy(self.byte_lengths[flat]), torch.from_numpy(starts)
        )

    def _spelling(self, token: int, longest: int, rng: np.random.Generator | None) -> list[int]:
        row = [int(self.left[token]), int(self.right[token])]
        while rng is not None and len(row) < longest and rng.random() < FURTHER:
            open_ones = [place for place, piece in enumerate(row) if self.left[piece] >= 0]
            if not open_ones:
                break
            place = open_ones[int(rng.integers(len(open_ones)))]
            row[place : place + 1] = [int(self.left[row[place]]), int(self.right[row[place]])]
        return row


def merge_pairs(tokenizer: Mapping[str, Any], vocab: Vocab, usable: NDArray[np.int64], seed: int) -> Pairs:
    """Return the pairs of a base: those of its merges, or the most even splits where it was not made by merging.

    `usable` are the ids with trained rows. Raises TokswapError where there are too few tokens to hold any out.
    """
    merges = (tokenizer.get("model") or {}).get("merges")
    split = _merged(merges, vocab) if merges else _halved(vocab)
    size = vocab.max_id + 1
    fit = np.zeros(size, dtype=np.bool_)
    fit[usable[usable < size]] = True
    left, right = np.full(size, -1, dtype=np.int64), np.full(size, -1, dtype=np.int64)
    for token, (a, b) in split.items():
        if fit[token] and fit[a] and fit[b]:
            left[token], right[token] = a, b
    tokens = np.flatnonzero(left >= 0)
    if len(tokens) < HELD_OUT:
        raise TokswapError(
            f"the base has {len(tokens)} tokens that are made of two others: too few to learn from",
            "train on a base with a sub-word vocabulary",
        )
    order = np.random.default_rng([seed, len(tokens)]).permutation(tokens)
    count = len(tokens) // HELD_OUT
    return Pairs(np.sort(order[count:]), np.sort(order[:count]), left, right, vocab.byte_lengths)


def _merged(merges: Sequence[Any], vocab: Vocab) -> dict[int, tuple[int, int]]:
    ids = vocab.id_of_text
    out: dict[int, tuple[int, int]] = {}
    for entry in merges:
        a, b = entry.split(" ") if isinstance(entry, str) else entry
        token = ids.get(f"{a}{b}")
        if token is not None and a in ids and b in ids:
            out.setdefault(token, (ids[a], ids[b]))
    return out


def _halved(vocab: Vocab) -> dict[int, tuple[int, int]]:
    """Return token → two shorter tokens of the same bytes, cut as near to the middle as can be."""
    ids = preferred_ids(vocab)
    out: dict[int, tuple[int, int]] = {}
    for token, token_id in ids.items():
        middle = len(token) / 2
        cuts = (int(middle + sign * step / 2) for step in range(len(token)) for sign in (1, -1))
        at = next(
            (at for at in cuts if 0 < at < len(token) and token[:at] in ids and token[at:] in ids), None
        )
        if at is not None:
            out[token_id] = (ids[token[:at]], ids[token[at:]])
    return out
