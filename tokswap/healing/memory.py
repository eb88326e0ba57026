"""What a healing takes of memory, told before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokswap.checkpoint import Checkpoint
from tokswap.device import free_memory
from tokswap.errors import TokswapError
from tokswap.evaluation.language_model import LOGIT_BYTES
from tokswap.healing.snippets import Corpus

if TYPE_CHECKING:
    import torch

    from tokswap.healing.settings import Settings

COPIES = 12
"""Floats of each trained number: itself, its gradient, two moments, the best state, seven while one is saved."""
LOGIT_COPIES = 4
LIVE_WIDTHS = 34
"""Hidden widths of numbers that a layer keeps of a token for its gradients: attention, and a gated MLP of 4 widths."""


def require_memory(
    moved: Checkpoint,
    base: Checkpoint,
    settings: Settings,
    corpus: Corpus,
    rows: int,
    where: tuple[torch.device, torch.dtype],
) -> dict[str, int]:
    """Return the bytes of each part at the height of a run; raises TokswapError where that much isn't free.

    `rows` are trained; `where` is the device and what it computes in.
    """
    parts = estimate(moved, base, settings, corpus, rows, where[1])
    needed, room = sum(parts.values()), free_memory(where[0])
    if needed > room:
        largest = max(parts, key=lambda name: parts[name])
        raise TokswapError(
            f"healing takes about {needed / 1e9:.1f} GB ({largest} {parts[largest] / 1e9:.1f} GB), and "
            f"{room / 1e9:.1f} GB are free",
            "take a machine with more memory, --gradient-checkpointing, a lower --rank, or --rung rows",
        )
    return parts


def estimate(
    moved: Checkpoint,
    base: Checkpoint,
    settings: Settings,
    corpus: Corpus,
    rows: int,
    dtype: torch.dtype,
) -> dict[str, int]:
    """Return the bytes of the model, the base's tables, what is trained, logits and activations."""
    numbers = sum(info.nbytes // max(_item(info.dtype), 1) for info in moved.tensors.values())
    tables = 1 if base.tied else 2
    in_rows = rows * moved.hidden_size * (1 if moved.tied else 2)
    factors = 0
    if settings.rung.trains_body:
        shapes = [i.shape for i in moved.tensors.values() if len(i.shape) == 2 and i.shape[0] < moved.rows]
        factors = sum(settings.rank * sum(shape) for shape in shapes)
    longest = max(max(len(s.student.ids), len(s.teacher.ids)) for s in corpus.train)
    layers = max(len({n.split(".layers.")[1].split(".")[0] for n in moved.tensors if ".layers." in n}), 1)
    kept = 2 if settings.checkpoint_layers else LIVE_WIDTHS
    logits = 4 * longest * max(moved.rows, base.rows)
    return {
        "model": numbers * dtype.itemsize,
        "base_embeddings": tables * base.rows * base.hidden_size * dtype.itemsize,
        "trained": COPIES * 4 * (in_rows + factors),
        "logits": LOGIT_COPIES * min(logits, 2 * LOGIT_BYTES),
        "activations": longest * layers * kept * moved.hidden_size * dtype.itemsize,
    }


def _item(name: str) -> int:
    from tokswap.safetensors_header import DTYPE_BITS

    return DTYPE_BITS[name] // 8
