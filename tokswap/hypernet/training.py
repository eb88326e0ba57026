"""The loop: AdamW over the stages, looks at held-out data, a log, and a state from which a stopped run goes on."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.errors import TokswapError
from tokswap.healing.settings import rate_factor
from tokswap.healing.state import BEST, COUNT, FIRST, NOW, SECOND, Progress, load_state, save_state
from tokswap.hypernet.board import Board
from tokswap.hypernet.files import write_hypernet
from tokswap.hypernet.objective import Objective
from tokswap.hypernet.settings import RATES, ZETT_RATE, Stage
from tokswap.whole_file import write_whole

if TYPE_CHECKING:
    from torch import Tensor

SAVE_SECONDS = 120.0
"""Longest time between two saved states."""
BETAS, DECAY = (0.9, 0.95), 0.01
LARGEST_GRADIENT: Mapping[bool, float] = {True: 1.0, False: 0.1}
"""Longest gradient of a residual network, and of ZeTT's (arXiv 2405.07883, appendix)."""

Tell = Callable[[str, int, int], None]


class Trainer:
    """One run: `folder` is where the best network so far is kept, `state` the file from which the run goes on.

    The best network has the fewest bits per byte of held-out text or, where no text is read, the least error of
    held-out rows; the start is one of them. Under `accelerate launch` the parts of a step are shared among the
    processes and their gradients summed.
    """

    def __init__(
        self, objective: Objective, folder: Path, state: Path, log: Path, board: Path | None = None
    ) -> None:
        import torch

        self.objective, self.settings = objective, objective.settings
        self.folder, self.state, self.log = folder, state, log
        network = objective.network.train().requires_grad_(True)
        self.parameters = {name: p for name, p in network.named_parameters() if not _is_scale(name)}
        for name, p in network.named_parameters():
            p.requires_grad_(name in self.parameters)
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=0.0, betas=BETAS, weight_decay=DECAY)
        self.best = self._copied()
        self.progress = Progress()
        self.lines: list[dict[str, Any]] = []
        self.rank, self.world = process()
        self._board_folder, self._board = board, None
        self._since = self._saved = time.monotonic()

    def run(self, on_progress: Tell | None = None) -> Progress:
        """Train to the end, and leave the best network in `folder`.

        Raises TokswapError where a loss isn't finite: the best network until then is in `folder`.
        """
        self._resume()
        if self._board_folder is not None and not self.rank:
            self._board = Board(self._board_folder, self.lines)
        if not self.lines:
            self._look()
        while self.progress.step < self.settings.steps:
            if on_progress is not None:
                on_progress("train", self.progress.step, self.settings.steps)
            self._step()
            if self.settings.is_look(self.progress.step):
                self._look()
            elif time.monotonic() - self._saved > SAVE_SECONDS:
                self._save()
        self._save()
        self._write_best()
        return self.progress

    def _step(self) -> None:
        import torch

        number, stage, done = self.settings.at(self.progress.step)
        rate = self._height(stage) * rate_factor(done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        text_step = self._text_steps(number)
        parts = self.objective.parts(stage, text_step)
        self.objective.begin(stage, self.progress.step, text_step)
        total = 0.0
        for part in range(self.rank, parts, self.world):
            loss = self.objective.loss(stage, self.progress.step, part) / parts
            total += float(loss.detach())
            loss.backward()
        self.objective.end()
        total = self._share(total)
        self._require_finite(total, stage)  # of all processes at once: none waits for one that has stopped
        longest = LARGEST_GRADIENT[self.objective.config.residual]
        norm = torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), longest)
        self._require_finite(float(norm), stage)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.lines.append({"step": self.progress.step, "stage": str(stage), "loss": total, "rate": rate})

    def _text_steps(self, number: int) -> int:
        """Return how many steps have read text before this one."""
        before = self.settings.stages[:number]
        inside = self.progress.step - sum(steps for _, steps in before)
        reads = self.settings.stages[number][0].reads_text
        return sum(steps for stage, steps in before if stage.reads_text) + (inside if reads else 0)

    def _height(self, stage: Stage) -> float:
        if self.settings.rate is not None:
            return self.settings.rate
        return ZETT_RATE if stage.reads_text and not self.objective.config.residual else RATES[stage]

    def _share(self, total: float) -> float:
        """Sum the gradients and the loss of all processes."""
        if self.world == 1:
            return total
        import torch
        from accelerate.utils import reduce

        for p in self.parameters.values():
            summed: Any = reduce(torch.zeros_like(p) if p.grad is None else p.grad, "sum")
            p.grad = summed
        found: Any = reduce(torch.tensor(total, device=self.objective.material.device), "sum")
        return float(found)

    def _look(self) -> None:
        """Look at held-out data, and save."""
        self.objective.network.eval()
        error, start = self.objective.held_out_error()
        bits = self.objective.held_out_bits()
        self.objective.network.train()
        self.lines.append(
            {"step": self.progress.step, "held_out_error": error, "start_error": start, "held_out_bits": bits}
        )
        score = error if bits is None else bits
        if score < self.progress.best_bits:
            self.progress.best_bits, self.progress.best_step = score, self.progress.step
            self.best = self._copied()
            self._write_best()
        self._save()

    def _write_best(self) -> None:
        if not self.rank:
            write_hypernet(self.folder, self.objective.hypernet, state=self.best)

    def _copied(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.parameters.items()}

    def _require_finite(self, value: float, stage: Stage) -> None:
        if not math.isfinite(value):
            raise TokswapError(
                f"the loss or its gradient is not finite at step {self.progress.step + 1} (stage {stage})",
                f"lower --rate and pass --overwrite; the best network until then, of step {self.progress.best_step}, "
                f"is in {self.folder}: --overwrite removes it, so copy it first if you want it",
            )

    def _save(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self._since
        self._since = self._saved = now
        if self.rank:
            return
        content = "".join(json.dumps(line) + "\n" for line in self.lines)
        try:
            write_whole(self.log, content.encode())
        except OSError as error:
            raise TokswapError(
                f"{self.log} can't be written: {error.strerror or error}", "give another --log"
            ) from error
        if self._board is not None:
            self._board.tell(self.lines)
        save_state(self.state, self.progress, dict(self._tensors()))

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        import torch

        for name, parameter in self.parameters.items():
            yield NOW + name, parameter
            yield BEST + name, self.best[name]
            moments: Mapping[str, Any] = self.optimizer.state.get(parameter, {})
            if moments:
                yield FIRST + name, moments["exp_avg"]
                yield SECOND + name, moments["exp_avg_sq"]
                yield COUNT + name, moments["step"]
        text = json.dumps(self.lines).encode()
        yield "lines", torch.frombuffer(bytearray(text), dtype=torch.uint8)

    def _resume(self) -> None:
        found = load_state(self.state)
        if found is None:
            return
        self.progress, tensors = found
        self.lines = json.loads(bytes(tensors["lines"].tolist()))
        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[NOW + name])
            self.best[name] = tensors[BEST + name].to(parameter.device)
            if FIRST + name in tensors:
                self.optimizer.state[parameter] = {
                    "step": tensors[COUNT + name],
                    "exp_avg": tensors[FIRST + name].to(parameter.device),
                    "exp_avg_sq": tensors[SECOND + name].to(parameter.device),
                }


def _is_scale(name: str) -> bool:
    """Is it what rows are standardised by, which the base decides, or the table that nobody reads?"""
    return name in ("centre", "scale") or "caler." in name or "word_embeddings" in name


def process() -> tuple[int, int]:
    """Return the number of this process and how many there are."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise TokswapError("many processes need accelerate", "pip install accelerate") from error

    import torch

    state = PartialState(cpu=not torch.cuda.is_available())
    return state.process_index, state.num_processes
