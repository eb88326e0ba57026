"""Orthogonal matching pursuit: a new token's donor row as a sparse sum of shared tokens' donor rows.

The same sum of the base's rows makes its new row (arXiv:2506.06607). The greedy choice looks at every atom in
every step, which is nearly all of the work: 2·n·S·e·k operations. That product is done in bf16 where the device
is fast in it, and only to *screen*: an atom whose rounded correlation is further below the best than the
rounding can explain cannot be the best. The few that remain are compared in fp32. The choice is therefore that
of fp32 arithmetic, atom by atom, at the speed of bf16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tokswap.device import computes_bfloat16
from tokswap.errors import TokswapError
from tokswap.methods import SideBySide, Task, method
from tokswap.methods.bounds import Count, NotNegative
from tokswap.methods.map import fit_map

Rest = Literal["drop", "map"]

# Atoms whose scores are reduced together before anything looks at single ones.
GROUP = 32
# A unit atom with less than this outside the span of the chosen ones adds nothing but rounding noise.
RANK_TOLERANCE = 1e-4
# A residual below this share of its target is fp32 rounding: the target is reached.
EXACT = 1e-6
# Targets of one block at the most: beyond it the scores fall out of the cache and nothing gets faster.
BLOCK_TARGETS = 512
# Relative rounding error of one bf16 number, and of an fp32 sum of products as long as a row.
BF16_EPS = 2.0**-8
FP32_EPS = 2.0**-18
# Penalty of the map that a residual goes through, as a share of the mean eigenvalue of the anchors' Gram matrix.
RIDGE = 0.01


@method("omp", paper="arXiv:2506.06607", space="donor")
def omp(task: Task, *, k: Count = 64, tolerance: NotNegative = 0.0, rest: Rest = "drop") -> Tensor:
    """A sparse sum of k shared tokens that rebuilds the donor's row, applied to the base's rows.

    A token stops early when its residual is below `tolerance` times its norm, or when no atom adds rank. The residual
    that is left is dropped, as in the paper, or with `rest` "map" goes through the linear map of the method `map`.
    Raises TokswapError for more atoms than shared tokens.
    """
    if k > len(task.anchors):
        raise TokswapError(
            f"omp: k = {k} needs as many shared tokens, and there are {len(task.anchors):,}",
            f"use --set k={max(1, min(8, len(task.anchors)))} or --method subword",
        )
    assert task.donor is not None
    base_ids, new_ids = task.anchors.T
    dictionary = make_dictionary(task.donor[new_ids].float().to(task.device))
    linear = fit_map(task, RIDGE).weights.float() if rest == "map" else None  # (e d)
    block = _block_size(task, dictionary, k)
    out = torch.empty(len(task.targets), task.base.shape[1])
    for start in range(0, len(task.targets), block):
        ids = task.targets[start : start + block]
        targets = task.donor[ids].float()
        chosen, weights = (part.cpu() for part in pursue(dictionary, targets.to(task.device), k, tolerance))
        rows = combine(task.base, base_ids, chosen, weights)
        if linear is not None:
            rows += (targets - combine(task.donor, new_ids, chosen, weights)) @ linear
        out[start : start + len(ids)] = rows
        task.report(start + len(ids))
    return out


def combine(base: Tensor | SideBySide, base_ids: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """Return Float32[n d]: sums of base rows; `chosen` Int[n k] indexes `base_ids`, -1 standing for no atom."""
    rows = base[base_ids[chosen.clamp_min(0)]].float()  # (n k d)
    return torch.einsum("nk,nkd->nd", weights.float(), rows)


@dataclass(frozen=True)
class Dictionary:
    """Atoms made ready for the pursuit.

    `unit` Float32[S e] unit rows; `norms` Float32[S]; `screen` [S' e] the same rows in the screening dtype, padded
    with zeros to a multiple of GROUP; `error` the largest norm of what rounding took from a row.
    """

    unit: Tensor
    norms: Tensor
    screen: Tensor
    error: float


def make_dictionary(atoms: Tensor, *, screen: torch.dtype | None = None) -> Dictionary:
    """Prepare Float32[S e] atoms; `screen` None takes bf16 where the device computes it fast, else fp32."""
    if screen is None:
        screen = torch.bfloat16 if computes_bfloat16(atoms.device) else torch.float32
    norms = atoms.norm(dim=1)
    unit = normalize(atoms, dim=1)
    padded = torch.zeros(-(-len(unit) // GROUP) * GROUP, unit.shape[1], dtype=screen, device=atoms.device)
    padded[: len(unit)] = unit.to(screen)
    error = float((padded[: len(unit)].float() - unit).norm(dim=1).max())
    return Dictionary(unit, norms, padded, error)


def pursue(dictionary: Dictionary, targets: Tensor, k: int, tolerance: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return (chosen Int[n k], weights Float64[n k]) for Float32[n e] targets; -1 and 0 where a token stopped.

    Each step takes the unit atom with the largest |correlation with the residual|, ties to the lowest index, then
    projects the residual away from all that were chosen (Gram-Schmidt, twice); the weights solve least squares
    on the chosen atoms.
    """
    n, width = targets.shape
    device = targets.device
    chosen = torch.full((n, k), -1, dtype=torch.long, device=device)
    basis = torch.zeros(n, k, width, device=device)
    upper = torch.eye(k, device=device).repeat(n, 1, 1)  # unit atom j in the basis: column j
    along = torch.zeros(n, k, device=device)
    residual = targets.clone()
    enough = targets.norm(dim=1) * max(tolerance, EXACT)  # (n)
    scores = torch.empty(n, len(dictionary.screen), dtype=dictionary.screen.dtype, device=device)
    active = torch.ones(n, dtype=torch.bool, device=device)
    for step in range(k):
        active &= residual.norm(dim=1) > enough
        best = _select(dictionary, residual, chosen[:, :step], scores)
        active &= best >= 0
        new, inside, outside = _orthogonalise(dictionary.unit[best.clamp_min(0)], basis[:, :step])
        active &= outside > RANK_TOLERANCE
        if not bool(active.any()):
            break
        live = active.float()
        basis[:, step] = new * live[:, None]
        upper[:, :step, step] = inside * live[:, None]
        upper[:, step, step] = torch.where(active, outside, torch.ones_like(outside))
        chosen[:, step] = torch.where(active, best, chosen[:, step])
        along[:, step] = (basis[:, step] * residual).sum(1)
        residual -= along[:, step, None] * basis[:, step]
    weights = torch.linalg.solve_triangular(upper.double(), along.double()[:, :, None], upper=True)[:, :, 0]
    scale = dictionary.norms[chosen.clamp_min(0)].double()
    return chosen, torch.where(chosen >= 0, weights / scale, torch.zeros_like(weights))


def _select(dictionary: Dictionary, residual: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
    """Return Int[n]: the atom with the largest |correlation|, the lowest of equals, -1 where none is left."""
    row, atom = _screened(dictionary, residual, scores)
    keep = (atom < len(dictionary.unit)) & ~(atom[:, None] == chosen[row]).any(1)
    row, atom = row[keep], atom[keep]
    exact = torch.cat(
        [
            (dictionary.unit[a] * residual[r]).sum(1).abs()
            for a, r in zip(atom.split(65_536), row.split(65_536), strict=True)
        ]
    )
    top = torch.zeros(len(residual), device=residual.device).scatter_reduce_(0, row, exact, "amax")
    wins = (exact == top[row]) & (exact > 0)
    nobody = len(dictionary.unit)
    first = torch.full((len(residual),), nobody, device=residual.device)
    first.scatter_reduce_(0, row[wins], atom[wins], "amin")
    return torch.where(first == nobody, -1, first)


def _screened(dictionary: Dictionary, residual: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return (row, atom) pairs among which every row's best atom is certain to be, in ascending order of rows.

    With a and r the exact atom and residual and â and r̂ the rounded ones, |a·r - â·r̂| ≤ ‖a - â‖·‖r̂‖ + ‖r - r̂‖,
    and the product itself is rounded once more.
    """
    rounded = residual.to(dictionary.screen.dtype)
    torch.mm(rounded, dictionary.screen.T, out=scores)
    grouped = scores.view(len(residual), GROUP, -1)  # group g holds the atoms i·G + g
    peaks = torch.maximum(grouped.amax(1), -grouped.amin(1)).float()  # (n G)
    best = peaks.amax(1)
    length = rounded.float().norm(dim=1)
    eps = BF16_EPS if scores.dtype == torch.bfloat16 else FP32_EPS
    slack = (
        dictionary.error * length + (residual - rounded.float()).norm(dim=1) + eps * best + FP32_EPS * length
    )
    floor = best - 2 * slack
    row, group = (peaks >= floor[:, None]).nonzero(as_tuple=True)
    pair, member = (grouped[row, :, group].abs().float() >= floor[row, None]).nonzero(as_tuple=True)
    return row[pair], member * grouped.shape[2] + group[pair]


def _orthogonalise(atoms: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split unit atoms (n e) by an orthonormal basis (n j e): unit remainder, parts inside (n j), norm outside."""
    inside = torch.zeros(basis.shape[:2], device=atoms.device)
    rest = atoms
    for _ in range(2):  # once loses orthogonality in fp32, twice is enough (Kahan)
        part = torch.bmm(basis, rest[:, :, None])  # (n j 1)
        rest = rest - torch.bmm(part.transpose(1, 2), basis)[:, 0]
        inside = inside + part[:, :, 0]
    outside = rest.norm(dim=1)
    return rest / outside.clamp_min(RANK_TOLERANCE)[:, None], inside, outside


def _block_size(task: Task, dictionary: Dictionary, k: int) -> int:
    """Return how many targets fit the budget: scores, basis, triangles and the gathered base rows of each."""
    width, height = dictionary.unit.shape[1], task.base.shape[1]
    each = len(dictionary.screen) * 3 + 4 * k * (width + k * 3 + height)
    return max(1, min(BLOCK_TARGETS, task.budget // each))
