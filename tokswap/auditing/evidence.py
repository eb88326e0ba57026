"""What a model does with each of its tokens on texts: how high it holds them, and how often they win."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokswap.evaluation.arm import Arm
    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.texts import Text

TEXT_BYTES = 4000
"""Bytes of each text that are read: some thousand states in all, enough for a token that wins where it shouldn't."""
WINDOW_BYTES = 1024


@dataclass(frozen=True)
class Evidence:
    """Per row (V): `mean_logits` Float64, `wins` and `right` Int64: states where it's the likeliest, and comes next."""

    mean_logits: NDArray[np.float64]
    wins: NDArray[np.int64]
    right: NDArray[np.int64]
    states: int


def gather(
    lm: LanguageModel,
    arm: Arm,
    texts: Iterable[Text],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Run a model over the beginnings of texts; every window starts with the start token."""
    import torch

    from tokswap.evaluation.language_model import final_states, logit_slices

    total = torch.zeros(lm.rows, dtype=torch.float64)
    wins, right = (torch.zeros(lm.rows, dtype=torch.long) for _ in range(2))
    count = 0
    inputs = [ids for text in texts for ids in _windows(arm, text, lm.max_tokens)]
    for done, ids in enumerate(inputs):
        states = final_states(lm, torch.tensor([[arm.start_id, *ids[:-1]]]))[0]
        for part, logits in logit_slices(lm, states):
            here = logits.cpu()
            total += here.double().nan_to_num(neginf=0.0).sum(0)
            likeliest, following = here.argmax(-1), torch.tensor(ids)[part]
            wins += torch.bincount(likeliest, minlength=lm.rows)
            right += torch.bincount(likeliest[likeliest == following], minlength=lm.rows)
        count += len(ids)
        if on_progress is not None:
            on_progress(done + 1, len(inputs))
    return Evidence((total / max(count, 1)).numpy(), wins.numpy(), right.numpy(), count)


def _windows(arm: Arm, text: Text, most: int | None) -> Iterable[list[int]]:
    from tokswap.evaluation.arm import document_windows

    for document in text.first(TEXT_BYTES).documents:
        found = arm.tokenize(document)
        for window in document_windows(found, WINDOW_BYTES, WINDOW_BYTES // 2):
            ids = found.ids[window.start : window.stop].tolist()
            if ids:
                yield ids[: None if most is None else most - 1]
