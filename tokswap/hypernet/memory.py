"""What training a hypernetwork takes: memory, told before it starts, and arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokswap.device import free_memory
from tokswap.errors import TokswapError
from tokswap.healing.memory import LIVE_WIDTHS
from tokswap.healing.snippets import SNIPPET_BYTES
from tokswap.hypernet.config import HypernetConfig
from tokswap.hypernet.objective import ROWS_AT_ONCE
from tokswap.hypernet.settings import Settings

if TYPE_CHECKING:
    import torch

    from tokswap.checkpoint import Checkpoint

COPIES = 10
"""Floats of each trained number: itself, its gradient, two moments, the best of it, and five while they are saved."""
LOGIT_COPIES = 4
TOKEN_BYTES = 3
"""Bytes of text a token, from below."""
MEAN_POSITIONS = 4
"""Pieces of a spelling and the start before them, of most tokens."""
LAYER_WIDTHS = 12
"""Widths of numbers that a layer of the hypernetwork keeps of one position for its gradients."""


def parameters_of(config: HypernetConfig) -> int:
    """Return the numbers that a hypernetwork holds."""
    import math

    from tokswap.hypernet.files import shapes_of

    return sum(math.prod(shape) for shape in shapes_of(config).values())


def estimate(
    base: Checkpoint, config: HypernetConfig, settings: Settings, dtype: torch.dtype | None, donated: int = 0
) -> dict[str, int]:
    """Return the bytes of each part at the height of a run.

    `dtype` is the student's, None where no text is read; `donated` the tokens of the donor, all of which held-out text
    is read with.
    """
    numbers = {name: info.nbytes // _item(info.dtype) for name, info in base.tensors.items()}
    tables = 4 * base.rows * config.row_width
    positions = max(settings.pairs // settings.accumulate, settings.pairs // 4 if dtype else 0)
    columns = max(settings.pieces, donated)
    if dtype is not None:
        drawn = settings.negatives + settings.step_bytes // TOKEN_BYTES
        positions = max(positions, min(drawn, columns, ROWS_AT_ONCE))
    widths = 2 * config.row_width + LAYER_WIDTHS * config.hn_n_layers * config.hn_hidden_size
    out = {
        "base_embeddings": tables,
        "trained": COPIES * 4 * parameters_of(config),
        "hypernet_activations": 4 * positions * MEAN_POSITIONS * widths,
    }
    if dtype is None:
        return out
    tokens = SNIPPET_BYTES // TOKEN_BYTES
    layers = max(len({n.split(".layers.")[1].split(".")[0] for n in numbers if ".layers." in n}), 1)
    return out | {
        "model": sum(numbers.values()) * dtype.itemsize,
        "batch_tables": 3 * columns * config.row_width * dtype.itemsize,
        "logits": LOGIT_COPIES * 4 * tokens * columns,
        "activations": tokens * layers * LIVE_WIDTHS * base.hidden_size * dtype.itemsize,
    }


def operations(base: Checkpoint, config: HypernetConfig, settings: Settings, *, text: bool) -> float:
    """Return the floating-point operations of one step, forward and back: six for each number and position.

    Of a step of text two thirds of the student's are counted: its weights take no gradient.
    """
    per_row = 6 * parameters_of(config) * MEAN_POSITIONS
    if not text:
        return float(per_row * settings.pairs)
    tokens = settings.step_bytes / TOKEN_BYTES
    body = sum(info.nbytes // _item(info.dtype) for info in base.tensors.values())
    body -= base.rows * base.hidden_size * (1 if base.tied else 2)
    head = settings.pieces * base.hidden_size
    predicted = min(settings.negatives + tokens, settings.pieces)
    again = 8 / 6 if predicted > ROWS_AT_ONCE else 1
    return float(4 * tokens * (body + head) + again * per_row * predicted)


def require_memory(parts: dict[str, int], device: torch.device) -> None:
    """Raise TokswapError where that much isn't free."""
    needed, room = sum(parts.values()), free_memory(device)
    if needed > room:
        largest = max(parts, key=lambda name: parts[name])
        raise TokswapError(
            f"training takes about {needed / 1e9:.1f} GB ({largest} {parts[largest] / 1e9:.1f} GB), and "
            f"{room / 1e9:.1f} GB are free",
            "take a machine with more memory, a smaller --hidden, or stages that read no text",
        )


def _item(name: str) -> int:
    from tokswap.safetensors_header import DTYPE_BITS

    return max(DTYPE_BITS[name] // 8, 1)
