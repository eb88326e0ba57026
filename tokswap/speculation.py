"""The arithmetic of speculative decoding: what a draft's tokens are worth (Leviathan et al. 2023, arXiv:2211.17192).

A draft proposes some tokens, the target reads them all in one call and keeps those that it would have written. The
text is the target's own; only the number of its calls falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOST_TOKENS = 16
"""Tokens drafted for one call at most: engines' defaults are 2 to 16."""


@dataclass(frozen=True)
class Speed:
    """`drafted` tokens a call of the target, `tokens` that it then yields on average, and `speedup`, times."""

    drafted: int
    tokens: float
    speedup: float


def greedy_acceptance(target: Tensor, draft: Tensor) -> Tensor:
    """Return Bool[n]: is the likeliest token the same? Both are logits (n, V), or what rises with them."""
    return target.argmax(-1) == draft.argmax(-1)


def sampled_acceptance(target: Tensor, draft: Tensor) -> Tensor:
    """Return Float[n]: the probability that a token drawn from the draft is kept, Σ min(p, q) (section 3.2).

    Both are probabilities (n, V): the token x is drawn from q and kept with min(1, p(x) / q(x)), so the expectation
    is exact and needs no draw.
    """
    return target.minimum(draft).sum(-1)


def expected_tokens(acceptance: float, drafted: int) -> float:
    """Return the tokens that a call of the target yields, its own included: (1 − a^(γ+1)) / (1 − a) (equation 1).

    As if each drafted token were kept with the same probability, whatever became of the one before.

    >>> expected_tokens(0.5, 1), expected_tokens(1.0, 4)
    (1.5, 5.0)
    """
    if acceptance >= 1:
        return float(drafted + 1)
    return (1 - acceptance ** (drafted + 1)) / (1 - acceptance)


def speed(acceptance: float, drafted: int, cost: float) -> Speed:
    """Return the speed-up (theorem 3.8): tokens a call over what it takes, in calls of the target alone.

    `cost` is the time of one token of the draft over one call of the target.
    """
    tokens = expected_tokens(acceptance, drafted)
    return Speed(drafted, tokens, tokens / (drafted * cost + 1))


def best_speed(acceptance: float, cost: float, most: int = MOST_TOKENS) -> Speed:
    """Return the speed-up at the number of drafted tokens where it is largest, at least one."""
    return max((speed(acceptance, drafted, cost) for drafted in range(1, most + 1)), key=lambda s: s.speedup)
