"""What a model writes by itself when it always takes the likeliest token."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tokswap.evaluation.arm import Arm

if TYPE_CHECKING:
    from tokswap.evaluation.language_model import LanguageModel

PROMPT = "The old clock in the hall had stopped again, so"
NEW_TOKENS = 40


def greedy_sample(lm: LanguageModel, arm: Arm, prompt: str, *, tokens: int = NEW_TOKENS) -> str:
    """Return the prompt's continuation, `tokens` long at most; it ends before a token that ends the text."""
    (written,) = continue_greedily(lm, arm, [prompt], tokens=tokens)
    return arm.decode(written)


def continue_greedily(lm: LanguageModel, arm: Arm, prompts: Sequence[str], *, tokens: int) -> list[list[int]]:
    """Return the ids that follow each prompt, `tokens` at most, without the token that ends a text.

    All prompts are one batch, each after the start token. Of the checkpoint's own generation settings none counts.
    """
    import torch
    from transformers import GenerationConfig

    rows = [[arm.start_id, *arm.tokenize(prompt).ids.tolist()] for prompt in prompts]
    length = max(map(len, rows))
    ids = torch.tensor(
        [[arm.start_id] * (length - len(row)) + row for row in rows]
    )  # (B, T), padded on the left
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    room = tokens if lm.max_tokens is None else min(tokens, lm.max_tokens - length)
    ends = sorted(end_tokens(arm))
    # What the folder's generation_config.json says (sampling, penalties) would fill in what is left open here.
    lm.model.generation_config = GenerationConfig()
    with torch.no_grad():
        out = lm.model.generate(
            input_ids=ids.to(lm.device),
            attention_mask=mask.to(lm.device),
            generation_config=GenerationConfig(
                max_new_tokens=max(1, room),
                do_sample=False,
                eos_token_id=ends or None,
                pad_token_id=ends[0] if ends else arm.start_id,
                suppress_tokens=lm.unknown_rows.tolist() or None,
            ),
        )[:, length:]
    return [_until(row, set(ends)) for row in out.tolist()]


def end_tokens(arm: Arm) -> Collection[int]:
    """Return the ids that end a text or a turn."""
    return {i for i, roles in arm.vocab.roles.items() if {"eos", "turn_end", "document_end"} & set(roles)}


def _until(ids: Sequence[int], ends: Collection[int]) -> list[int]:
    stop = next((at for at, token_id in enumerate(ids) if token_id in ends), len(ids))
    return list(ids[:stop])
