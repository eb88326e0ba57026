"""What a tokenizer makes of held-out text, beside others: bytes and words a token, and borders that moved."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.texts import Text
from tokswap.reading import Reader
from tokswap.report import Figure, Report


def measure(new: Reader, others: Mapping[str, Reader], texts: Mapping[str, Text]) -> Report:
    """Return a section a text with the figures of `new`, and of the `others` under their names."""
    sections = {name: Report("text", figures=_figures(new, others, text)) for name, text in texts.items()}
    return Report("texts", sections=sections)


def _figures(new: Reader, others: Mapping[str, Reader], text: Text) -> dict[str, Figure]:
    words = sum(len(document.split()) for document in text.documents)
    ends = [new.read(document)[1] for document in text.documents]
    tokens = sum(map(len, ends))
    figures = {
        "bytes": Figure(text.bytes, "bytes"),
        "bytes_per_token": Figure(text.bytes / max(tokens, 1), "bytes/token"),
        "words_per_token": Figure(words / max(tokens, 1), "words/token"),
    }
    for name, other in others.items():
        theirs = [other.read(document)[1] for document in text.documents]
        figures |= _beside(name, text.bytes, ends, theirs)
    return figures


def _beside(
    name: str, size: int, ours: list[NDArray[np.int64]], theirs: list[NDArray[np.int64]]
) -> dict[str, Figure]:
    """Return another tokenizer's bytes a token, and which of its borders are left and which of ours are new."""
    tokens, before = sum(map(len, ours)), sum(map(len, theirs))
    both = sum(len(np.intersect1d(a, b)) for a, b in zip(ours, theirs, strict=True))
    kept = both / max(sum(len(np.unique(b)) for b in theirs), 1)
    new = 1 - both / max(sum(len(np.unique(a)) for a in ours), 1)
    return {
        f"{name}_bytes_per_token": Figure(size / max(before, 1), "bytes/token"),
        f"{name}_gain": Figure(before / max(tokens, 1), "x", note="bytes a token, over the other's"),
        f"{name}_borders_kept": Figure(kept, "share", note="of the other's borders"),
        f"{name}_borders_new": Figure(new, "share", note="of the new borders"),
    }
