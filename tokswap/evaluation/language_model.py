"""A causal language model as two steps: final hidden states, then logits over the whole vocabulary.

The two steps are apart because the logits are the larger part by far (262,144 tokens x 512 positions in fp32
are 537 MB): states are kept, logits are made in slices, looked at, and dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.device import choose_device, choose_dtype, free_memory, many_gpus
from tokswap.errors import NotFiniteError, TokswapError
from tokswap.evaluation.head import PROBE_TOKENS, captured, probed_head

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

LOGIT_BYTES = 256 * 1024**2
"""Bytes of one slice of fp32 logits: small for a laptop, large enough for efficient matrix products."""

BATCH_TOKENS_CPU = 2048
"""Tokens of a batch on a CPU: larger ones gain no speed there."""

BATCH_TOKENS_GPU = 16384
"""Tokens of a batch on a GPU, where free memory allows."""

SAME_STATE = 0.1
"""Relative change of a state that may be rounding (bf16 bodies reach 0.02); other tokens change it by far more."""

MEMORY_SHARE = 0.4
"""Share of the free memory that one batch may take: the estimate of its activations is rough."""


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model, ready for `final_states` and `logits`.

    `head` turns states (..., d) into the model's own logits (..., rows). Where a model's output layer can't
    be called apart, `states_are_logits` is true: `final_states` then returns the logits, and `head` changes
    nothing.
    `unknown_rows` are rows that no token has (padding); `logits` gives them -inf.
    """

    model: Any
    head: Callable[[Tensor], Tensor]
    device: torch.device
    dtype: torch.dtype
    rows: int
    unknown_rows: Tensor
    max_tokens: int | None
    states_are_logits: bool = False


def load_language_model(
    folder: Path,
    *,
    known_ids: NDArray[np.int64] | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> LanguageModel:
    """Load the causal language model in `folder` for inference.

    `known_ids` are the ids that the tokenizer has (`Vocab.ids`); other output rows are masked in `logits`.
    `device` is "auto" (CUDA, over several GPUs with accelerate; else MPS; else the CPU) or a torch device.
    `dtype` is "auto" (bf16 on CUDA and on CPUs that compute in it, else fp32), "bfloat16", "float32" or
    "float16".
    Raises TokswapError where the folder holds no such model, lacks weights, or needs code of its own.
    """
    where = choose_device(device)
    number = choose_dtype(dtype, where)
    model = _pretrained(folder, number, spread=device == "auto" and many_gpus())
    if not hasattr(model, "hf_device_map"):
        model.to(where)
    model.eval().requires_grad_(False)
    return wrap_model(model, known_ids=known_ids)


def wrap_model(model: Any, *, known_ids: NDArray[np.int64] | None = None) -> LanguageModel:
    """Make a LanguageModel of a loaded transformers model; a short probe decides how its head is called."""
    import torch

    embedding = model.get_input_embeddings()
    weight = next(embedding.parameters())
    head, rows = probed_head(model, weight.device, int(weight.shape[0]))
    known = torch.zeros(rows, dtype=torch.bool)
    known[:] = known_ids is None
    if known_ids is not None:
        known[torch.from_numpy(known_ids[known_ids < rows])] = True
    lm = LanguageModel(
        model=model,
        head=head or _unchanged,
        device=weight.device,
        dtype=weight.dtype,
        rows=rows,
        unknown_rows=torch.nonzero(~known).flatten(),
        max_tokens=getattr(model.config.get_text_config(), "max_position_embeddings", None),
        states_are_logits=head is None,
    )
    if not _looks_back_only(lm):
        raise TokswapError(
            f"{type(model).__name__} looks at the tokens to the right: it doesn't predict the next one",
            "bits per byte are for causal (left-to-right) language models",
        )
    return lm


def final_states(lm: LanguageModel, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return what the output layer reads: states (B, T, d), after the final norm.

    `ids` is int64 (B, T), padded on the right; `mask` (B, T) is 1 for tokens and 0 for padding.
    """
    import torch

    ids = ids.to(lm.device)
    mask = torch.ones_like(ids) if mask is None else mask.to(lm.device)
    with torch.no_grad():
        if lm.states_are_logits:
            return lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        with captured(lm.model, skip_head=True) as caught:
            lm.model(input_ids=ids, attention_mask=mask, use_cache=False)
        return caught[0]


def logits(lm: LanguageModel, states: Tensor) -> Tensor:
    """Return fp32 logits (..., rows) of states (..., d), -inf where no token has the row.

    All of them at once: `logit_slices` is for more than a few positions.
    """
    out = _masked_logits(lm, states.reshape(-1, states.shape[-1]))
    return out.reshape(*states.shape[:-1], lm.rows)


def logit_slices(
    lm: LanguageModel, states: Tensor, *, most_bytes: int = LOGIT_BYTES
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (positions, fp32 logits (n, rows)) over states (N, d), each slice within `most_bytes`.

    The next slice takes the memory of the one before: clone what is to be kept.
    """
    step = max(1, most_bytes // (4 * lm.rows))
    memory: Tensor | None = None
    for start in range(0, int(states.shape[0]), step):
        part = slice(start, min(start + step, int(states.shape[0])))
        out = _masked_logits(lm, states[part], memory)
        memory = out if memory is None else memory
        yield part, out


def _masked_logits(lm: LanguageModel, states: Tensor, memory: Tensor | None = None) -> Tensor:
    """Return fp32 logits (n, rows) of states (n, d), in the first rows of `memory` if given."""
    import torch

    with torch.no_grad():
        values = lm.head(states[None])[0]
        # Fresh memory costs more time than the copy: its pages have to be fetched and cleared.
        out = torch.empty(values.shape, device=values.device) if memory is None else memory[: len(values)]
        out.copy_(values)
        if lm.unknown_rows.numel():
            out.index_fill_(-1, lm.unknown_rows.to(out.device), float("-inf"))
    return out


def batch_size(lm: LanguageModel, length: int) -> int:
    """Return how many sequences of `length` tokens fit a batch in the memory that is free now, at least 1."""
    config = lm.model.config.get_text_config()
    width = int(getattr(config, "hidden_size", 1024))
    inner = int(getattr(config, "intermediate_size", 0) or 4 * width)
    heads = int(getattr(config, "num_attention_heads", 8))
    # Live at once in one layer: the residual, q, k, v, the attention's output, three of the inner width
    # and one row of scores.
    a_token = lm.dtype.itemsize * (8 * width + 3 * inner) + 4 * heads * length
    if lm.states_are_logits:
        a_token += 6 * lm.rows
    most = BATCH_TOKENS_CPU if lm.device.type == "cpu" else BATCH_TOKENS_GPU
    tokens = min(most, MEMORY_SHARE * free_memory(lm.device) / a_token)
    return max(1, int(tokens // max(length, 1)))


def _looks_back_only(lm: LanguageModel) -> bool:
    """Whether the first position's state stays the same, but for rounding, when more tokens follow."""
    import torch

    ids = (lm.rows // 2 + torch.arange(PROBE_TOKENS)[None]) % lm.rows  # (1, T)
    alone, followed = final_states(lm, ids[:, :1])[0, 0], final_states(lm, ids)[0, 0]  # (d)
    if not bool(followed.isfinite().all()):
        raise NotFiniteError(
            f"{type(lm.model).__name__} computes states that are not finite: a weight is NaN, infinite or too large",
            "fetch or write the model again",
        )
    changed = (alone.float() - followed.float()).abs().mean()
    return bool(changed <= SAME_STATE * alone.float().abs().mean())


def _pretrained(folder: Path, dtype: torch.dtype, *, spread: bool) -> Any:
    """Load the model with every weight present; nothing is fetched, no remote code runs, no pickle opened."""
    with quiet_transformers() as transformers:
        options: dict[str, Any] = {"device_map": "auto"} if spread else {}
        try:
            model, told = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
        except (ValueError, OSError, KeyError, RuntimeError, ImportError) as error:
            raise TokswapError(
                f"{folder} can't be loaded as a causal language model: {_first_line(error)}",
                "it needs config.json and safetensors of an architecture that transformers itself knows",
            ) from error
    absent = sorted(told["missing_keys"]) + sorted(str(key) for key in told["mismatched_keys"])
    if absent:
        raise TokswapError(
            f"{folder} lacks {len(absent)} weights of its model (or their shape differs), as {absent[0]}",
            "fetch or write the model again: random numbers would take their place",
        )
    return model


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextlib.contextmanager
def quiet_transformers() -> Generator[Any]:
    """Give transformers with its progress bars and advice off, and put both back as they were."""
    import transformers
    from transformers.utils import logging as talk

    verbosity, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        yield transformers
    finally:
        talk.set_verbosity(verbosity)
        if bars:
            talk.enable_progress_bar()


def _unchanged(states: Tensor) -> Tensor:
    return states
