"""Shift calibration: give groups of new output rows the probability that their tokens deserve.

A row that is a sum of other rows knows nothing of its token's frequency. Subtracting c·h̄/‖h̄‖² from every row of a
group lowers its logit by c at the mean state h̄ and by c·s, s = h·h̄/‖h̄‖², at a state h. c minimises the cross-entropy
of "is the next token one of the group?" over some text, a convex problem in one number: at the minimum the group's
probability, averaged with the weights s, is its share of the text. (Matching the plain average instead need have no
solution: at the few states with s < 0 a shift raises the group.)

Tokens that stand in different places each get a c of their own: pieces of text, white space, and what scripts of two,
three and four bytes are made of. And a shift that one language asks for may not be paid by another: it goes only as
far as no single text loses more than a hair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Logits held at once, in bytes of fp32.
LOGIT_BYTES = 256 * 1024**2
# No group needs a larger shift, in nats: e^20 is half a billion.
LARGEST_SHIFT = 20.0
# Standard deviation, in nats, of a normal prior on c: it decides where the text says nothing of a group.
PRIOR_DEVIATION = 0.5
# What a group's shift may cost one of the texts, in nats a token: an unnoticeable loss, so that noise doesn't veto.
HARM = 0.002
# Times that every group is solved again with the others as they are.
ROUNDS = 6


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

    def slope(self, logits: Tensor) -> Tensor | None:
        """Return the derivative of the model's logits by the raw products at `logits`; None where it is 1."""
        if self.cap is None and self.scale == 1.0:
            return None
        damping = 1.0 if self.cap is None else 1 - (logits / self.cap).square()
        return self.scale * damping * logits.new_ones(())


@dataclass(frozen=True)
class Shift:
    """`c` in nats at the mean state; the mean probability of a group before and after; its share of the text."""

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


def log_mass(states: Tensor, rows: Tensor, bias: Tensor | None, ids: Tensor, head: Head) -> Tensor:
    """Return Float32[n]: logsumexp of the logits of `ids` at Float32[n d] states, a block of rows at a time."""
    import torch

    total = torch.full((len(states),), float("-inf"))
    for part in ids.split(max(1, LOGIT_BYTES // (4 * max(len(states), 1)))):
        raw = states @ rows[part].float().T  # (n part)
        if bias is not None:
            raw = raw + bias[part].float()
        total = torch.logaddexp(total, head(raw).logsumexp(1))
    return total


def expected_counts(
    states: Tensor, rows: Tensor, bias: Tensor | None, ids: Tensor, log_total: Tensor, head: Head
) -> Tensor:
    """Return Float32[m]: how often each of `ids` Int[m] would be drawn, its probability summed over the states.

    `log_total` Float[n] from `log_mass` of all tokens. A block of rows at a time.
    """
    import torch

    def counts(part: Tensor) -> Tensor:
        raw = states @ rows[part].float().T  # (n part)
        if bias is not None:
            raw = raw + bias[part].float()
        return (head(raw) - log_total[:, None]).exp_().sum(0)

    return torch.cat([counts(part) for part in ids.split(max(1, LOGIT_BYTES // (4 * len(states))))])


def find_shift(
    states: Tensor, log_group: Tensor, log_rest: Tensor, hits: Tensor, deviation: float = PRIOR_DEVIATION
) -> float:
    """Return the c, in nats, of the least cross-entropy of group against rest; by bisection of its slope.

    `states` Float32[n d]; `log_group`, `log_rest` Float[n] from `log_mass`; `hits` Bool[n] where the next token is
    of the group; `deviation` in nats of a normal prior on c.
    """
    import torch

    along = _along_mean(states)
    start = (log_group - log_rest).double()
    truth = hits.double()

    def slope(c: float) -> float:
        return float((along * (truth - torch.sigmoid(start - c * along))).sum()) + c / deviation**2

    low, high = -LARGEST_SHIFT, LARGEST_SHIFT
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return (low + high) / 2


def find_shifts(
    states: Tensor,
    log_groups: Tensor,
    log_rest: Tensor,
    hits: Tensor,
    texts: Tensor,
    deviations: Sequence[float] | None = None,
) -> list[Shift]:
    """Return one shift a group, each solved while the others are shifted too.

    `log_groups` Float[g n] and `log_rest` Float[n] from `log_mass`, `hits` Bool[g n], `texts` Int[n] the text each
    state is from, `deviations` [g] of the priors. One group after the other, in rounds: a group hardly depends on
    the others.
    """
    import torch

    along = _along_mean(states)
    raw = log_groups.double()
    shifts = [0.0] * len(raw)
    priors = deviations or [PRIOR_DEVIATION] * len(raw)

    def against_rest(group: int) -> Tensor:
        moved = [raw[g] - shifts[g] * along for g in range(len(raw)) if g != group]
        return raw[group] - torch.stack([log_rest.double(), *moved]).logsumexp(0)

    def mass(group: int) -> float:
        return float(torch.sigmoid(against_rest(group) - shifts[group] * along).mean())

    before = [mass(g) for g in range(len(raw))]
    for _ in range(ROUNDS):
        for group in range(len(raw)):
            odds = against_rest(group)
            best = find_shift(states, odds, torch.zeros_like(odds), hits[group], priors[group])
            shifts[group] = harmless(best, odds, along, hits[group], texts)
    shares = hits.double().mean(1).tolist()
    return [Shift(shifts[g], before[g], mass(g), shares[g]) for g in range(len(raw))]


def harmless(c: float, odds: Tensor, along: Tensor, hits: Tensor, texts: Tensor) -> float:
    """Return the part of a shift that costs no text more than HARM nats a token, found by bisection.

    `odds` Float[n] log-odds of the group without it; each text's cross-entropy is convex in the shift.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    one_hot = torch.nn.functional.one_hot(texts).double()  # (n texts)
    counts = one_hot.sum(0).clamp_min(1)

    def cost(part: float) -> Tensor:
        return cross_entropy(odds - part * c * along, hits.double(), reduction="none") @ one_hot / counts

    most = cost(0.0) + HARM
    low, high = 0.0, 1.0
    if bool((cost(high) <= most).all()):
        return c
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if bool((cost(middle) <= most).all()) else (low, middle)
    return low * c


def token_groups(tokens: Sequence[bytes], ids: Sequence[int]) -> dict[str, list[int]]:
    """Sort new ids by their bytes: "space", "ascii", or by the first byte beyond ASCII.

    That byte begins a character of "2_bytes" (Latin letters with accents, Greek, Cyrillic), "3_bytes" (most of Asia)
    or "4_bytes" (emoji), or it is the "tail" of one.
    """
    out: dict[str, list[int]] = {}
    for token, token_id in zip(tokens, ids, strict=True):
        out.setdefault(_group(token), []).append(int(token_id))
    return dict(sorted(out.items()))


def _group(token: bytes) -> str:
    if not token.strip():
        return "space"
    beyond = next((byte for byte in token if byte >= 0x80), None)
    if beyond is None:
        return "ascii"
    if beyond < 0xC0:
        return "tail"
    return "2_bytes" if beyond < 0xE0 else "3_bytes" if beyond < 0xF0 else "4_bytes"


def shift_rows(rows: Tensor, ids: Tensor, states: Tensor, c: float, head: Head) -> None:
    """Subtract c·h̄/‖h̄‖² from `rows[ids]`, in place and in their dtype; c is in logits after the scale."""
    mean = states.double().mean(0)
    step = (c / head.scale * mean / mean.square().sum()).float()
    rows[ids] = (rows[ids].float() - step).to(rows.dtype)


def worth_shifting(states: Tensor) -> bool:
    """Tell whether there is anything to calibrate with: states, and a direction that is their mean."""
    return len(states) > 0 and float(states.mean(0).norm()) > 0


def _along_mean(states: Tensor) -> Tensor:
    mean = states.double().mean(0)
    return states.double() @ mean / mean.square().sum()
