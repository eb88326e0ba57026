"""Exact bits per byte beside the usual ones: what a byte costs, whichever tokens it may be the beginning of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.arm import Arm, Tokenized, document_windows
from tokswap.evaluation.bootstrap import Interval, bits_interval, chunk_sums, paired_interval
from tokswap.report import Figure

if TYPE_CHECKING:
    from tokswap.bytewise.codec import ByteCodec
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.language_model import LanguageModel

ByteNats = Mapping[str, "list[NDArray[np.float64]]"]
"""Nats Float[length] of each byte of each document, by text."""

NOTE = "over all canonical encodings that begin with the bytes"


def codec_of(checkpoint: Checkpoint, arm: Arm) -> ByteCodec:
    """Return the bytes that a checkpoint's tokenizer reads; raises TokswapError for one that loses some."""
    from tokswap.bytewise.codec import make_codec

    return make_codec(checkpoint.tokenizer, arm.vocab, f"the tokenizer of {arm.source}")


def score_exactly(
    lm: LanguageModel,
    arm: Arm,
    codec: ByteCodec,
    by_text: Mapping[str, Sequence[Tokenized]],
    windows: tuple[int, int],
    say: Callable[[int, int], None],
) -> ByteNats:
    """Return the nats of each byte, in the windows (bytes, stride) in which tokens are scored."""
    from tokswap.bytewise.score import score_bytes

    flat = [document for its in by_text.values() for document in its]
    cut = [document_windows(document, *windows) for document in flat]
    found = iter(score_bytes(lm, codec, flat, cut, start_id=arm.start_id, on_windows=say))
    return {name: [next(found) for _ in its] for name, its in by_text.items()}


def exact_figures(arms: Sequence[Sequence[NDArray[np.float64]]], *, seed: int = 0) -> dict[str, Figure]:
    """Return exact bits per byte of a model and, where it is there, of its base, with their ratio."""
    nats = [np.concatenate([chunk_sums(document) for document in documents]) for documents in arms]
    sizes = np.concatenate([chunk_sums(np.ones(len(document))) for document in arms[0]])
    out = {
        f"{who}exact_bits_per_byte": _figure(bits_interval(its, sizes, seed=seed), "bits/byte", NOTE)
        for who, its in zip(("", "base_"), nats, strict=False)
    }
    if len(nats) > 1:
        ratio = paired_interval(nats[0], nats[1], sizes, seed=seed).ratio
        out["exact_ratio"] = _figure(ratio, "x", "exact bits per byte over the base's")
    return out


def _figure(interval: Interval, unit: str, note: str) -> Figure:
    return Figure(interval.value, unit, low=interval.low, high=interval.high, note=note)
