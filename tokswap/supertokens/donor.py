"""A base with a tokenizer that goes on from its own: a donor that was learnt, with no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tokswap.checkpoint import Checkpoint
from tokswap.corpora import Corpus
from tokswap.evaluation.texts import Text

# Calibration reads so much of what was learnt from, in bytes of all corpora together: as of the texts that come with
# tokswap, where the new tokens may not stand at all.
CALIBRATED_BYTES = {False: 12_000, True: 26_000}


def with_tokenizer(base: Checkpoint, tokenizer: Mapping[str, Any], learnt: int) -> Checkpoint:
    """Return the base's tokenizer, with `learnt` tokens that it did not have, as a checkpoint without weights."""
    return replace(
        base,
        tokenizer=tokenizer,
        tensors={},
        shards={},
        index=None,
        notes=(),
        source=f"{base.source} with {learnt:,} tokens learnt from text",
    )


def calibration_texts(corpora: Sequence[Corpus], *, stages: bool) -> dict[str, Text]:
    """Return the beginnings of the corpora: what calibration reads where a person names no other text.

    `stages` after the shift fit more numbers and read more.
    """
    each = CALIBRATED_BYTES[stages] // max(len(corpora), 1)
    return {corpus.name: corpus.beginning(each) for corpus in corpora}
