"""Shift calibration: give new output rows, together, the probability that their tokens deserve.

An averaged row has no reason to keep its logit down and draws far too much probability. Subtracting c·h̄/‖h̄‖²
from every new row lowers its logit by c at the mean state h̄ and by c·(h·h̄)/‖h̄‖² at a state h; c is chosen so
that the probability of all new tokens, averaged over the states, is the share of new tokens in the text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Logits held at once, in bytes of fp32.
LOGIT_BYTES = 256 * 1024**2
# Beyond these shifts, in nats, the mass is 0 or 1 for every purpose.
LOWEST_SHIFT, HIGHEST_SHIFT = -8.0, 40.0


@dataclass(frozen=True)
class Head:
    """What happens to logits after the matrix product: `scale` multiplies, then `cap`·tanh(x/`cap`) if any."""

    scale: float = 1.0
    cap: float | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the model's logits from the raw products, in place where it can."""
        if self.scale != 1.0:
            logits = logits.mul_(self.scale)
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)


@dataclass(frozen=True)
class Shift:
    """`c` in nats at the mean state; the mean probability of new tokens before and after; their share of the text."""

    c: float
    mass_before: float
    mass_after: float
    share: float


def head_of(config: Mapping[str, Any]) -> Head:
    """Read soft cap and scale from a model's config (Gemma 2 and 4, Cohere, Granite), root or text_config."""
    text = config.get("text_config") if isinstance(config.get("text_config"), Mapping) else config
    both = {**config, **(text or {})}
    cap = both.get("final_logit_softcapping")
    scale = float(both.get("logit_scale") or 1.0) / float(both.get("logits_scaling") or 1.0)
    return Head(scale, float(cap) if cap else None)


def log_masses(
    states: Tensor, rows: Tensor, bias: Tensor | None, ids: Tensor, others: Tensor, head: Head
) -> tuple[Tensor, Tensor]:
    """Return Float32[n], twice: logsumexp of the logits of `ids` and of `others` at Float32[n d] states."""
    import torch

    def one(chosen: Tensor) -> Tensor:
        table = rows[chosen].float()
        offset = None if bias is None else bias[chosen].float()
        step = max(1, LOGIT_BYTES // (4 * max(len(chosen), 1)))
        out: list[Tensor] = []
        for part in states.split(step):
            raw = part @ table.T
            out.append(head(raw if offset is None else raw + offset).logsumexp(1))
        return torch.cat(out)

    return one(ids), one(others)


def find_shift(states: Tensor, log_new: Tensor, log_rest: Tensor, share: float) -> Shift:
    """Return the shift whose mean mass on new tokens is `share`, by bisection over nats.

    `states` Float32[n d], `log_new` and `log_rest` Float32[n] from `log_masses`. The mass falls as c grows, since
    the states point along their mean; where a share is out of reach the nearest end is taken.
    """
    import torch

    along = _along_mean(states)
    start = (log_new - log_rest).double()

    def mass(c: float) -> float:
        return float(torch.sigmoid(start - c * along).mean())

    low, high = LOWEST_SHIFT, HIGHEST_SHIFT
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if mass(middle) > share else (low, middle)
    c = (low + high) / 2
    return Shift(c, mass(0.0), mass(c), share)


def shift_rows(rows: Tensor, ids: Tensor, states: Tensor, c: float, head: Head) -> None:
    """Subtract c·h̄/‖h̄‖² from `rows[ids]`, in place and in their dtype; c is in logits after the scale."""
    mean = states.double().mean(0)
    step = (c / head.scale * mean / mean.square().sum()).float()
    rows[ids] = (rows[ids].float() - step).to(rows.dtype)


def worth_shifting(states: Tensor, share: float) -> bool:
    """Tell whether there is anything to calibrate with: states, new tokens in the text, and a mean direction."""
    return len(states) > 0 and 0.0 < share < 1.0 and math.isfinite(share) and float(states.mean(0).norm()) > 0


def _along_mean(states: Tensor) -> Tensor:
    mean = states.double().mean(0)
    return states.double() @ mean / mean.square().sum()
