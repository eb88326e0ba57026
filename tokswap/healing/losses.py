"""What healing minimises. Pure functions of log-probabilities and states; gradients flow to the student's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TAU = 100.0
"""Temperature of chunk likelihoods (arXiv 2503.20083): at 100 the loss weighs likely and unlikely chunks alike."""
CERTAIN = 0.1
"""Nats taken off every chunk's log-likelihood, the teacher's and the student's alike.

The slope of the cross-entropy at a chunk that is certain (log-likelihood 0) is infinite: a few would decide a step.
"""


def chunk_sums(log_probs: Tensor, chunks: Tensor, count: int) -> Tensor:
    """Return Float[count]: each chunk's log-likelihood from those of its tokens, Float[n], which lie in `chunks`."""
    return log_probs.new_zeros(count).index_add(0, chunks, log_probs)


def likelihood_matching(student: Tensor, teacher: Tensor, tau: float = TAU) -> Tensor:
    """Return approximate likelihood matching of chunk log-likelihoods, Float[c] each, in nats a chunk.

    The binary cross-entropy of exp(ℓ/tau) (arXiv 2503.20083, equation 6) less its least value, the teacher's own
    entropy, times tau: 0 where both agree, with a gradient that doesn't fall with tau.
    """
    import torch

    x, y = (student - CERTAIN).clamp(max=-CERTAIN) / tau, (teacher - CERTAIN).clamp(max=-CERTAIN) / tau
    p_rest, q_rest = -torch.expm1(x), -torch.expm1(y)  # 1 - exp(ℓ/tau), exact where that is close to 0
    divergence = y.exp() * (y - x) + q_rest * (q_rest / p_rest).log()
    return tau * divergence.mean()


def cross_entropy(log_probs: Tensor) -> Tensor:
    """Return the mean loss of tokens, Float[n], in nats a token."""
    return -log_probs.mean()


def state_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared distance of states, Float[p d] each, relative to the teacher's length (arXiv 2505.20133)."""
    teacher = teacher.float()
    return (student.float() - teacher).square().sum() / teacher.square().sum().clamp_min(1e-12)


def with_automatic_weight(main: Tensor, other: Tensor) -> Tensor:
    """Return the sum in which `other` counts as much as `main`, whatever their units (arXiv 2505.20133, section 4)."""
    return main + (main / other.clamp_min(1e-12)).detach() * other
