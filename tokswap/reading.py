"""A tokenizer that reads texts: the ids, and the byte at which each token ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.spans import token_spans
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import Vocab, read_vocab, vocab_of

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint


@dataclass(frozen=True)
class Reader:
    """A tokenizer's engine and its vocabulary."""

    engine: Any
    vocab: Vocab

    def read(self, document: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return Int[n] ids of a document, and Int[n] the byte at which each token ends; no special tokens around."""
        found = self.engine.encode(document, add_special_tokens=False)
        if not found.ids:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        tokens = [self.vocab.bytes_of(i) for i in found.ids]
        return np.asarray(found.ids, dtype=np.int64), token_spans(document, tokens, found.offsets).ends


def open_reader(tokenizer: Mapping[str, Any], name: str = "the tokenizer") -> Reader:
    """Return the reader of a parsed tokenizer.json."""
    return Reader(load_tokenizer(tokenizer, name), read_vocab(tokenizer, {}))


def reader_of(checkpoint: Checkpoint) -> Reader:
    """Return the reader of a checkpoint's tokenizer, its special tokens known by their roles."""
    return Reader(
        load_tokenizer(checkpoint.tokenizer, f"the tokenizer of {checkpoint.source}"), vocab_of(checkpoint)
    )
