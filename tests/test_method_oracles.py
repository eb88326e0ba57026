"""The simple methods against other people's implementations and plain loops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from method_tasks import make_task
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from tokswap.methods import Pieces, Task, get_method
from tokswap.methods.floors import mean_row
from tokswap.methods.subword import piece_weights


def as_double(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Donor rows of anchors and targets, base rows of anchors."""
    assert task.donor is not None
    donor = task.donor.double()
    return donor[task.anchors[:, 1]], donor[task.targets], task.base[task.anchors[:, 0]].double()


def test_zero_and_mean() -> None:
    task = make_task()
    assert not get_method("zero")(task).any()
    centre = task.base[task.usable].double().mean(0).float()
    assert torch.equal(get_method("mean")(task), centre.expand(len(task.targets), -1))


def test_a_mean_over_blocks_is_the_mean() -> None:
    rows = torch.randn(40_000, 3) + 1000
    expected = rows.double().mean(0).float()
    assert torch.equal(mean_row(rows, torch.arange(40_000)), expected)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_normal_draws_have_the_mean_and_covariance_of_the_base(scale: float) -> None:
    g = torch.Generator().manual_seed(0)
    base = torch.randn(400, 6, generator=g) @ torch.randn(6, 6, generator=g) + torch.arange(6)
    count = 60_000
    empty = Pieces(
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0, dtype=torch.long),
        torch.zeros(count + 1, dtype=torch.long),
    )
    task = Task(
        base=base,
        usable=torch.arange(400),
        targets=torch.arange(count),
        pieces=empty,
        anchors=torch.zeros(0, 2, dtype=torch.long),
    )
    rows = get_method("normal")(task, scale=scale).double()
    covariance = torch.cov(base.double().T) * scale**2
    spread = covariance.diagonal().sqrt()
    assert ((rows.mean(0) - base.double().mean(0)).abs() < 5 * spread / count**0.5).all()
    # The standard error of a covariance is at most s_i·s_j·sqrt(2/n).
    assert (
        (torch.cov(rows.T) - covariance).abs() < 5 * torch.outer(spread, spread) * (2 / count) ** 0.5
    ).all()
    assert len(rows.unique(dim=0)) == count


@pytest.mark.parametrize("ridge", [0.01, 0.3, 5.0])
def test_map_is_ridge_regression(ridge: float) -> None:
    task = make_task(seed=3)
    atoms, wanted, rows = as_double(task)
    centred = atoms - atoms.mean(0)
    penalty = ridge * float((centred.T @ centred).diagonal().mean())
    model = Ridge(alpha=penalty, solver="cholesky").fit(atoms.numpy(), rows.numpy())
    expected = torch.from_numpy(model.predict(wanted.numpy())).float()
    torch.testing.assert_close(get_method("map")(task, ridge=ridge), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (5, 0.1), (8, 1.0), (500, 0.3)])
def test_nearest_is_a_softmax_over_scikit_learns_neighbours(k: int, temperature: float) -> None:
    task = make_task(seed=4)
    atoms, wanted, rows = as_double(task)
    finder = NearestNeighbors(n_neighbors=min(k, len(atoms)), metric="cosine").fit(atoms.numpy())
    distances, found = finder.kneighbors(wanted.numpy())
    weights = torch.softmax((1 - torch.from_numpy(distances)) / temperature, dim=1)
    expected = (weights[:, :, None] * rows[torch.from_numpy(found)]).sum(1).float()
    result = get_method("nearest")(task, k=k, temperature=temperature)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


LOOPS = {
    "mean": lambda lengths: [1.0 for _ in lengths],
    "length": lambda lengths: [float(n) for n in lengths],
    "first": lambda lengths: [float(j == 0) for j, _ in enumerate(lengths)],
    "last": lambda lengths: [float(j == len(lengths) - 1) for j, _ in enumerate(lengths)],
    "decay": lambda lengths: [0.7**j for j, _ in enumerate(lengths)],
}


@pytest.mark.parametrize("kind", LOOPS)
def test_subword_is_a_plain_loop(kind: str) -> None:
    task = make_task(seed=5)
    rows = get_method("subword")(task, weights=kind, decay=0.7)
    starts = task.pieces.starts.tolist()
    for row, a, b in zip(rows, starts, starts[1:], strict=False):
        weights = LOOPS[kind](task.pieces.lengths[a:b].tolist())
        expected = mean_row(task.base, task.usable)
        if weights:
            parts = [
                w / sum(weights) * task.base[i].double()
                for w, i in zip(weights, task.pieces.ids[a:b], strict=True)
            ]
            expected = torch.stack(parts).sum(0).float()
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)


def test_the_output_may_weigh_its_pieces_apart() -> None:
    subword, task = get_method("subword"), make_task()
    apart = {"weights": "last", "output_weights": "first"}
    for side, kind in (("input", "last"), ("tied", "last"), ("output", "first")):
        one = replace(task, side=side)  # type: ignore[arg-type]
        assert torch.equal(subword(one, **apart), subword(task, weights=kind))


def test_long_spellings_keep_finite_weights() -> None:
    pieces = Pieces(
        torch.zeros(3000, dtype=torch.long),
        torch.ones(3000, dtype=torch.long),
        torch.tensor([0, 0, 3000, 3000]),
    )
    for kind in LOOPS:
        weights = piece_weights(pieces, kind, 0.5)  # type: ignore[arg-type]
        assert weights.isfinite().all() and float(weights.sum()) == pytest.approx(1, abs=1e-5)
