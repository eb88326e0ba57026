"""Kriging against scikit-learn's ridge regression and Gaussian process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from method_tasks import ANCHORS, WIDTH, make_task
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge

from tokswap.errors import TokswapError
from tokswap.methods import Task, get_method


def arrays(task: Task) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Donor rows and base rows of the anchors, and donor rows of the targets."""
    assert task.donor is not None
    base_ids, new_ids = task.anchors.T
    parts = task.donor[new_ids], task.base[base_ids], task.donor[task.targets]
    known, wanted, new = (part.double().numpy() for part in parts)
    return known, wanted, new


@pytest.mark.parametrize(("k", "noise", "ridge"), [(ANCHORS, 0.1, 0.01), (20, 0.5, 0.3), (1, 0.1, 0.01)])
def test_kriging_is_a_ridge_regression_and_a_gaussian_process_of_what_it_misses(
    k: int, noise: float, ridge: float
) -> None:
    """On unit vectors exp(cosine - 1) is the squared exponential kernel of length 1."""
    task = make_task()
    known, wanted, new = arrays(task)
    centre = known.mean(0)
    gram = (known - centre).T @ (known - centre)
    line = Ridge(alpha=ridge * np.trace(gram) / len(gram)).fit(known, wanted)
    missed = wanted - line.predict(known)
    unit, unit_new = (
        (rows - centre) / np.linalg.norm(rows - centre, axis=1, keepdims=True) for rows in (known, new)
    )
    expected = line.predict(new)
    for row, direction in enumerate(unit_new):
        near = np.argsort(-unit @ direction)[:k]
        process = GaussianProcessRegressor(RBF(1.0), alpha=noise, optimizer=None)
        expected[row] += process.fit(unit[near], missed[near]).predict(direction[None])[0]
    how = {"k": k, "noise": noise, "ridge": ridge}
    rows = get_method("kriging")(task, **how, stretch=1.0)
    torch.testing.assert_close(rows.double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-4)
    mean = torch.from_numpy(wanted.mean(0)).float()
    torch.testing.assert_close(
        get_method("kriging")(task, **how) - mean, 1.1 * (rows - mean), rtol=1e-4, atol=1e-4
    )


def test_what_is_linear_in_the_donors_space_is_found_exactly() -> None:
    task = make_task()
    assert task.donor is not None
    weights = torch.randn(task.donor.shape[1], WIDTH, generator=torch.Generator().manual_seed(9))
    base = task.base.clone()
    base[task.anchors[:, 0]] = task.donor[task.anchors[:, 1]] @ weights + 3
    rows = get_method("kriging")(replace(task, base=base), ridge=0.0, stretch=1.0)
    torch.testing.assert_close(rows, task.donor[task.targets] @ weights + 3, rtol=1e-3, atol=1e-3)


def test_a_neighbour_that_the_map_misses_pulls_the_row_its_way() -> None:
    task = make_task()
    assert task.donor is not None
    donor = task.donor.clone()
    donor[task.targets[0]] = donor[task.anchors[0, 1]]  # the first target is the first anchor's twin
    mapped, kriged = (get_method(name)(replace(task, donor=donor))[0] for name in ("map", "kriging"))
    twin = task.base[task.anchors[0, 0]]
    assert (kriged - twin).norm() < 0.5 * (mapped - twin).norm()


@pytest.mark.parametrize(
    "parameters", [{"k": 0}, {"noise": 1e-8}, {"noise": float("nan")}, {"ridge": -1.0}, {"stretch": 0.0}]
)
def test_senseless_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(TokswapError, match="kriging") as caught:
        get_method("kriging")(make_task(), **parameters)
    assert "k=32" in caught.value.hint
