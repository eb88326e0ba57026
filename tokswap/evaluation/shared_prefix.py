"""A proof that only rows changed: on prompts of shared tokens both models must think the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.align import Alignment
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Arm, open_arm
from tokswap.report import Figure, Report

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.checkpoint import Checkpoint

MOST_TOKENS = 64
"""Tokens of a prompt that are read: a body that differs shows within the first few."""

LOGIT_ROUNDING = 1e-4
"""Relative difference of fp32 logits that is rounding: another number of rows makes another order of sums."""


def shared_prefix_check(
    model: Checkpoint,
    against: Checkpoint,
    alignment: Alignment,
    prompts: Sequence[str],
    *,
    device: str = "auto",
) -> Report:
    """Compare both models on what each prompt begins with that is made of shared tokens, in fp32, one at a time.

    The same rows go into the same body, so the final hidden states must be equal bit for bit, and the logits of
    shared tokens up to rounding. The report's facts `identical_states` and `equal_logits` say whether they are.
    Raises TokswapError when no prompt begins with a shared token.
    """
    arm, base = open_arm(model), open_arm(against)
    pairs = [pair for prompt in prompts if (pair := shared_ids(arm, alignment, prompt)) is not None]
    if not pairs:
        raise TokswapError(
            "no prompt begins with tokens that both models have", "give prompts of ordinary words"
        )
    shared = alignment.copied_ids[alignment.copied_ids < arm.vocab.rows]
    mine = _states_and_logits(arm, [new for new, _ in pairs], shared, device)
    other = _states_and_logits(base, [old for _, old in pairs], alignment.source[shared], device)
    states = max(_distance(a, b) for (a, _), (b, _) in zip(mine, other, strict=True))
    logits = max(_distance(a, b) for (_, a), (_, b) in zip(mine, other, strict=True))
    size = max(float(b.abs().max()) for _, b in other)
    return Report(
        kind="shared_prefix_check",
        facts={"identical_states": states == 0, "equal_logits": logits <= LOGIT_ROUNDING * max(size, 1)},
        figures={
            "prompts": Figure(len(pairs), "prompts"),
            "tokens": Figure(sum(len(new) for new, _ in pairs), "tokens"),
            "shared_tokens": Figure(len(shared), "tokens"),
            "largest_state_difference": Figure(states, "hidden state units"),
            "largest_logit_difference": Figure(logits, "nats", note="over shared tokens"),
        },
    )


def shared_ids(
    arm: Arm, alignment: Alignment, prompt: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the longest beginning of a prompt in tokens that the base has: its new ids and its base ids.

    The start token comes first where the base has its row too. None where not even the first token is shared.
    """
    ids = np.asarray([arm.start_id, *arm.tokenize(prompt).ids], dtype=np.int64)
    ids = ids if alignment.source[arm.start_id] >= 0 else ids[1:]
    source = alignment.source[ids]
    count = int(np.argmax(source < 0)) if (source < 0).any() else len(ids)
    count = min(count, MOST_TOKENS)
    least = 1 + int(ids[0] == arm.start_id)
    return (ids[:count], source[:count]) if count >= least else None


def _states_and_logits(
    arm: Arm, prompts: Sequence[NDArray[np.int64]], wanted: NDArray[np.int64], device: str
) -> list[tuple[Tensor, Tensor]]:
    """Return for each prompt its states (T, d) and the last position's logits of the wanted ids, on the CPU."""
    import torch

    from tokswap.evaluation.language_model import final_states, load_language_model, logits

    lm = load_language_model(arm.folder, device=device, dtype="float32")
    columns = torch.from_numpy(wanted)
    out: list[tuple[Tensor, Tensor]] = []
    for ids in prompts:
        states = final_states(lm, torch.from_numpy(ids)[None])[0]  # (T, d)
        out.append((states.cpu(), logits(lm, states[-1]).cpu()[columns]))
    return out


def _distance(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two arrays; infinite where their shapes differ or one holds NaN."""
    if a.shape != b.shape:
        return float("inf")
    gap = float((a - b).abs().max()) if a.numel() else 0.0
    return gap if gap == gap else float("inf")
