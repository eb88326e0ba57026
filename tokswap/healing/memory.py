"""What a healing takes of memory, told before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokswap.checkpoint import Checkpoint
from tokswap.device import free_memory
from tokswap.errors import TokswapError
from tokswap.evaluation.language_model import BATCH_TOKENS_CPU, LOGIT_BYTES
from tokswap.healing.candidates import rows_of_a_step
from tokswap.healing.snippets import Corpus

if TYPE_CHECKING:
    import torch

    from tokswap.healing.settings import Settings

PROCESS = 420 * 1024**2
"""Bytes of Python with torch and transformers, before anything is loaded."""
TOKEN_BYTES = 1500
"""Bytes that a tokenizer and what is known of its tokens take for each of them."""
HELD_FLOATS = 4
"""Floats of each trained number that stay: itself, two moments, the best state."""
STEP_FLOATS = 3
"""Floats of each trained number while a step is taken: its gradient, and what Adam works with."""
SAVED_FLOATS = 8
"""Floats of each trained number while a state is saved: the four as bytes, and all of them in one piece."""
LOGIT_COPIES = 4
LOOK_LOGITS = 2
"""Slices of logits that are there at once where nothing is kept for gradients."""
LIVE_WIDTHS = 28
"""Hidden widths of numbers that a layer keeps of a token for its gradients: attention, a gated MLP, what they read."""
FROZEN_WIDTHS = 16
"""The same where none of its weights is trained: what a linear layer reads need not be kept then."""
READ_WIDTHS = 40
"""Hidden widths of numbers of a token that are there at once where nothing is kept for gradients."""


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
    """Return the bytes of what stays, and under its own name those of the phase that takes most besides.

    That is a training step, a look at held-out text (or the teacher's reading), or a state that is saved.
    """
    numbers = sum(info.nbytes // max(_item(info.dtype), 1) for info in moved.tensors.values())
    tables = 1 if base.tied else 2
    trained = 4 * _trained(moved, settings, rows)
    largest = max(moved.rows, base.rows)
    read = BATCH_TOKENS_CPU * READ_WIDTHS * moved.hidden_size * dtype.itemsize
    phases = {
        "step": STEP_FLOATS * trained + _step(moved, settings, corpus, dtype),
        "look": LOOK_LOGITS * min(LOGIT_BYTES, 4 * BATCH_TOKENS_CPU * largest) + read,
        "saving": SAVED_FLOATS * trained,
    }
    name = max(phases, key=lambda phase: phases[phase])
    return {
        "process": PROCESS + TOKEN_BYTES * (moved.rows + base.rows),
        "model": numbers * dtype.itemsize,
        "base_embeddings": tables * base.rows * base.hidden_size * dtype.itemsize,
        "trained": HELD_FLOATS * trained,
        name: phases[name],
    }


def _trained(moved: Checkpoint, settings: Settings, rows: int) -> int:
    """Return how many numbers are trained."""
    out = rows * moved.hidden_size * (1 if moved.tied else 2)
    if settings.rung.trains_body:
        tables = {moved.roles.input, moved.roles.output, *moved.roles.copies}
        shapes = [i.shape for n, i in moved.tensors.items() if len(i.shape) == 2 and n not in tables]
        out += sum(min(settings.rank, *shape) * sum(shape) for shape in shapes)
    return out


def _step(moved: Checkpoint, settings: Settings, corpus: Corpus, dtype: torch.dtype) -> int:
    """Return the bytes of a step's logits and activations, for the longest snippet."""
    longest = max(max(len(s.student.ids), len(s.teacher.ids)) for s in corpus.train)
    layers = max(len({n.split(".layers.")[1].split(".")[0] for n in moved.tensors if ".layers." in n}), 1)
    whole = LIVE_WIDTHS if settings.rung.trains_body else FROZEN_WIDTHS
    kept = 2 if settings.checkpoint_layers else whole
    own = int((corpus.seen > 0).sum())
    normalised = rows_of_a_step(settings, own, moved.rows)
    logits = min(4 * longest * normalised, 2 * LOGIT_BYTES)
    return LOGIT_COPIES * logits + longest * layers * kept * moved.hidden_size * dtype.itemsize


def _item(name: str) -> int:
    from tokswap.safetensors_header import DTYPE_BITS

    return DTYPE_BITS[name] // 8
