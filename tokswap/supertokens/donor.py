"""A base with a tokenizer that goes on from its own: a donor that was learnt, with no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tokswap.checkpoint import Checkpoint
from tokswap.corpora import Corpus
from tokswap.evaluation.texts import Text
from tokswap.sources import public_name
from tokswap.supertokens.encoding import Say
from tokswap.supertokens.extend import extend_bpe
from tokswap.supertokens.extending import found_warnings
from tokswap.supertokens.files import blocks_of, thinned
from tokswap.supertokens.train import MOST_BYTES
from tokswap.vocab import vocab_of

# Calibration reads so much of what was learnt from, in bytes of all corpora together: as of the texts that come with
# tokswap, where the new tokens may not stand at all.
CALIBRATED_BYTES = {False: 12_000, True: 26_000}


def learnt_donor(
    base: Checkpoint, corpora: Sequence[Corpus], add: int, *, max_words: int, on_progress: Say | None = None
) -> Checkpoint:
    """Learn up to `add` tokens of at most `max_words` words, and return the base's tokenizer with them as a donor.

    Raises TokswapError for a tokenizer that isn't BPE, and for texts that can't be read.
    """
    found = extend_bpe(
        base.tokenizer,
        vocab_of(base),
        thinned(blocks_of(corpora), MOST_BYTES),
        add,
        max_words=max_words,
        most_bytes=MOST_BYTES,
        on_progress=on_progress,
    )
    donor = with_tokenizer(base, found.tokenizer, len(found.added))
    return replace(donor, notes=found_warnings(found, add))


def with_tokenizer(base: Checkpoint, tokenizer: Mapping[str, Any], learnt: int) -> Checkpoint:
    """Return the base's tokenizer, with `learnt` tokens that it did not have, as a checkpoint without weights."""
    name = public_name(base.source).split(" (")[0]
    return replace(
        base,
        tokenizer=tokenizer,
        tensors={},
        shards={},
        index=None,
        notes=(),
        source=f"{name} with {learnt:,} tokens learnt from text",
    )


def calibration_texts(corpora: Sequence[Corpus], *, stages: bool) -> dict[str, Text]:
    """Return the beginnings of the corpora: what calibration reads where a person names no other text.

    `stages` after the shift fit more numbers and read more.
    """
    each = CALIBRATED_BYTES[stages] // max(len(corpora), 1)
    return {corpus.name: corpus.beginning(each) for corpus in corpora}
