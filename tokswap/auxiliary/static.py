"""A space from a table of static token vectors (model2vec, WordLlama): the mean over a token's text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from tokswap.checkpoint import Checkpoint
from tokswap.errors import TokswapError
from tokswap.tokenization import load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor


def table_name(checkpoint: Checkpoint) -> str | None:
    """Return the name of the one table that a folder of static vectors stores, None for any other model."""
    tables = [name for name, info in checkpoint.tensors.items() if len(info.shape) == 2]
    return tables[0] if len(tables) == 1 else None


def static_vectors(checkpoint: Checkpoint, texts: Sequence[str]) -> Tensor:
    """Return Float32[n f]: the mean of the vectors of each text's tokens under the table's own tokenizer.

    Raises TokswapError for a tokenizer with more tokens than the table has rows.
    """
    import torch

    from tokswap.tokenizer_traits import encode

    table = checkpoint.read(table_name(checkpoint) or "").float()  # (R f)
    engine = load_tokenizer(checkpoint.tokenizer, f"the tokenizer of {checkpoint.source}")
    if engine.get_vocab_size() > len(table):
        raise TokswapError(
            f"{checkpoint.source} has {engine.get_vocab_size():,} tokens and {len(table):,} vectors",
            "give the tokenizer.json that the table was made with",
        )
    found = encode(engine, texts)
    ids = torch.tensor([i for row in found for i in row], dtype=torch.long)
    offsets = torch.tensor([0, *accumulate(map(len, found))][:-1], dtype=torch.long)
    return torch.nn.functional.embedding_bag(ids, table, offsets, mode="mean")
