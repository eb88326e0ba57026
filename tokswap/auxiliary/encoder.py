"""A space from a local sentence encoder: the mean of its last hidden states over a token's text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.errors import TokswapError

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TEXTS = 512  # sorted by length, so that little of a batch is padding
LONGEST_TEXT = 64  # an encoder's tokens of one text; vocabularies have runs of hundreds of dashes


def encode_texts(
    folder: Path, texts: Sequence[str], device: str, on_progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """Return Float32[n f] of n non-empty texts, mean-pooled as sentence encoders are.

    Raises TokswapError for a folder that transformers can't load without code of its own.
    """
    import torch

    tokenizer, model = _load(folder, device)
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), texts[i]))
    out = torch.zeros(len(texts), model.config.hidden_size)
    for start in range(0, len(order), BATCH_TEXTS):
        some = order[start : start + BATCH_TEXTS]
        batch = tokenizer(
            [texts[i] for i in some],
            padding=True,
            truncation=True,
            max_length=LONGEST_TEXT,
            return_tensors="pt",
        ).to(model.device)
        with torch.inference_mode():
            states = model(**batch).last_hidden_state.float()  # (b t f)
        mask = batch["attention_mask"][:, :, None].float()
        out[some] = ((states * mask).sum(1) / mask.sum(1).clamp_min(1)).cpu()
        if on_progress is not None:
            on_progress(start + len(some), len(order))
    return out


def _load(folder: Path, device: str) -> tuple[Any, Any]:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        model = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype="float32"
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise TokswapError(
            f"the sentence encoder in {folder} can't be loaded: {why}",
            "give a folder with config.json, tokenizer.json and model.safetensors of an encoder (BERT, MiniLM, E5)",
        ) from error
    return tokenizer, model.to(device).eval()
