"""One side of a comparison before its model is loaded: the tokenizer, its exact bytes, and its start token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.evaluation.spans import Spans, Window, check_windows, token_spans, windows
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import Vocab, vocab_of

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

SMALLEST_WINDOW = 64  # bytes; below, a byte-level tokenizer's context is a few words


@dataclass(frozen=True)
class Tokenized:
    """A document under one tokenizer: `ids` Int[n], and the bytes that each of them stands for."""

    ids: NDArray[np.int64]
    spans: Spans


@dataclass(frozen=True)
class Arm:
    """A model's folder, its vocabulary and what turns text into ids; `start_id` comes before every window.

    `source` is how the person named the model; `max_tokens` is the longest input that its positions allow, or
    None.
    """

    folder: Path
    source: str
    vocab: Vocab
    encoder: Any
    start_id: int
    max_tokens: int | None

    @property
    def start_text(self) -> str:
        """How the tokenizer's file spells the start token."""
        return self.vocab.texts[self.vocab.position[self.start_id]]

    def tokenize(self, document: str) -> Tokenized:
        """Return a document's ids (no special tokens added) and spans; TokswapError where it has none."""
        try:
            encoded = self.encoder.encode(document, add_special_tokens=False)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of the tokenizers library is no Exception
            raise TokswapError(f"the tokenizer of {self.source} fails on a text: {error}", _BROKEN) from error
        ids = np.asarray(encoded.ids, dtype=np.int64)
        if not len(ids):
            raise TokswapError(f"the tokenizer of {self.source} makes no token of {document[:40]!r}", _BROKEN)
        if ids.max() >= self.vocab.rows:
            raise TokswapError(
                f"the text has the token {self.vocab.bytes_of(int(ids.max()))!r}, which the model has no row for",
                "leave that token out of the text",
            )
        tokens = [self.vocab.bytes_of(token_id) for token_id in encoded.ids]
        return Tokenized(ids, token_spans(document, tokens, encoded.offsets))

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        return str(self.encoder.decode(list(ids), skip_special_tokens=False))


def open_arm(checkpoint: Checkpoint) -> Arm:
    """Read what scoring needs of a checkpoint, without its weights."""
    text_config: Mapping[str, Any] = checkpoint.config.get("text_config") or checkpoint.config
    vocab = vocab_of(checkpoint)
    return Arm(
        folder=checkpoint.folder,
        source=checkpoint.source or str(checkpoint.folder),
        vocab=vocab,
        encoder=load_tokenizer(checkpoint.tokenizer, f"the tokenizer of {checkpoint.folder}"),
        start_id=start_token(vocab),
        max_tokens=text_config.get("max_position_embeddings"),
    )


def start_token(vocab: Vocab) -> int:
    """Return the id that stands before every window: bos, else what ends a document, else a line break."""
    breaks = (int(i) for i, token in zip(vocab.ids, vocab.tokens, strict=True) if token == b"\n")
    for token_id in (vocab.start_id, *breaks):
        if token_id is not None and token_id < vocab.rows:
            return token_id
    raise TokswapError(
        "the tokenizer has no token to start a text with",
        "name a bos_token or an eos_token in tokenizer_config.json",
    )


def fit_windows(
    arms: Sequence[tuple[Arm, Sequence[Tokenized]]], window_bytes: int, stride_bytes: int
) -> tuple[int, int]:
    """Return window and stride in bytes, halved until the windows of every arm fit its model's positions.

    They are the same for all arms, so that all have the same context. Raises TokswapError below 64 bytes.
    """
    check_windows(window_bytes, stride_bytes)
    while not all(_fit(arm, documents, window_bytes, stride_bytes) for arm, documents in arms):
        window_bytes, stride_bytes = window_bytes // 2, stride_bytes // 2
        if window_bytes < SMALLEST_WINDOW or stride_bytes < 1:
            raise TokswapError(
                "a model has too few positions for a window of text",
                "its max_position_embeddings should be in the hundreds",
            )
    return window_bytes, stride_bytes


def document_windows(document: Tokenized, window_bytes: int, stride_bytes: int) -> list[Window]:
    """Return the windows of one tokenized document."""
    return windows(document.spans, window_bytes=window_bytes, stride_bytes=stride_bytes)


def _fit(arm: Arm, documents: Sequence[Tokenized], window_bytes: int, stride_bytes: int) -> bool:
    if arm.max_tokens is None:
        return True
    every = (w.tokens for d in documents for w in document_windows(d, window_bytes, stride_bytes))
    return max(every, default=0) <= arm.max_tokens


_BROKEN = "the tokenizer.json is damaged or made by hand: fetch it again from its origin"
