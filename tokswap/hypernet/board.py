"""A training's log as TensorBoard reads it, where that is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokswap.errors import TokswapError

NAMES = ("loss", "rate", "held_out_error", "held_out_bits")


class Board:
    """Curves in a folder for TensorBoard; `lines` of the log that were told already aren't told again."""

    def __init__(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
        """Raises TokswapError where TensorBoard isn't installed."""
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        last = max((int(line["step"]) for line in lines), default=0)
        self._writer: Any = SummaryWriter(str(folder), purge_step=last + 1 if lines else None)
        self._told = len(lines)

    def tell(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Add what is new in a log."""
        for line in lines[self._told :]:
            for name in NAMES:
                if line.get(name) is not None:
                    self._writer.add_scalar(name, line[name], line["step"])
        self._told = len(lines)
        self._writer.flush()


def require_tensorboard() -> None:
    """Raise TokswapError where TensorBoard isn't installed."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise TokswapError(
            "TensorBoard is not installed", "pip install tensorboard, or read the same figures in log.jsonl"
        )
