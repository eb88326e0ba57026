"""What a model thinks of documents: the loss of each token, and how much it expects new tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.arm import Tokenized
from tokswap.evaluation.spans import Spans, Window, spread

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel


@dataclass(frozen=True)
class Scored:
    """One document under one model; every array has one entry a token.

    `nll` nats Float[n]; `new_mass` Float[n], the probability of new tokens where the token was predicted;
    `is_new` Bool[n], whether it is one; `top` Bool[n], whether it was the likeliest; `greedy_new` Bool[n], whether
    the likeliest token there was a new one.
    """

    spans: Spans
    nll: NDArray[np.float64]
    new_mass: NDArray[np.float64]
    is_new: NDArray[np.bool_]
    top: NDArray[np.bool_]
    greedy_new: NDArray[np.bool_]

    @property
    def byte_nll(self) -> NDArray[np.float64]:
        """Float[length]: nats of each byte; a token's are spread evenly over its bytes."""
        return spread(self.nll, self.spans)


@dataclass(frozen=True)
class _Task:
    document: int
    window: Window


def score_documents(
    lm: LanguageModel,
    documents: Sequence[Tokenized],
    windows: Sequence[Sequence[Window]],
    *,
    start_id: int,
    new_ids: NDArray[np.int64] | None = None,
    most_windows: int | None = None,
    on_windows: Callable[[int, int], None] | None = None,
) -> list[Scored]:
    """Score every token of every document once, in its window, after the start token.

    `windows[i]` belong to `documents[i]`; `new_ids` are the tokens whose mass is wanted; `most_windows` caps the
    batch (memory decides else); `on_windows` is told how many windows are done, and of how many.
    """
    import torch

    new = np.zeros(lm.rows, dtype=np.bool_)
    new[[] if new_ids is None else new_ids[new_ids < lm.rows]] = True
    is_new = torch.from_numpy(new).to(torch.float32)  # (rows)
    found = [np.full((4, len(document.ids)), np.nan) for document in documents]
    tasks = [_Task(i, window) for i, its in enumerate(windows) for window in its]
    done = 0
    for batch in _batches(lm, tasks, most_windows):
        columns = _score_batch(lm, documents, batch, start_id, is_new)  # (4, scored tokens)
        at = 0
        for task in batch:
            span = task.window.stop - task.window.start
            found[task.document][:, task.window.start : task.window.stop] = columns[:, at : at + span]
            at += span
        done += len(batch)
        if on_windows:
            on_windows(done, len(tasks))
    return [
        Scored(
            spans=document.spans,
            nll=nll,
            new_mass=mass,
            is_new=new[document.ids],
            top=top > 0,
            greedy_new=greedy > 0,
        )
        for document, (nll, mass, top, greedy) in zip(documents, found, strict=True)
    ]


def _batches(lm: LanguageModel, tasks: Sequence[_Task], most: int | None) -> Iterator[list[_Task]]:
    """Yield tasks of similar length together, the longest first: memory runs out at once or not at all."""
    from tokswap.evaluation.language_model import batch_size

    left = sorted(tasks, key=lambda task: -task.window.tokens)
    while left:
        size = min(batch_size(lm, left[0].window.tokens), most or len(left))
        yield left[:size]
        left = left[size:]


def _score_batch(
    lm: LanguageModel, documents: Sequence[Tokenized], batch: Sequence[_Task], start_id: int, is_new: Tensor
) -> NDArray[np.float64]:
    """Return Float[4 n]: loss, new mass, top, greedy new of the batch's scored tokens in order."""
    import torch

    from tokswap.evaluation.language_model import final_states, logit_slices

    length = max(task.window.tokens for task in batch)
    ids = torch.full((len(batch), length), start_id)  # (B, T)
    mask = torch.zeros_like(ids)
    for row, task in enumerate(batch):
        its = documents[task.document].ids[task.window.first : task.window.stop]
        ids[row, 1 : 1 + len(its)] = torch.from_numpy(its)
        mask[row, : 1 + len(its)] = 1
    states = final_states(lm, ids, mask)  # (B, T, d)
    # The state at position p, after the start token and p tokens, predicts token first + p.
    scored = [(task.window.start - task.window.first, task.window.tokens - 1) for task in batch]
    states = torch.cat([states[row, start:stop] for row, (start, stop) in enumerate(scored)])  # (N, d)
    targets = torch.cat([ids[row, start + 1 : stop + 1] for row, (start, stop) in enumerate(scored)])  # (N)
    parts = [_score_slice(values, targets[part], is_new) for part, values in logit_slices(lm, states)]
    return torch.cat(parts, dim=1).numpy().astype(np.float64)


def _score_slice(logits: Tensor, targets: Tensor, is_new: Tensor) -> Tensor:
    """Return (4, n) of logits (n, rows), which are used up; all in fp32."""
    import torch

    targets, is_new = targets.to(logits.device), is_new.to(logits.device)
    highest, likeliest = logits.max(dim=-1)
    target = logits.gather(-1, targets[:, None])[:, 0]
    weights = logits.sub_(highest[:, None]).exp_()
    total = weights.sum(dim=-1)
    nll = total.log() + highest - target
    columns = (nll, weights @ is_new / total, (target >= highest).float(), is_new[likeliest])
    return torch.stack(columns).cpu()
