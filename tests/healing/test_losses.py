from __future__ import annotations

import math

import pytest
import torch

from tokswap.healing.losses import (
    CERTAIN,
    TAU,
    chunk_sums,
    likelihood_matching,
    state_distance,
    with_automatic_weight,
)


def slow_matching(student: list[float], teacher: list[float], tau: float) -> float:
    """Binary cross-entropy of exp(l/tau) less the teacher's entropy, times tau: a transcription, chunk by chunk."""
    total = 0.0
    for x, y in zip(student, teacher, strict=True):
        p, q = math.exp((x - CERTAIN) / tau), math.exp((y - CERTAIN) / tau)
        cross = -(q * math.log(p) + (1 - q) * math.log(1 - p))
        own = -(q * math.log(q) + (1 - q) * math.log(1 - q))
        total += tau * (cross - own)
    return total / len(student)


@pytest.mark.parametrize("tau", [1.0, 10.0, TAU])
def test_matching_is_the_papers_cross_entropy(tau: float) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (-6 * torch.rand(2, 50, generator=generator, dtype=torch.float64)).unbind()
    found = float(likelihood_matching(student, teacher, tau))
    assert found == pytest.approx(slow_matching(student.tolist(), teacher.tolist(), tau), rel=1e-9)


def test_matching_is_zero_where_both_agree_and_pulls_towards_the_teacher() -> None:
    teacher = torch.tensor([-0.0, -0.5, -4.0, -30.0])
    student = teacher.clone().requires_grad_()
    loss = likelihood_matching(student, teacher)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert torch.allclose(student.grad, torch.zeros(4), atol=1e-4)
    off = (teacher + torch.tensor([-1.0, 0.4, -1.0, 5.0])).requires_grad_()
    likelihood_matching(off, teacher).backward()
    # Too unlikely: the slope is negative, so that a step down it raises the likelihood; too likely: the reverse.
    assert torch.sign(off.grad).tolist() == [-1, 1, -1, 1]


def test_a_certain_chunk_has_a_finite_slope() -> None:
    student = torch.zeros(1, requires_grad=True)
    likelihood_matching(student, torch.tensor([-3.0])).backward()
    assert 0 <= float(student.grad) < 100
    assert math.isfinite(float(likelihood_matching(torch.zeros(1), torch.zeros(1))))


def test_chunks_sum_their_tokens() -> None:
    log_probs = torch.tensor([-1.0, -2.0, -4.0, -8.0], requires_grad=True)
    sums = chunk_sums(log_probs, torch.tensor([0, 0, 1, 2]), 3)
    assert sums.tolist() == [-3, -4, -8]
    sums[0].backward()
    assert log_probs.grad.tolist() == [1, 1, 0, 0]


def test_distance_is_a_share_of_the_teachers_length() -> None:
    teacher = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    assert float(state_distance(teacher, teacher)) == 0
    assert float(state_distance(torch.zeros(2, 2), teacher)) == pytest.approx(1)
    assert float(state_distance(2 * teacher, teacher)) == pytest.approx(1)


def test_the_automatic_weight_makes_both_parts_pull_alike() -> None:
    a, b = torch.tensor(0.5, requires_grad=True), torch.tensor(8.0, requires_grad=True)
    with_automatic_weight(a, b).backward()
    assert float(a.grad * a.detach()) == pytest.approx(float(b.grad * b.detach()))
