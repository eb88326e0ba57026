"""Refit: output rows by softmax regression on the states that the new model really has.

A shift moves a row along one direction. Here a row moves by a sum of two parts, e' = e + Uf + δ: a map that all tokens
share, U (d f) over features f of the token's row, and an offset δ of its own where the text says enough about a token.
Both minimise the cross-entropy of the next token over cached final states, which is convex in them; no gradient
passes through the model. A change costs λ·(what it moves logits by, squared, on average + its length, squared, scaled
to the states): without the second part rows would run off along directions that these states hardly have, and a tied
matrix is read as input too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokswap.calibrate import Head, expected_counts, log_mass

if TYPE_CHECKING:
    from torch import Tensor

# States at the most: with CANDIDATES and SAMPLE tokens their logits take 1.2 GB of fp32.
MOST_STATES = 24_576
# Tokens whose logits are looked at one by one: those that the text has or the rows would draw most.
CANDIDATES = 8_192
# And of the others an even sample that stands for all of them.
SAMPLE = 4_096
# Principal directions of the rows that the shared map reads.
RANK = 64
# A token that the text has, or the rows would draw, this often gets an offset of its own.
EVIDENCE = 3.0
# Precision of an own offset, and of the map's constant, beside that of the map: one token's δ, or one shift for all,
# has far fewer numbers than the map.
OWN_PRECISION, CONSTANT_PRECISION = 0.1, 0.03
# Steps of L-BFGS: the held-out loss is flat after some twenty.
STEPS = 25
# Logits that are held at once while a gradient is summed.
BLOCK_STATES = 1_024


@dataclass(frozen=True)
class Evidence:
    """What the model was seen to do: `states` Float32[n d], `targets` Int[n] the next token, `texts` Int[n]."""

    states: Tensor
    targets: Tensor
    texts: Tensor

    def __getitem__(self, which: Tensor) -> Evidence:
        return Evidence(self.states[which], self.targets[which], self.texts[which])


@dataclass(frozen=True)
class Table:
    """Output rows Float[V d] with their bias, the ids that may move, all ids that a text can have, and the head."""

    rows: Tensor
    bias: Tensor | None
    ids: Tensor
    known: Tensor
    head: Head


@dataclass(frozen=True)
class Basis:
    """How rows may move: `features` Float[m f] of the movable ids, `candidates` Int[c] and `own` Int[o] among them.

    `log_weight` Float[c]: of how many tokens each candidate stands for one; `spread` Float[d d] turns the
    coordinates that the prior is round in into rows.
    """

    features: Tensor
    candidates: Tensor
    own: Tensor
    log_weight: Tensor
    spread: Tensor


@dataclass(frozen=True)
class Move:
    """A solution in the prior's coordinates: the map (d f) and the own offsets (d o)."""

    shared: Tensor
    own: Tensor


def make_basis(evidence: Evidence, table: Table) -> Basis:
    """Choose candidates and features from what the states say; deterministic."""
    import torch

    log_all = log_mass(evidence.states, table.rows, table.bias, table.known, table.head)
    drawn = expected_counts(evidence.states, table.rows, table.bias, table.ids, log_all, table.head)
    seen = torch.bincount(evidence.targets, minlength=len(table.rows))[table.ids]
    weight = torch.maximum(drawn, seen.float())
    # What the text has comes first: a target without a logit of its own would seem not to move.
    order = (weight + len(evidence.states) * (seen > 0)).argsort(descending=True, stable=True)
    head, tail = order[:CANDIDATES], order[CANDIDATES:].sort().values
    step = max(1, -(-len(tail) // SAMPLE))
    sampled = tail[::step]
    candidates = torch.cat([head, sampled])
    log_weight = torch.zeros(len(candidates))
    if len(sampled):
        log_weight[len(head) :] = torch.tensor(len(tail) / len(sampled)).log()
    return Basis(
        features=_features(table.rows, table.ids, weight),
        candidates=candidates,
        own=(weight[candidates] >= EVIDENCE).nonzero()[:, 0],
        log_weight=log_weight,
        spread=prior_coordinates(evidence.states),
    )


def _features(rows: Tensor, ids: Tensor, weight: Tensor) -> Tensor:
    """Return Float32[m 1+r]: a constant, and each row's parts along the r principal directions, of unit variance."""
    import torch

    share = (weight.sqrt() + 0.05).double()  # a token that is never met has little say in the directions
    mean = sum(s @ rows[i].double() for i, s in zip(ids.split(16_384), share.split(16_384), strict=True))
    mean = mean / share.sum()
    scatter = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for part, its in zip(ids.split(16_384), share.split(16_384), strict=True):
        centred = (rows[part].double() - mean) * its[:, None]
        scatter += centred.T @ centred
    directions = torch.linalg.eigh(scatter).eigenvectors[:, -RANK:].flip(1)
    parts = torch.cat([(rows[part].double() - mean) @ directions for part in ids.split(16_384)])
    deviation = parts.std(0, unbiased=False)
    # Fewer rows than directions leave some without any spread: they say nothing.
    parts = torch.where(deviation > 1e-9 * deviation.max(), parts / deviation.clamp_min(1e-30), 0.0)
    return torch.cat([torch.ones(len(ids), 1), parts.float()], dim=1)


def prior_coordinates(states: Tensor) -> Tensor:
    """Return (C + tr(C)/d·I)^-1/2 for the states' second moment C, as columns: row = spread @ coordinates."""
    import torch

    moment = states.double().T @ states.double() / len(states)
    values, vectors = torch.linalg.eigh(moment)
    return (vectors * (values + values.mean()).clamp_min(1e-30).rsqrt()).float()


class Regression:
    """The cross-entropy over some states as a function of a move. Logits of candidates are computed once."""

    def __init__(self, evidence: Evidence, table: Table, basis: Basis) -> None:
        import torch

        ids = table.ids[basis.candidates]
        fixed = table.known[~torch.isin(table.known, table.ids)]
        self.head = table.head
        self.basis = basis
        self.features = basis.features[basis.candidates]  # (c f)
        self.raw = evidence.states @ table.rows[ids].float().T  # (n c)
        if table.bias is not None:
            self.raw += table.bias[ids].float()
        self.coordinates = evidence.states @ basis.spread  # (n d)
        self.log_fixed = log_mass(evidence.states, table.rows, table.bias, fixed, table.head)
        column = torch.full((len(table.rows),), -1)
        column[ids] = torch.arange(len(ids))
        self.column = column[evidence.targets]  # (n), -1 for a token that stays
        self.fixed_target = _target_logits(evidence, table)

    def loss(self, move: Move) -> Tensor:
        """Return Float[n]: nats of each target."""
        import torch

        blocks = range(0, len(self.raw), BLOCK_STATES)
        return torch.cat([self._block(move, slice(at, at + BLOCK_STATES))[0] for at in blocks])

    def gradient(self, move: Move) -> tuple[float, Move]:
        """Return the summed loss and its gradient."""
        import torch

        total, shared, own = 0.0, torch.zeros_like(move.shared), torch.zeros_like(move.own)
        for at in range(0, len(self.raw), BLOCK_STATES):
            part = slice(at, at + BLOCK_STATES)
            nats, error = self._block(move, part)
            total += float(nats.double().sum())
            shared += self.coordinates[part].T @ (error @ self.features)
            own += self.coordinates[part].T @ error[:, self.basis.own]
        return total, Move(shared, own)

    def _block(self, move: Move, part: slice) -> tuple[Tensor, Tensor]:
        """Return nats (b) and their derivatives by the raw logits of the candidates (b c)."""
        import torch

        at = self.coordinates[part]
        raw = self.raw[part] + (at @ move.shared) @ self.features.T
        raw[:, self.basis.own] += at @ move.own
        logits = self.head(raw)  # in place where it can: raw is not used again
        slope = self.head.slope(logits)
        column = self.column[part]
        moves = column >= 0
        chosen = logits.gather(1, column.clamp_min(0)[:, None])[:, 0]
        target = torch.where(moves, chosen, self.fixed_target[part])
        weighted = logits + self.basis.log_weight
        total = torch.logaddexp(weighted.logsumexp(1), self.log_fixed[part])
        error = (weighted - total[:, None]).exp_()
        rows = moves.nonzero()[:, 0]
        error[rows, column[rows]] -= 1
        return total - target, error if slope is None else error * slope


def no_move(basis: Basis) -> Move:
    """Return the move that leaves every row where it is."""
    import torch

    width = len(basis.spread)
    return Move(torch.zeros(width, basis.features.shape[1]), torch.zeros(width, len(basis.own)))


def solve(regression: Regression, precision: float, start: Move | None = None, steps: int = STEPS) -> Move:
    """Return the move of the least loss plus prior, by L-BFGS from `start` or from no move at all."""
    import torch

    basis, count = regression.basis, len(regression.raw)
    start = start or no_move(basis)
    shared, own = (part.clone().requires_grad_() for part in (start.shared, start.own))
    prior = torch.full((basis.features.shape[1],), precision)
    prior[0] *= CONSTANT_PRECISION
    search = torch.optim.LBFGS([shared, own], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> float:
        with torch.no_grad():
            nats, slope = regression.gradient(Move(shared, own))
            shared.grad = (slope.shared + prior * shared) / count
            own.grad = (slope.own + OWN_PRECISION * precision * own) / count
            cost = (prior * shared.square()).sum() + OWN_PRECISION * precision * own.square().sum()
            return nats / count + float(cost) / (2 * count)

    search.step(closure)
    return Move(shared.detach(), own.detach())


def moved(basis: Basis, move: Move) -> Tensor:
    """Return Float32[m d]: what is to be added to the rows of the movable ids."""
    import torch

    spread_map = (basis.spread @ move.shared).T  # (f d)
    out = torch.cat([part @ spread_map for part in basis.features.split(16_384)])
    out[basis.candidates[basis.own]] += (basis.spread @ move.own).T
    return out


def losses(evidence: Evidence, table: Table) -> Tensor:
    """Return Float[n]: nats of each target over the whole vocabulary."""
    every = log_mass(evidence.states, table.rows, table.bias, table.known, table.head)
    return every - _target_logits(evidence, table)


def _target_logits(evidence: Evidence, table: Table) -> Tensor:
    raw = (table.rows[evidence.targets].float() * evidence.states).sum(1)
    if table.bias is not None:
        raw = raw + table.bias[evidence.targets].float()
    return table.head(raw)
