"""A run's state beside its output, so that the same command goes on after a stop: one file, whole or absent.

    .OUT.tokswap-heal-ID    safetensors: the trained tensors, Adam's two moments, the best so far; progress as metadata

ID is of the settings, the models and the text: another run doesn't take it for its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.errors import TokswapError
from tokswap.whole_file import write_whole

if TYPE_CHECKING:
    from torch import Tensor

NOW, FIRST, SECOND, COUNT, BEST = "now:", "first:", "second:", "count:", "best:"
KEY = "healing"


@dataclass(frozen=True)
class Point:
    """One look at the held-out text: after `step` steps and `seconds`, the mean loss since the last one."""

    step: int
    seconds: float
    loss: float | None
    held_out_bits: float


@dataclass
class Progress:
    """How far a run is: everything that decides how it goes on, but for the tensors."""

    step: int = 0
    seconds: float = 0.0
    looks: int = 0
    look_seconds: float = 0.0
    stale: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best_bits: float = float("inf")
    best_step: int = 0
    stopped: str = ""
    curve: list[Point] = field(default_factory=list[Point])


def save_state(path: Path, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
    """Write a state: the old one or the new one is there at every instant. Raises TokswapError for a full disk."""
    from safetensors.torch import save

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = save(held, metadata={KEY: json.dumps(asdict(progress))})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise TokswapError(
            f"the state of the run can't be kept in {path.parent}: {error.strerror or error}",
            "make room, then run the same command again: it goes on from the state before",
        ) from error


def load_state(path: Path) -> tuple[Progress, dict[str, Tensor]] | None:
    """Return what `save_state` wrote, or None where there is nothing or it isn't readable."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            fields: dict[str, Any] = json.loads((file.metadata() or {})[KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    points = [Point(**point) for point in fields.pop("curve")]
    return Progress(**fields, curve=points), tensors
