"""How a hypernetwork is trained, as checked data."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from tokswap.errors import TokswapError


class Stage(StrEnum):
    """What is learnt: merges, one-piece tokens, text through the frozen base, the base's states on text."""

    SPELL = "spell"
    IDENTITY = "identity"
    LM = "lm"
    DISTIL = "distil"

    @property
    def reads_text(self) -> bool:
        """Does it need text?"""
        return self in (Stage.LM, Stage.DISTIL)


RATES: Mapping[Stage, float] = {
    Stage.SPELL: 1e-3, Stage.IDENTITY: 1e-3, Stage.LM: 3e-4, Stage.DISTIL: 3e-4,
}  # fmt: skip
"""Adam's steps at their height for a small residual network."""
ZETT_RATE = 6e-5
"""That of a ZeTT network on text (arXiv 2405.07883, appendix), which is a hundred times as large."""
DEFAULT_STAGES = ("spell=2000",)
_STAGE = re.compile(r"([a-z]+)=(\d{1,9})")


@dataclass(frozen=True)
class Settings:
    """`stages` and their steps in order, and what else decides the result.

    `rate` replaces the stages' own. `pairs` tokens make a step of spell and identity; `step_bytes` of text one of lm
    and distil, in `accumulate` parts. A sampled tokenizer of `pieces` tokens serves `serves` steps; `negatives` of its
    new tokens that a step's text lacks stand in its softmax; `auxiliary` weighs the loss of spellings beside it.
    `autocast` lets the hypernetwork compute in bf16; its weights, sums and losses stay fp32.
    """

    stages: tuple[tuple[Stage, int], ...]
    seed: int = 0
    rate: float | None = None
    pairs: int = 512
    step_bytes: int = 4096
    accumulate: int = 4
    pieces: int = 32_768
    serves: int = 12
    negatives: int = 2048
    auxiliary: float = 0.5
    looks: int = 5
    autocast: bool = False

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(steps for _, steps in self.stages)

    def at(self, step: int) -> tuple[int, Stage, float]:
        """Return the number of the stage that a step belongs to, the stage, and the share of it that is over."""
        for number, (stage, steps) in enumerate(self.stages):
            if step < steps or number == len(self.stages) - 1:
                return number, stage, step / steps
            step -= steps
        raise AssertionError("settings have a stage")

    def is_look(self, step: int) -> bool:
        """Is held-out data looked at after so many steps? At the end of each of `looks` equal parts of every stage."""
        for _, steps in self.stages:
            if 0 <= step <= steps:
                return step * self.looks // steps > (step - 1) * self.looks // steps
            step -= steps
        return True

    def identity(self, inputs: Mapping[str, Any]) -> str:
        """Return a stable id of what decides the result."""
        text = json.dumps({"hypernet": asdict(self), "inputs": dict(inputs)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def make_settings(stages: Sequence[str], *, seed: int = 0, **more: Any) -> Settings:
    """Check what was asked for, stages as "spell=2000"; raises TokswapError for what can't be."""
    chosen = tuple(parse_stage(text) for text in (stages or DEFAULT_STAGES))
    known = {field.name for field in fields(Settings)} - {"stages", "seed"}
    unknown = sorted(set(more) - known)
    if unknown:
        raise TokswapError(f"there is no setting {unknown[0]!r}", f"choose {', '.join(sorted(known))}")
    for name, value in more.items():
        least = 0 if name in ("auxiliary", "autocast") else 1e-12
        if value is not None and not least <= value < math.inf:
            raise TokswapError(f"the {name} is {value}", "give a number above 0")
    if not 0 <= seed < 2**63:
        raise TokswapError(
            f"the seed {seed} is none", "give --seed 0 or a number above, of at most 18 digits"
        )
    return Settings(chosen, seed, **more)


def parse_stage(text: str) -> tuple[Stage, int]:
    """Return a stage and its steps.

    >>> parse_stage("lm=200")
    (<Stage.LM: 'lm'>, 200)
    """
    match = _STAGE.fullmatch(text.strip().lower())
    names = [str(stage) for stage in Stage]
    if match is None or match[1] not in names or int(match[2]) < 1:
        raise TokswapError(
            f"{text!r} is no stage with its steps",
            f"write it like spell=2000; the stages are {', '.join(names)}",
        )
    return Stage(match[1]), int(match[2])
