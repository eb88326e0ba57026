"""What a solved program says: shares of bytes, merges that no mixture explains, and simpler guesses beside it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.events import Events
from tokswap.mixture.types import MergeList, WordCounts


@dataclass(frozen=True)
class Unexplained:
    """A merge that was learnt earlier than the mixture lets it: some category that it is frequent in is missing."""

    rank: int
    token: bytes
    slack: float
    """v_t: how much more frequent the merge would have to be, in pairs per million."""
    frequency: float
    """How frequent it is in the mixture, in pairs per million."""


def byte_shares(
    alpha: NDArray[np.float64], pairs: NDArray[np.int64], text_bytes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Turn shares of pairs, Float[... n], into shares of bytes by how many bytes a pair of each category stands for."""
    weight = alpha * (text_bytes / pairs)
    return weight / weight.sum(-1, keepdims=True)


def unexplained(
    merges: MergeList, merge_slack: NDArray[np.float64], frequency: NDArray[np.float64], *, most: int
) -> list[Unexplained]:
    """Return the merges with the largest slack, Float[T], beside their `frequency` in the mixture, Float[T]."""
    order = np.argsort(-merge_slack, kind="stable")[:most]
    return [
        Unexplained(int(t), merges.tokens[merges.results[t]], float(merge_slack[t]), float(frequency[t]))
        for t in order
        if merge_slack[t] > 0
    ]


def by_script(merges: MergeList, ranks: Sequence[int], weights: Sequence[float]) -> dict[str, float]:
    """Return the sums of weights of merges by the script of their tokens, the largest first."""
    sums: dict[str, float] = {}
    for rank, weight in zip(ranks, weights, strict=True):
        name = script_of(merges.tokens[merges.results[rank]])
        sums[name] = sums.get(name, 0.0) + weight
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def script_of(token: bytes) -> str:
    """Return the script of a token's first letter, as Unicode names letters: "latin", "cyrillic", "cjk", ….

    Tokens without a letter are "digits", "white space" or "signs", and parts of characters "bytes".
    """
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return "bytes"
    for character in text:
        if character.isalpha():
            return unicodedata.name(character, "other").split(" ")[0].lower()
    if any(c.isdigit() for c in text):
        return "digits"
    return "signs" if text.strip() else "white space"


def tokens_after(events: Events, counted: WordCounts) -> NDArray[np.int64]:
    """Return how many tokens each category's text is after the merges but the last, Int[n]."""
    pairs = np.zeros(events.categories, dtype=np.int64)
    np.add.at(pairs, events.category, events.change)
    return pairs + np.asarray(counted.counts.sum(0)).astype(np.int64)


def by_efficiency(text_bytes: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Guess shares of bytes from bytes per token: what was trained on more is cut into longer tokens.

    The first baseline of the paper, without its fit to tokenizers of known mixtures.
    """
    efficiency = text_bytes / tokens
    return efficiency / efficiency.sum()


def by_classification(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Guess shares from tokens: each merge, Float[T n] by category, counts for where it is most frequent.

    The second baseline of the paper, without its fit to tokenizers of known mixtures.
    """
    held = frequency[frequency.any(1)]
    counts = np.bincount(held.argmax(1), minlength=frequency.shape[1])
    return counts / max(counts.sum(), 1)
