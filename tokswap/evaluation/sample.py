"""What a model writes by itself when it always takes the likeliest token."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tokswap.evaluation.arm import Arm

if TYPE_CHECKING:
    from tokswap.evaluation.language_model import LanguageModel

PROMPT = "The old clock in the hall had stopped again, so"
NEW_TOKENS = 40


def greedy_sample(lm: LanguageModel, arm: Arm, prompt: str, *, tokens: int = NEW_TOKENS) -> str:
    """Return the prompt's continuation, `tokens` long at most; it ends before a token that ends the text."""
    import torch

    from tokswap.evaluation.language_model import final_states, logits

    ids = [arm.start_id, *arm.tokenize(prompt).ids.tolist()]
    written: list[int] = []
    ends = end_tokens(arm)
    for _ in range(tokens):
        states = final_states(lm, torch.tensor([ids + written]))  # (1, T, d)
        token_id = int(logits(lm, states[0, -1]).argmax())
        if token_id in ends:
            break
        written.append(token_id)
    return arm.decode(written)


def end_tokens(arm: Arm) -> Collection[int]:
    """Return the ids that end a text or a turn."""
    return {i for i, roles in arm.vocab.roles.items() if {"eos", "turn_end", "document_end"} & set(roles)}
