"""The methods that weigh rows by likeness, against slow transcriptions of their papers' formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_tasks import make_task
from torch import Tensor

from tokswap.errors import TokswapError
from tokswap.methods import Task, get_method
from tokswap.methods.floors import mean_row
from tokswap.methods.focus import sparsemax
from tokswap.methods.weighting import dense_sums, ragged_sums


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a.double() @ b.double() / (a.double().norm() * b.double().norm()))


def cosines(task: Task) -> list[list[float]]:
    """Of every target with every anchor, one by one."""
    assert task.donor is not None
    atoms = task.donor[task.anchors[:, 1]]
    return [[cosine(task.donor[t], atom) for atom in atoms] for t in task.targets]


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def simplex_projection(z: list[float]) -> list[float]:
    """Algorithm 1 of Martins and Astudillo, by sorting."""
    ordered = sorted(z, reverse=True)
    support = max(k for k in range(1, len(z) + 1) if 1 + k * ordered[k - 1] > sum(ordered[:k]))
    threshold = (sum(ordered[:support]) - 1) / support
    return [max(v - threshold, 0.0) for v in z]


def dense(scores: Tensor) -> Tensor:
    row, column, weight = sparsemax(scores)
    assert bool((weight > 0).all())
    return torch.zeros(scores.shape).index_put((row, column), weight, accumulate=True)


@pytest.mark.parametrize("width", [1, 2, 31, 32, 33, 200, 1000])
@pytest.mark.parametrize("spread", [0.01, 0.3, 5.0])
def test_sparsemax_is_the_projection_on_the_simplex(width: int, spread: float) -> None:
    scores = torch.randn(20, width, generator=torch.Generator().manual_seed(width)) * spread
    expected = torch.tensor([simplex_projection(row) for row in scores.double().tolist()])
    torch.testing.assert_close(dense(scores), expected.float(), rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=70))
def test_sparsemax_sums_to_one_even_among_equals(values: list[float]) -> None:
    weights = dense(torch.tensor([values, [values[0]] * len(values)]))
    torch.testing.assert_close(weights.sum(1), torch.ones(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(weights[1], torch.full((len(values),), 1 / len(values)))
    torch.testing.assert_close(weights[0], torch.tensor(simplex_projection(values)), rtol=0, atol=1e-5)


def test_focus_is_sparsemax_over_all_anchors() -> None:
    task = make_task(seed=6)
    rows = task.base[task.anchors[:, 0]].double()
    weights = torch.tensor([simplex_projection(z) for z in cosines(task)], dtype=torch.float64)
    torch.testing.assert_close(get_method("focus")(task), (weights @ rows).float(), rtol=1e-4, atol=1e-5)


def test_clp_is_the_mean_by_positive_cosine() -> None:
    task = make_task(seed=7)
    rows = task.base[task.anchors[:, 0]].double()
    positive = torch.tensor(cosines(task), dtype=torch.float64).clamp_min(0)
    expected = (positive / positive.sum(1, keepdim=True)) @ rows
    torch.testing.assert_close(get_method("clp")(task), expected.float(), rtol=1e-4, atol=1e-5)


def test_clp_gives_the_mean_where_nothing_is_alike() -> None:
    task = make_task()
    assert task.donor is not None
    donor = task.donor.abs()
    donor[task.targets[0]] *= -1
    rows = get_method("clp")(replace(task, donor=donor))
    torch.testing.assert_close(rows[0], mean_row(task.base, task.anchors[:, 0]), rtol=1e-5, atol=1e-6)


def test_wechsel_is_nearest_with_the_papers_defaults() -> None:
    task = make_task(seed=8)
    assert torch.equal(get_method("wechsel")(task), get_method("nearest")(task, k=10, temperature=0.1))


def plain_hybrid(
    task: Task, temperature: float, k: int, global_weight: float, threshold: float
) -> list[Tensor]:
    """TokenAdapt's two heuristics as the paper writes them (sections 3.2 to 3.4), one token at a time."""
    assert task.donor is not None
    vector = {int(b): task.donor[d] for b, d in task.anchors}
    out = []
    for i, target in enumerate(task.targets):
        phi = task.donor[target]
        cut = slice(int(task.pieces.starts[i]), int(task.pieces.starts[i + 1]))
        pieces, lengths = task.pieces.ids[cut].tolist(), task.pieces.lengths[cut].tolist()
        local = None
        if pieces:
            similar = softmax([cosine(phi, vector[p]) if p in vector else 0.0 for p in pieces])
            combined = [(s + n / sum(lengths)) / 2 for s, n in zip(similar, lengths, strict=True)]
            weights = softmax([c / temperature for c in combined])
            local = sum(w * task.base[p].double() for w, p in zip(weights, pieces, strict=True))
        ranked = sorted(((cosine(phi, v), b) for b, v in vector.items()), reverse=True)[:k]
        weights = softmax([c / temperature for c, _ in ranked])
        kept = [(w, b) for w, (_, b) in zip(weights, ranked, strict=True) if w >= threshold]
        far = None
        if kept:
            far = sum(w / sum(w for w, _ in kept) * task.base[b].double() for w, b in kept)
        if local is not None and far is not None:
            out.append((1 - global_weight) * local + global_weight * far)
        else:
            found = local if local is not None else far
            out.append(mean_row(task.base, task.usable).double() if found is None else found)
    return out


@pytest.mark.parametrize(
    ("temperature", "k", "global_weight", "threshold"),
    [(0.3, 3, 0.3, 0.0), (0.6, 3, 0.3, 0.0), (0.05, 7, 0.5, 0.2), (0.3, 3, 0.3, 0.36), (0.3, 500, 0.0, 0.0),
     (1.0, 1, 1.0, 0.0), (0.01, 2, 0.3, 0.9)],
)  # fmt: skip
def test_hybrid_is_the_papers_arithmetic(
    temperature: float, k: int, global_weight: float, threshold: float
) -> None:
    task = make_task(seed=9)
    result = get_method("hybrid")(
        task, temperature=temperature, k=k, global_weight=global_weight, threshold=threshold
    )
    expected = torch.stack(plain_hybrid(task, temperature, k, global_weight, threshold)).float()
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def test_hybrids_parity_is_the_papers_code_and_its_default_leans_on_neighbours() -> None:
    task = make_task(seed=10)
    expected = torch.stack(plain_hybrid(task, 0.3, 3, 0.3, 0.0)).float()
    torch.testing.assert_close(get_method("hybrid")(task, parity=True), expected, rtol=1e-4, atol=1e-5)
    own = torch.stack(plain_hybrid(task, 0.3, 3, 0.7, 0.0)).float()
    torch.testing.assert_close(get_method("hybrid")(task), own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("hybrid", {"temperature": 0.0}), ("hybrid", {"k": 0}), ("hybrid", {"global_weight": 1.1}),
        ("hybrid", {"threshold": -0.1}), ("hybrid", {"parity": True, "k": 5}), ("wechsel", {"k": 0}),
        ("wechsel", {"temperature": -1.0}),
    ],
)  # fmt: skip
def test_senseless_parameters_are_refused(name: str, parameters: Any) -> None:
    with pytest.raises(TokswapError, match=name):
        get_method(name)(make_task(), **parameters)


@pytest.mark.parametrize("budget", [1, 500, 10**9])
def test_ragged_and_dense_sums_are_matrix_products(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokswap.methods.weighting.BLOCK_ANCHORS", 7)
    g = torch.Generator().manual_seed(1)
    base, ids = torch.randn(40, 6, generator=g), torch.randperm(40, generator=g)[:25]
    weights = torch.randn(9, 25, generator=g)
    expected = weights @ base[ids]
    torch.testing.assert_close(dense_sums(base, ids, weights), expected)
    owner, column = weights.abs().gt(-1).nonzero(as_tuple=True)
    result = ragged_sums(base, ids[column], owner, weights[owner, column], 9, budget)
    torch.testing.assert_close(result, expected)
