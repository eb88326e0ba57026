"""How a model is to be healed, as checked data, and how far a run is."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tokswap.errors import TokswapError
from tokswap.healing.objective import Rung

DEFAULT_BUDGET = "20m"
BUDGET = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
SECONDS = (3600, 60, 1)
FEWEST_CANDIDATES = 4
"""Output rows of a step beside the text's own, where it is not all: three quarters likeliest, a quarter drawn."""
WARM_UP = 0.05
"""Share of a run in which the rates rise."""
LEAST_RATE = 0.1
"""What the rates fall to at the end, as a share of their height."""


@dataclass(frozen=True)
class Settings:
    """A healing: the rung, its length in steps or else in seconds, and what else decides the result.

    `rate` is Adam's step for low-rank factors; `row_rate` that of rows, as a share of the table's root mean square;
    `step_bytes` of text make one step; `candidates` are the output rows, besides those of the text's own tokens, that
    a step normalises over (0: all rows).
    """

    rung: Rung
    seconds: float | None
    steps: int | None
    seed: int = 0
    rank: int = 64
    rate: float = 5e-4
    row_rate: float = 7e-4
    step_bytes: int = 1024
    candidates: int = 16384
    checkpoint_layers: bool = False

    def identity(self, inputs: Mapping[str, Any]) -> str:
        """Return a stable id of what decides the result: these settings and digests of what they are applied to."""
        text = json.dumps({"heal": asdict(self), "inputs": dict(inputs)}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def done(self, step: int, seconds: float) -> float:
        """Return the share of the run that is over, 1 at its end."""
        if self.steps is not None:
            return min(1.0, step / self.steps)
        return min(1.0, seconds / (self.seconds or 1.0))


def make_settings(
    rung: str, *, budget: str | None, steps: int | None, seed: int = 0, **more: Any
) -> Settings:
    """Check what was asked for; raises TokswapError, listing what there is, for what can't be."""
    names = [str(r) for r in Rung]
    if rung not in names:
        raise TokswapError(f"there is no rung {rung!r}", f"choose {', '.join(names)}")
    if budget is not None and steps is not None:
        raise TokswapError("both a budget and a number of steps were given", "give --budget or --steps")
    if steps is not None and steps < 1:
        raise TokswapError(f"{steps} steps are no healing", "give --steps a number above 0")
    if not 0 <= seed < 2**63:
        raise TokswapError(
            f"the seed {seed} is none", "give --seed 0 or a number above, of at most 18 digits"
        )
    known = {field.name for field in fields(Settings)} - {"rung", "seconds", "steps", "seed"}
    unknown = sorted(set(more) - known)
    if unknown:
        raise TokswapError(f"there is no setting {unknown[0]!r}", f"choose {', '.join(sorted(known))}")
    for name in ("rank", "rate", "row_rate", "step_bytes"):
        if not 0 < more.get(name, 1) < math.inf:
            raise TokswapError(f"the {name} is {more[name]}", "give a number above 0")
    candidates = more.get("candidates", 0)
    if candidates != 0 and not (isinstance(candidates, int) and candidates >= FEWEST_CANDIDATES):
        raise TokswapError(
            f"the candidates are {candidates}", f"give 0 for all rows, or {FEWEST_CANDIDATES} or more"
        )
    if Rung(rung) is Rung.ROWS and (vain := sorted({"rate", "rank"} & set(more))):
        raise TokswapError(
            f"the {vain[0]} is the body's, and the rung rows leaves the body as it is",
            f"leave --{vain[0]} out, or take --rung alm or --rung lm",
        )
    seconds = None if steps is not None else parse_budget(budget or DEFAULT_BUDGET)
    return Settings(Rung(rung), seconds, steps, seed, **more)


def length_of(settings: Settings) -> str:
    """Return the length of a run in words."""
    if settings.steps is None:
        return f"{settings.seconds:,.0f} seconds of training"
    return f"{settings.steps:,} step{'s' * (settings.steps != 1)}"


def parse_budget(text: str) -> float:
    """Return the seconds of a time like "20m", "90s" or "1h30m"; raises TokswapError for anything else.

    >>> parse_budget("1h30m")
    5400.0
    """
    match = BUDGET.fullmatch(text.strip().lower())
    parts = [] if match is None else [float(part or 0) for part in match.groups()]
    total = sum(part * size for part, size in zip(parts, SECONDS, strict=False))
    if not 0 < total < math.inf:
        raise TokswapError(f"{text!r} is no time", "write it like 20m, 90s or 1h30m")
    return total


def rate_factor(done: float) -> float:
    """Return the learning rate as a share of its height: up in a straight line, then down along half a cosine."""
    if done < WARM_UP:
        return LEAST_RATE + (1 - LEAST_RATE) * done / WARM_UP
    fallen = (done - WARM_UP) / (1 - WARM_UP)
    return LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * fallen))
