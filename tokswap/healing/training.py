"""The loop: AdamW over snippets, ten looks at held-out text a run, the best state kept, a stop when it stalls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap.errors import TokswapError
from tokswap.evaluation.score import score_documents
from tokswap.evaluation.spans import Window
from tokswap.healing.adapters import INPUT, OUTPUT, Adapters
from tokswap.healing.candidates import make_candidates
from tokswap.healing.objective import Objective
from tokswap.healing.pair import Pair
from tokswap.healing.settings import Settings, rate_factor
from tokswap.healing.snippets import Snippet, ordered
from tokswap.healing.state import BEST, COUNT, FIRST, NOW, SECOND, Point, Progress, load_state, save_state

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LOOKS = 10
"""Looks at held-out text in a run, besides the first one before it."""
PATIENCE = 4
"""Looks without a gain after which a run stops."""
LOOK_SHARE = 0.1
"""Most of a run by time that goes into looks between the first and the last: a short run takes fewer than ten."""
LEAST_GAIN = 1e-4
"""Bits per byte that count as a gain."""
SAVE_SECONDS = 120.0
"""Longest time between two saved states."""
LARGEST_GRADIENT = 1.0
BETAS, DECAY = (0.9, 0.98), 0.01

Tell = Callable[[str, int, int], None]


class Trainer:
    """One run of a pair under settings; `path` holds its state, from which it goes on; `clock` counts its seconds."""

    def __init__(
        self,
        pair: Pair,
        adapters: Adapters,
        settings: Settings,
        train: Sequence[Snippet],
        held_out: Sequence[Snippet],
        path: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pair, self.adapters, self.settings, self.path = pair, adapters, settings, path
        self.objective = Objective(settings.rung, pair)
        self.train = self.objective.usable(train)
        if not self.train or not adapters.parameters or not len(adapters.ids):
            raise TokswapError(
                "no snippet of the text holds a new token, so there is nothing to train",
                "give text that the new tokenizer cuts otherwise than the base's, or another --rung",
            )
        self.held_out = held_out
        self.candidates = make_candidates(pair, settings, train, held_out)
        self.optimizer = _optimizer(pair, adapters, settings)
        self.best = {name: p.detach().clone() for name, p in adapters.parameters.items()}
        self.progress = Progress()
        self._clock, self._since = clock, clock()
        self._saved = 0.0

    def run(
        self, on_progress: Tell | None = None, on_point: Callable[[Point], None] | None = None
    ) -> Progress:
        """Train to the end of the settings, and leave the best state in the adapters.

        Raises TokswapError where the loss is not finite; the last state stays on disk.
        """
        self._resume()
        progress = self.progress
        if not progress.curve:
            self._look(on_point)
        while not progress.stopped and (done := self._done()) < 1:
            if on_progress is not None:
                on_progress("heal", *self._told(done))
            self._step(done)
            if self._due():
                progress.looks = math.floor(self._done() * LOOKS)
                self._look(on_point)
            elif self._seconds() - self._saved > SAVE_SECONDS:
                self._save()
        self._save()
        self._put(self.best)
        return progress

    def _due(self) -> bool:
        """Whether a look is to come: ten a run; by time fewer, where they would take too much of it."""
        progress, done = self.progress, self._done()
        if done * LOOKS < progress.looks + 1:
            return False
        if self.settings.steps is not None or done >= 1:
            return True
        return progress.look_seconds <= LOOK_SHARE * self._seconds()

    def _step(self, done: float) -> None:
        """Take one step, over as many snippets as make `step_bytes`, one after the other."""
        import torch

        batch = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = group["height"] * rate_factor(done)
        draw = self.candidates and self.candidates.draw(self.progress.step, self.pair.student.device)
        total = 0.0
        for snippet in batch:
            loss = self.objective.loss([snippet], draw) / len(batch)
            total += float(loss.detach())
            self._require_finite(total)
            loss.backward()
        parameters = list(self.adapters.parameters.values())
        self._require_finite(float(torch.nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.loss_sum += total
        self.progress.loss_count += 1

    def _batch(self) -> list[Snippet]:
        """Return the snippets of the next step; which they are follows from its number alone."""
        mean = sum(s.bytes for s in self.train) / len(self.train)
        size = max(1, round(self.settings.step_bytes / mean))
        places = range(self.progress.step * size, (self.progress.step + 1) * size)
        orders = {p // len(self.train): None for p in places}
        passes = {epoch: ordered(self.train, self.settings.seed, epoch) for epoch in orders}
        return [self.train[passes[p // len(self.train)][p % len(self.train)]] for p in places]

    def _look(self, on_point: Callable[[Point], None] | None) -> None:
        """Score the held-out text, keep the state if it is the best one, and save."""
        progress, before = self.progress, self._seconds()
        bits = self._held_out_bits()
        progress.look_seconds += self._seconds() - before
        mean = progress.loss_sum / progress.loss_count if progress.loss_count else None
        point = Point(progress.step, round(self._seconds(), 1), mean, bits)
        progress.curve.append(point)
        progress.loss_sum, progress.loss_count = 0.0, 0
        if bits < progress.best_bits - LEAST_GAIN:
            progress.best_bits, progress.best_step, progress.stale = bits, progress.step, 0
            self.best = {name: p.detach().clone() for name, p in self.adapters.parameters.items()}
        else:
            progress.stale += 1
        if progress.stale >= PATIENCE:
            progress.stopped = f"held-out text gained nothing in {PATIENCE} looks"
        self._save()
        if on_point is not None:
            on_point(point)

    def _held_out_bits(self) -> float:
        documents = [snippet.student for snippet in self.held_out]
        scored = score_documents(
            self.pair.student,
            documents,
            [[Window(0, 0, len(document.ids))] for document in documents],
            start_id=self.pair.arms[0].start_id,
        )
        nats = sum(float(s.nll.sum()) for s in scored)
        return nats / (sum(s.bytes for s in self.held_out) * math.log(2))

    def _require_finite(self, value: float) -> None:
        if not np.isfinite(value):
            raise TokswapError(
                f"the loss or its gradient is not finite at step {self.progress.step + 1}",
                f"lower --rate; the state before it (step {self.progress.step}) was not harmed, and what was last "
                f"saved is {self.path.name}",
            )

    def _done(self) -> float:
        return self.settings.done(self.progress.step, self._seconds())

    def _told(self, done: float) -> tuple[int, int]:
        if self.settings.steps is not None:
            return self.progress.step, self.settings.steps
        return round(done * (self.settings.seconds or 1)), round(self.settings.seconds or 1)

    def _seconds(self) -> float:
        return self.progress.seconds + self._clock() - self._since

    def _save(self) -> None:
        now = self._seconds()
        self.progress.seconds, self._since, self._saved = now, self._clock(), now
        save_state(self.path, self.progress, self._tensors())

    def _tensors(self) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for name, parameter in self.adapters.parameters.items():
            out[NOW + name], out[BEST + name] = parameter, self.best[name]
            moments: Mapping[str, Any] = self.optimizer.state.get(parameter, {})
            if moments:
                out[FIRST + name], out[SECOND + name] = moments["exp_avg"], moments["exp_avg_sq"]
                out[COUNT + name] = moments["step"]
        return out

    def _resume(self) -> None:
        found = load_state(self.path)
        if found is None:
            return
        self.progress, tensors = found
        self._saved = self.progress.seconds
        named = self.adapters.parameters
        self._put({name: tensors[NOW + name] for name in named})
        self.best = {name: tensors[BEST + name].to(p.device) for name, p in named.items()}
        _restore_moments(self.optimizer, named, tensors)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.adapters.parameters.items():
            parameter.data.copy_(values[name])


def _optimizer(pair: Pair, adapters: Adapters, settings: Settings) -> torch.optim.Optimizer:
    """Return AdamW: rows in steps of a share of their table's root mean square, factors in steps of `rate`."""
    import torch

    groups: list[dict[str, Any]] = []
    factors = [p for name, p in adapters.parameters.items() if name not in (INPUT, OUTPUT)]
    if factors:
        groups.append({"params": factors, "height": settings.rate})
    tables = {INPUT: pair.model.get_input_embeddings(), OUTPUT: pair.model.get_output_embeddings()}
    for name, module in tables.items():
        if name in adapters.parameters:
            rows = module.weight[adapters.ids.to(module.weight.device)].float()
            height = settings.row_rate * float(rows.square().mean().sqrt())
            groups.append({"params": [adapters.parameters[name]], "height": height})
    return torch.optim.AdamW(groups, lr=0.0, betas=BETAS, weight_decay=DECAY)


def _restore_moments(
    optimizer: torch.optim.Optimizer, named: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    for name, parameter in named.items():
        if FIRST + name in tensors:
            optimizer.state[parameter] = {
                "step": tensors[COUNT + name],
                "exp_avg": tensors[FIRST + name].to(parameter.device),
                "exp_avg_sq": tensors[SECOND + name].to(parameter.device),
            }
