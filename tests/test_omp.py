from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
import torch
from method_tasks import make_task
from sklearn.linear_model import Ridge, orthogonal_mp
from torch import Tensor

from tokswap.methods import get_method
from tokswap.methods.omp import make_dictionary, pursue

SCREENS = [torch.float32, torch.bfloat16]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def uneven(count: int, width: int, seed: int) -> Tensor:
    """Atoms whose norms span four orders of magnitude."""
    return draw(count, width, seed=seed) * torch.exp(2.3 * draw(count, 1, seed=seed + 10_000))


def clustered(count: int, width: int, seed: int) -> Tensor:
    """Atoms in tight clusters: within one, bf16 can't tell them apart."""
    centres = draw(count // 16, width, seed=seed).repeat_interleave(16, 0)
    return centres + 3e-3 * draw(count, width, seed=seed + 1)


def reference(atoms: Tensor, targets: Tensor, k: int) -> np.ndarray:
    """Weights Float64[n S] of scikit-learn's pursuit over unit atoms, given back to the atoms as they are."""
    norms = atoms.double().norm(dim=1)
    unit = (atoms.double() / norms[:, None]).numpy().T  # (e S)
    weights = orthogonal_mp(unit, targets.double().numpy().T, n_nonzero_coefs=k, precompute=False)
    return weights.reshape(len(atoms), -1).T / norms.numpy()


def dense(chosen: Tensor, weights: Tensor, count: int) -> np.ndarray:
    out = torch.zeros(len(chosen), count + 1, dtype=torch.float64)
    return out.scatter_(1, torch.where(chosen < 0, count, chosen), weights)[:, :count].numpy()


def residuals(atoms: Tensor, targets: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    rows = torch.from_numpy(dense(chosen, weights, len(atoms))) @ atoms.double()
    return (targets.double() - rows).norm(dim=1)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("seed", range(12))
def test_choices_and_weights_are_scikit_learns(seed: int, screen: torch.dtype) -> None:
    count, width, k = [(200, 40, 8), (61, 24, 20), (500, 16, 5)][seed % 3]
    atoms = uneven(count, width, seed) if seed % 2 else draw(count, width, seed=seed)
    targets = draw(25, width, seed=seed + 500)
    chosen, weights = pursue(make_dictionary(atoms, screen=screen), targets, k)
    expected, got = reference(atoms, targets, k), dense(chosen, weights, count)
    assert np.array_equal(expected != 0, got != 0)
    scale = atoms.norm(dim=1).numpy()  # weights of tiny atoms are huge: compare what they contribute
    assert np.abs((got - expected) * scale).max() <= 1e-5 * np.abs(expected * scale).max()


@pytest.mark.parametrize("make", [clustered, uneven])
@pytest.mark.parametrize("seed", range(4))
def test_rounded_screening_chooses_what_fp32_chooses(make: object, seed: int) -> None:
    atoms = make(512, 48, seed)  # type: ignore[operator]
    targets = torch.cat([draw(20, 48, seed=seed + 90), atoms[:10] + 0.05 * draw(10, 48, seed=seed + 91)])
    exact = pursue(make_dictionary(atoms, screen=torch.float32), targets, 10)
    rounded = pursue(make_dictionary(atoms, screen=torch.bfloat16), targets, 10)
    assert torch.equal(exact[0], rounded[0]) and torch.equal(exact[1], rounded[1])


def test_neighbours_that_bf16_can_not_tell_apart_are_told_apart() -> None:
    base = draw(1, 64, seed=0)
    atoms = torch.cat([base + 1e-4 * draw(300, 64, seed=1), draw(100, 64, seed=2)])
    assert (atoms[:300].bfloat16() == atoms[0].bfloat16()).float().mean() > 0.9  # they are one to bf16
    unit = torch.nn.functional.normalize(atoms.double(), dim=1)
    for at in (7, 123, 299):
        chosen, _ = pursue(make_dictionary(atoms, screen=torch.bfloat16), atoms[at : at + 1], 1)
        scores = unit @ unit[at]
        assert float(scores[chosen[0, 0]]) >= float(scores.max()) - 1e-6


@pytest.mark.parametrize("screen", SCREENS)
def test_a_sparse_signal_in_uneven_atoms_is_found(screen: torch.dtype) -> None:
    atoms = uneven(300, 64, seed=3)
    picks = torch.stack(
        [torch.randperm(300, generator=torch.Generator().manual_seed(i))[:3] for i in range(20)]
    )
    unit = torch.nn.functional.normalize(atoms, dim=1)
    targets = (unit[picks] * torch.tensor([3.0, -2.0, 1.5])[:, None]).sum(1)
    chosen, weights = pursue(make_dictionary(atoms, screen=screen), targets, 8)
    assert residuals(atoms, targets, chosen, weights).max() < 1e-5
    assert all(set(p) <= set(c) for p, c in zip(picks.tolist(), chosen.tolist(), strict=True))


def test_an_atom_is_its_own_sum() -> None:
    atoms = uneven(50, 20, seed=5)
    chosen, weights = pursue(make_dictionary(atoms), atoms[:10], 6)
    assert chosen[:, 0].tolist() == list(range(10)) and (chosen[:, 1:] == -1).all()
    assert torch.allclose(weights[:, 0], torch.ones(10, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("screen", SCREENS)
def test_equal_atoms_give_the_lowest_and_only_once(screen: torch.dtype) -> None:
    atoms = draw(8, 30, seed=6).repeat(5, 1)
    targets = draw(15, 30, seed=7)
    chosen, weights = pursue(make_dictionary(atoms, screen=screen), targets, 12)
    assert chosen.max() < 8 and ((chosen >= 0).sum(1) == 8).all()
    best = np.linalg.lstsq(atoms[:8].double().numpy().T, targets.double().numpy().T, rcond=None)
    got = dense(chosen, weights, 40)[:, :8]
    assert np.allclose(got, best[0].T, atol=1e-5)


def test_opposite_atoms_are_one_direction() -> None:
    atoms = torch.cat([draw(6, 20, seed=8), -draw(6, 20, seed=8)])
    chosen, _ = pursue(make_dictionary(atoms), draw(9, 20, seed=9), 10)
    assert chosen.max() < 6 and ((chosen >= 0).sum(1) == 6).all()


def test_rank_deficient_dictionaries_end_at_their_rank() -> None:
    atoms = draw(100, 5, seed=10) @ draw(5, 40, seed=11)  # rank 5
    inside = draw(10, 100, seed=12) @ atoms
    targets = torch.cat([inside, draw(10, 40, seed=13)])
    chosen, weights = pursue(make_dictionary(atoms), targets, 20)
    assert ((chosen >= 0).sum(1) <= 5).all() and weights.isfinite().all()
    left = residuals(atoms, targets, chosen, weights)
    directions = np.linalg.svd(atoms.double().numpy())[2][:5]
    projector = directions.T @ directions
    best = np.linalg.norm(targets.double().numpy() @ (np.eye(40) - projector), axis=1)
    assert np.allclose(left.numpy(), best, atol=1e-4 * targets.norm(dim=1).max().item())


def test_more_atoms_than_dimensions_stop_when_the_target_is_reached() -> None:
    atoms = draw(60, 12, seed=14)
    targets = draw(10, 12, seed=15)
    chosen, weights = pursue(make_dictionary(atoms), targets, 40)
    assert ((chosen >= 0).sum(1) <= 12).all()
    assert residuals(atoms, targets, chosen, weights).max() < 1e-4


@pytest.mark.parametrize("screen", SCREENS)
def test_a_zero_target_has_no_atoms(screen: torch.dtype) -> None:
    targets = torch.cat([torch.zeros(1, 20), draw(2, 20, seed=16), torch.zeros(1, 20)])
    chosen, weights = pursue(make_dictionary(draw(40, 20, seed=17), screen=screen), targets, 4)
    assert (chosen[[0, 3]] == -1).all() and (weights[[0, 3]] == 0).all() and (chosen[1:3] >= 0).all()


def test_what_is_orthogonal_to_every_atom_has_none() -> None:
    atoms = torch.cat([draw(10, 8, seed=18), torch.zeros(10, 8)], dim=1)
    targets = torch.cat([torch.zeros(3, 8), draw(3, 8, seed=19)], dim=1)
    assert (pursue(make_dictionary(atoms), targets, 5)[0] == -1).all()


@pytest.mark.parametrize("tolerance", [0.5, 0.1, 0.01])
def test_the_tolerance_is_reached_and_not_passed_by_more_than_a_step(tolerance: float) -> None:
    atoms, targets = draw(400, 30, seed=20), draw(20, 30, seed=21)
    dictionary = make_dictionary(atoms)
    chosen, weights = pursue(dictionary, targets, 30, tolerance)
    counts = (chosen >= 0).sum(1)
    assert (residuals(atoms, targets, chosen, weights) <= tolerance * targets.norm(dim=1) * 1.0001).all()
    for row in range(20):
        before = pursue(dictionary, targets[row : row + 1], max(int(counts[row]) - 1, 1))
        left = residuals(atoms, targets[row : row + 1], *before)
        assert counts[row] == 1 or left > tolerance * targets[row].norm()


def test_the_residual_never_grows() -> None:
    atoms, targets = clustered(256, 32, seed=22), draw(16, 32, seed=23)
    dictionary = make_dictionary(atoms)
    norms = [targets.double().norm(dim=1)]
    norms += [residuals(atoms, targets, *pursue(dictionary, targets, k)) for k in range(1, 20)]
    assert all((after <= before * (1 + 1e-6)).all() for before, after in itertools.pairwise(norms))


def test_more_steps_only_add() -> None:
    atoms, targets = uneven(100, 24, seed=24), draw(10, 24, seed=25)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short = pursue(make_dictionary(atoms), targets, 4)[0]
        assert torch.equal(pursue(make_dictionary(atoms), targets, 9)[0][:, :4], short)


def test_no_atom_is_chosen_twice_and_padding_never() -> None:
    chosen, _ = pursue(make_dictionary(draw(33, 40, seed=26)), draw(30, 40, seed=27), 33)
    assert chosen.max() < 33
    assert all(len(set(row)) == len(row) for row in chosen.tolist() if -1 not in row)


def test_what_a_sum_leaves_of_the_donors_row_can_go_through_the_map() -> None:
    """Plain numpy least squares for the weights, scikit-learn's ridge regression for the map."""
    task = make_task()
    assert task.donor is not None
    base_ids, new_ids = task.anchors.T
    atoms, rows = task.donor[new_ids].double(), task.base[base_ids].double()
    gram = (atoms - atoms.mean(0)).T @ (atoms - atoms.mean(0))
    line = Ridge(alpha=0.01 * float(gram.diagonal().mean())).fit(atoms.numpy(), rows.numpy())
    unit = atoms / atoms.norm(dim=1, keepdim=True)
    expected = []
    for target in task.donor[task.targets].double():
        chosen = orthogonal_mp(unit.T.numpy(), target.numpy(), n_nonzero_coefs=6)
        weights = torch.from_numpy(chosen) / atoms.norm(dim=1)
        left = target - weights @ atoms
        expected.append(weights @ rows + torch.from_numpy(line.coef_) @ left)
    made = get_method("omp")(task, k=6, rest="map")
    torch.testing.assert_close(made.double(), torch.stack(expected), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(made, get_method("omp")(task, k=6), atol=1e-2)
