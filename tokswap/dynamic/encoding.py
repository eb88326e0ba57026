"""An encoder that reads merged tokens: only its inputs change, so nothing is predicted over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tokswap.dynamic.merging import Merges, Word
from tokswap.dynamic.rows import RowCache

if TYPE_CHECKING:
    from torch import Tensor


def encode_merged(
    model: Any, batch: Sequence[Sequence[Word]], merges: Merges, cache: RowCache
) -> tuple[Tensor, Tensor]:
    """Return an encoder's last states Float[B T h] of a batch of texts, and the mask Bool[B T] of their tokens.

    Each text is its words in the model's own ids (words of special tokens too, which no merge holds); `cache` makes
    the input rows of merged tokens.
    """
    import torch

    table = model.get_input_embeddings()
    texts = [[symbol for word in merges.apply(text) for symbol in word] for text in batch]
    length = max(map(len, texts))
    mask = torch.tensor(
        [[at < len(text) for at in range(length)] for text in texts], device=table.weight.device
    )
    ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts], device=table.weight.device)
    with torch.no_grad():
        rows = table(ids.where(ids < merges.size, 0))  # (B T d)
        new = ids >= merges.size
        if bool(new.any()):
            spellings = [merges.spelling(symbol) for symbol in ids[new].tolist()]
            made = cache.rows(spellings)[:, : rows.shape[-1]].to(rows)
            # Gemma's table scales what it gives out, and rows are as the table holds them.
            rows[new] = made * getattr(table, "embed_scale", torch.ones(())).to(made)
        return model(inputs_embeds=rows, attention_mask=mask.long()).last_hidden_state, mask
