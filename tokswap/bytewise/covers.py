"""Probabilities of byte strings: sums over their cover encodings (Phan et al. 2024, arXiv:2410.09303).

A *cover encoding* of n bytes is a string of tokens whose bytes begin with them and whose last token holds the last of
them. Counted are those made of the canonical tokens of the first k < n bytes and one token more that leaves them
canonical (`ByteCodec`), so that

    P(x_1 … x_n) = Σ_k P(encode(x_1 … x_k)) Σ_t P(t | encode(x_1 … x_k)),  t beginning with x_{k+1} … x_n

A model needs to be asked once for each k, and those strings share nearly all of their tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.bytewise.codec import ByteCodec

TOLERANCE = 1e-7
"""Share of a probability, for each place where a token may begin, that is added without a look at whether its tokens
are canonical: thousands of tokens have next to no probability, and each look costs microseconds."""


@dataclass(frozen=True)
class Start:
    """A place where the last token of a cover encoding may begin: after `end` bytes, made of `ids`.

    `log_weight` is the log-probability of `ids`; `probabilities` Float[n] those of the tokens `low` to `low + n` of
    the codec's order, which begin with the next byte; `given` is a token that may follow whatever the codec says.
    """

    end: int
    ids: Sequence[int]
    log_weight: float
    low: int
    probabilities: NDArray[np.float32]
    given: int | None = None


def prefix_log_probabilities(
    codec: ByteCodec,
    content: bytes,
    starts: Sequence[Start],
    least: NDArray[np.float64],
    tolerance: float = TOLERANCE,
) -> NDArray[np.float64]:
    """Return log P Float[n + 1] of the first 0, 1, …, n bytes of `content`; the first is 0.

    `least` Float[n + 1] are log-probabilities that those are known to have at least. -inf where no start covers a byte.
    """
    out = np.full(len(content) + 1, -np.inf)
    out[0] = 0.0
    for start in starts:
        levels = _levels(codec, content, start)
        kept = _canonical(codec, start, levels, least, tolerance)
        sums = np.concatenate([[0.0], np.cumsum(kept)])
        for n, (low, high) in enumerate(levels, start.end + 1):
            mass = sums[high - start.low] - sums[low - start.low]
            if mass > 0:
                out[n] = np.logaddexp(out[n], start.log_weight + np.log(mass))
    return out


def _levels(codec: ByteCodec, content: bytes, start: Start) -> list[tuple[int, int]]:
    """Return the range of tokens that begin with the next 1, 2, … bytes, as long as there are any."""
    out: list[tuple[int, int]] = []
    for end in range(start.end + 1, len(content) + 1):
        low, high = codec.starting_with(content[start.end : end])
        if low == high:
            break
        out.append((low, high))
    return out


def _canonical(
    codec: ByteCodec,
    start: Start,
    levels: Sequence[tuple[int, int]],
    least: NDArray[np.float64],
    tolerance: float,
) -> NDArray[np.float64]:
    """Return the probabilities, 0 for tokens that may not follow; those that hardly count are taken as they are."""
    out = start.probabilities.astype(np.float64)
    if not len(out):
        return out
    floor = np.empty(len(out))  # the smallest sum to which each token is added
    for n, (low, high) in enumerate(levels, start.end + 1):
        floor[low - start.low : high - start.low] = least[n]
    with np.errstate(over="ignore"):
        share = out * np.exp(np.minimum(start.log_weight - floor, 700))
    rising = np.argsort(share)
    asked = rising[np.cumsum(share[rising]) > tolerance]
    places = start.low + asked
    may = codec.may_follow(start.ids, places)
    out[asked[~may & (codec.ids[places] != start.given)]] = 0.0
    return out
