"""Chain rule: the base says how likely a new token is, piece by piece, and its output row is regressed on that.

A new token t is p1 … pm in the base's pieces, so the base gives it log p(t | h) = log p(p1 | h) + log p(p2 | h, p1) + …
at a state h. One pass over text knows all these terms wherever the base reads p1 … p(m-1), whatever comes then: where t
stands, and where it could have stood and did not. The logit that belongs to it is log p(t | h) + log Z(h), Z being the
base's own normaliser, which copied rows keep.

A row is regressed on those logits by weighted ridge, apart from all other rows. With p the chain's probability and q
what the row gives so far, a state weighs (p - q) / (log p - log q), their logarithmic mean: the gradient of the
regression is then that of the cross-entropy against p, for rows that are too weak and for rows that are too strong.
The prior is the row as it is, in one metric for all: what a move does to logits on average, and its length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.calibrate import Head
from tokswap.refit import prior_coordinates

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.methods import Pieces

# A state that weighs less moves no row by anything: a thousandth of a nat at the most.
LEAST_WEIGHT = 1e-5
# Pairs of token and state whose logits are computed at once: with 8,192 columns they take 1 GB.
BLOCK_PAIRS = 16_384


@dataclass(frozen=True)
class Chains:
    """Where new tokens could stand, m pairs: `token` Int[m] which of them, `first` Int[m] the state before p1.

    `last` Int[m] is the state before the last piece, `piece` Int[m] that piece. A token may have many, or none.
    """

    token: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    piece: NDArray[np.int64]


@dataclass(frozen=True)
class Targets:
    """`token` and `state` Int[m] of the pairs, `log_p` Float32[m] from the chain, `log_z` Float32[n] of every state."""

    token: Tensor
    state: Tensor
    log_p: Tensor
    log_z: Tensor


def find_chains(ids: NDArray[np.int64], follows: NDArray[np.bool_], pieces: Pieces) -> Chains:
    """Find every place of `ids` Int[n] where all pieces of a token but the last stand in a row.

    `follows` Bool[n]: does an id stand right after the one before it? A token of one piece or none is left out.
    """
    ends = _by_beginning(pieces)
    found: list[tuple[int, int, int]] = []  # first, last, number of the beginning
    longest = max((len(beginning) for beginning in ends), default=0)
    numbers = {beginning: number for number, beginning in enumerate(ends)}
    run = 0  # ids in a row up to the present one
    for at, (_, joined) in enumerate(zip(ids, follows, strict=True)):
        run = run + 1 if joined else 1
        for length in range(1, min(longest, run - 1) + 1):
            number = numbers.get(tuple(ids[at - length : at].tolist()))
            if number is not None:
                found.append((at - length, at, number))
    members = [np.asarray(tokens, dtype=np.int64) for tokens in ends.values()]  # (m 2) each
    places = np.asarray(found, dtype=np.int64).reshape(-1, 3)
    pairs = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(members[i] for i in places[:, 2])])
    sizes = np.array([len(members[i]) for i in places[:, 2]], dtype=np.int64)
    first, last = (np.repeat(places[:, i], sizes) for i in (0, 1))
    return Chains(pairs[:, 0], first, last, pairs[:, 1])


def _by_beginning(pieces: Pieces) -> dict[tuple[int, ...], list[tuple[int, int]]]:
    """Return all pieces but the last → (token, last piece) of those that begin so."""
    ids, starts = pieces.ids.tolist(), pieces.starts.tolist()
    out: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for token, (start, stop) in enumerate(pairwise(starts)):
        if stop - start > 1:
            out.setdefault(tuple(ids[start : stop - 1]), []).append((token, ids[stop - 1]))
    return out


def chain_targets(chains: Chains, ids: NDArray[np.int64], slices: Iterable[tuple[slice, Tensor]]) -> Targets:
    """Return the targets of all chains; `slices` gives the base's logits Float32[b V] of the states, in order.

    State i predicts `ids[i]`.
    """
    import torch

    order = np.argsort(chains.last, kind="stable")
    last, piece = (torch.from_numpy(part[order]) for part in (chains.last, chains.piece))
    follow = torch.from_numpy(ids)
    log_z, own, ending = torch.empty(len(ids)), torch.empty(len(ids)), torch.empty(len(last))
    for part, logits in slices:
        total = logits.logsumexp(1)
        log_z[part] = total
        own[part] = logits.gather(1, follow[part, None])[:, 0] - total
        its = slice(*np.searchsorted(last.numpy(), [part.start, part.stop]).tolist())
        at = last[its] - part.start
        ending[its] = logits[at, piece[its]] - total[at]
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), own.double().cumsum(0)])
    first = torch.from_numpy(chains.first[order])
    log_p = (sums[last] - sums[first]).float() + ending
    return Targets(torch.from_numpy(chains.token[order]), first, log_p, log_z)


@dataclass(frozen=True)
class Problem:
    """What is regressed, m pairs in ascending order of `token` Int[m]: `coordinates` Float32[n d] of the states.

    `state` Int[m], `weight` and `miss` Float32[m] (how far the row's raw logit is from where it belongs); `spread`
    Float32[d d] turns the coordinates that the prior is round in into rows.
    """

    token: Tensor
    state: Tensor
    weight: Tensor
    miss: Tensor
    coordinates: Tensor
    spread: Tensor


def make_problem(targets: Targets, states: Tensor, rows: Tensor, bias: Tensor | None, head: Head) -> Problem:
    """Weigh the pairs; `states` Float32[n d], `rows` Float[t d] of the new tokens as they are, `bias` Float[t].

    Under a soft cap the model's logit is taken as linear in the raw one, at where it is.
    """
    import torch

    order = targets.token.argsort(stable=True)
    token, state = targets.token[order], targets.state[order]
    kept: list[Tensor] = []
    weights: list[Tensor] = []
    misses: list[Tensor] = []
    for part in torch.arange(len(token)).split(BLOCK_PAIRS):
        raw = (rows[token[part]].float() * states[state[part]]).sum(1)
        logits = head(raw if bias is None else raw + bias[token[part]].float())
        slope = head.slope(logits)
        log_p = targets.log_p[order[part]]
        log_q = logits - targets.log_z[state[part]]
        weight = logarithmic_mean(log_p, log_q)
        miss = log_p - log_q
        if slope is not None:
            weight, miss = weight * slope.square(), miss / slope.clamp_min(1e-6)
        matters = weight >= LEAST_WEIGHT
        kept.append(part[matters])
        weights.append(weight[matters])
        misses.append(miss[matters])
    which = torch.cat([torch.zeros(0, dtype=torch.long), *kept])
    spread = prior_coordinates(states)
    weight, miss = (torch.cat([torch.zeros(0), *parts]) for parts in (weights, misses))
    return Problem(token[which], state[which], weight, miss, states @ spread, spread)


def logarithmic_mean(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return (p - q) / (log p - log q), p where they are equal, from logarithms; q above 1 counts as 1."""
    import torch

    log_q = log_q.clamp_max(0)
    top, gap = torch.maximum(log_p, log_q), (log_p - log_q).abs()
    return top.exp() * torch.where(gap < 1e-4, 1 - gap / 2, -torch.expm1(-gap) / gap.clamp_min(1e-30))


def regress(problem: Problem, deviation: float) -> tuple[Tensor, Tensor]:
    """Return (tokens Int[r] that have evidence, what their rows move by Float32[r d]).

    `deviation` in nats is what the prior thinks a row's logit is off by at a typical state.
    """
    import torch

    at = problem.coordinates
    precision = float(at.square().sum(1).mean()) / deviation**2
    tokens, counts = problem.token.unique_consecutive(return_counts=True)
    parts = (x.split(counts.tolist()) for x in (problem.state, problem.weight, problem.miss))
    moves = [_ridge(at[s], w, m, precision) for s, w, m in zip(*parts, strict=True)]
    if not moves:
        return tokens, torch.zeros(0, at.shape[1])
    return tokens, torch.stack(moves) @ problem.spread.T


def _ridge(at: Tensor, weight: Tensor, miss: Tensor, precision: float) -> Tensor:
    """Return the Float32[d] x of least Σ w (miss - at·x)² + precision·‖x‖², by the smaller of two systems."""
    import torch

    scaled, wanted = at * weight.sqrt()[:, None], miss * weight.sqrt()
    if len(at) <= at.shape[1]:
        gram = scaled @ scaled.T
        gram.diagonal().add_(precision)
        return scaled.T @ torch.linalg.solve(gram, wanted)
    gram = scaled.T @ scaled
    gram.diagonal().add_(precision)
    return torch.linalg.solve(gram, scaled.T @ wanted)
