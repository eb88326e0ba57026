"""The arithmetic of speculative decoding against speculative decoding itself, played with seeds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tokswap.speculation import best_speed, expected_tokens, greedy_acceptance, sampled_acceptance, speed


def draws(probabilities: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return torch.multinomial(probabilities, count, replacement=True, generator=generator)


def two_models(seed: int, size: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, size, generator=generator)
    p, q = logits.double().softmax(-1)
    return p, q


def one_step(p: Tensor, q: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Play one token of speculative sampling `count` times; return what was kept and the tokens that came out."""
    generator = torch.Generator().manual_seed(seed)
    drafted = draws(q, count, generator)
    kept = torch.rand(count, generator=generator, dtype=p.dtype) < (p / q)[drafted]
    left = (p - q).clamp_min(0)
    return kept, torch.where(kept, drafted, draws(left / left.sum(), count, generator))


@pytest.mark.parametrize("seed", range(4))
def test_sampled_acceptance_is_what_sampling_keeps_and_the_text_stays_the_targets(seed: int) -> None:
    p, q = two_models(seed)
    count = 200_000
    kept, tokens = one_step(p, q, count, seed)
    expected = float(sampled_acceptance(p[None], q[None]))
    assert abs(float(kept.double().mean()) - expected) < 4 * (0.25 / count) ** 0.5
    seen = torch.bincount(tokens, minlength=len(p)) / count
    assert float((seen - p).abs().max()) < 4 * (0.25 / count) ** 0.5


def test_greedy_acceptance_is_sampling_at_temperature_zero() -> None:
    p, q = (torch.stack(its) for its in zip(*(two_models(seed) for seed in range(40)), strict=True))
    cold = [torch.nn.functional.one_hot(its.argmax(-1), its.shape[-1]) for its in (p, q)]
    greedy = greedy_acceptance(p, q)
    assert torch.equal(greedy, sampled_acceptance(*cold) > 0)
    assert 0 < int(greedy.sum()) < 40


@pytest.mark.parametrize("drafted", [1, 3, 6])
def test_expected_tokens_are_what_a_call_yields(drafted: int) -> None:
    p, q = two_models(1)
    rounds = 40_000
    kept = torch.stack([one_step(p, q, rounds, 100 + i)[0] for i in range(drafted)])  # (drafted, rounds)
    tokens = kept.int().cumprod(0).sum(0) + 1
    expected = expected_tokens(float(sampled_acceptance(p[None], q[None])), drafted)
    assert float(tokens.double().mean()) == pytest.approx(expected, abs=4 * drafted / rounds**0.5)


def test_a_draft_that_is_always_right_and_one_that_never_is() -> None:
    assert expected_tokens(1.0, 4) == 5 and expected_tokens(0.0, 4) == 1
    assert speed(1.0, 4, 0.25).speedup == pytest.approx(5 / 2)
    assert best_speed(0.0, 0.1).drafted == 1 and best_speed(0.0, 0.1).speedup < 1
    assert best_speed(1.0, 0.01, most=8).drafted == 8


@pytest.mark.parametrize(("acceptance", "cost"), [(0.5, 0.05), (0.8, 0.05), (0.8, 0.3), (0.9, 1.0)])
def test_the_best_number_of_tokens_beats_all_others(acceptance: float, cost: float) -> None:
    best = best_speed(acceptance, cost)
    assert best.speedup >= max(speed(acceptance, n, cost).speedup for n in range(1, 17))
    # Corollary 3.9: drafting helps at all if and only if a > c.
    assert (best.speedup > 1) == (acceptance > cost)
