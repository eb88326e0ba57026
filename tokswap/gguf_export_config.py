"""A checkpoint's configuration as GGUF metadata, refused where a reader of GGUF would compute something else.

GGUF has no place for much of a config.json, and readers fill in what the architecture is known for. So the metadata
is read back by `gguf_config`, and both configurations, completed by transformers, must agree in all that is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.gguf_config import ARCHITECTURES, model_config
from tokswap.pretokenizers import Json

# transformers' model_type → GGUF's architecture; Mistral's is Llama's with a window that its later models don't use.
BY_MODEL_TYPE = {found.model_type: name for name, found in ARCHITECTURES.items()} | {"mistral": "llama"}
COMPUTED = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "max_position_embeddings", "rms_norm_eps", "hidden_act", "hidden_activation", "attention_bias", "mlp_bias",
    "query_pre_attn_scalar", "sliding_window", "layer_types", "final_logit_softcapping", "attn_logit_softcapping",
    "rope_parameters", "use_bidirectional_attention", "vocab_size", "tie_word_embeddings",
)  # fmt: skip
"""What decides a model's numbers, in any of these architectures."""
HINT = "llama.cpp's own convert_hf_to_gguf.py may know this model; without a GGUF the folder is complete"


@dataclass(frozen=True)
class GgufConfig:
    """`architecture` by GGUF's name, `metadata` under its prefix, `rope_factors` Float32[head_dim / 2] or None."""

    architecture: str
    metadata: Mapping[str, Any]
    rope_factors: NDArray[np.float32] | None


@dataclass(frozen=True)
class _Shape:
    """A tensor as `model_config` looks at it: its shape, fastest axis first, and for `rope_freqs` its values."""

    shape: tuple[int, ...]
    data: Any = None


def gguf_architecture(config: Mapping[str, Any]) -> str:
    """Return GGUF's name of a model's architecture; raises TokswapError for one that isn't known here."""
    kind = str(config.get("model_type", "missing"))
    if kind not in BY_MODEL_TYPE:
        known = ", ".join(sorted(BY_MODEL_TYPE))
        raise TokswapError(f"no GGUF can be written for a model of type {kind} (known: {known})", HINT)
    return BY_MODEL_TYPE[kind]


def gguf_config(
    config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], generation: Mapping[str, Any]
) -> GgufConfig:
    """Return what a GGUF says of the model; `shapes` maps GGUF's tensor names to shapes, fastest axis first.

    Raises TokswapError for an architecture that isn't known here, and for one that is but whose settings GGUF's
    readers would not find in the file.
    """
    name = gguf_architecture(config)
    complete = _complete(config)
    factors = _rope_factors(complete)
    metadata = {"general.architecture": name} | {
        f"{name}.{key}": value for key, value in _fields(name, complete).items() if value is not None
    }
    metadata |= _token_ids(config, generation)
    tensors: dict[str, Any] = {tensor: _Shape(shape) for tensor, shape in shapes.items()}
    if factors is not None:
        tensors["rope_freqs.weight"] = _Shape(factors.shape, factors)
    _require_same(name, complete, metadata, tensors)
    return GgufConfig(name, metadata, factors)


def _complete(config: Mapping[str, Any]) -> Json:
    """Return a configuration with transformers' defaults for what it doesn't say."""
    from transformers import AutoConfig

    settings = {key: value for key, value in config.items() if key != "model_type"}
    try:
        return AutoConfig.for_model(str(config["model_type"]), **settings).to_dict()
    except Exception as error:  # transformers checks configurations in many ways
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise TokswapError(f"transformers doesn't take config.json: {first}", "check config.json") from error


def _fields(name: str, config: Mapping[str, Any]) -> Json:
    heads = int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
    rope = _rope(config)
    fields: Json = {
        "context_length": int(config["max_position_embeddings"]),
        "embedding_length": int(config["hidden_size"]),
        "block_count": int(config["num_hidden_layers"]),
        "feed_forward_length": int(config["intermediate_size"]),
        "vocab_size": int(config["vocab_size"]),
        "attention.head_count": heads,
        "attention.head_count_kv": int(config.get("num_key_value_heads") or heads),
        "attention.layer_norm_rms_epsilon": float(np.float32(config["rms_norm_eps"])),
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "rope.freq_base": float(np.float32(rope.get("rope_theta", 10000.0))),
        **_scaling(rope),
    }
    if name == "llama":
        fields["rope.dimension_count"] = head_dim
    if name == "gemma3":
        fields |= {key: config.get(key) for key in ("final_logit_softcapping",)}
        fields["attention.sliding_window"] = int(config["sliding_window"])
    return fields


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the rotary settings; of a model with two kinds of layers those that see the whole text."""
    found: Mapping[str, Any] = config.get("rope_parameters") or {}
    return found.get("full_attention") or found


def _scaling(rope: Mapping[str, Any]) -> Json:
    if rope.get("rope_type") not in ("linear", "yarn"):
        return {}
    original = rope.get("original_max_position_embeddings")
    return {
        "rope.scaling.type": str(rope["rope_type"]),
        "rope.scaling.factor": float(np.float32(rope["factor"])),
        "rope.scaling.original_context_length": None if original is None else int(original),
    }


def _rope_factors(config: Mapping[str, Any]) -> NDArray[np.float32] | None:
    """Return by how much Llama 3.1's scaling slows each rotary frequency, as llama.cpp's converter stores it."""
    rope = _rope(config)
    if rope.get("rope_type") != "llama3":
        return None
    head_dim = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    low, high, factor = (float(rope[key]) for key in ("low_freq_factor", "high_freq_factor", "factor"))
    waves = 2 * np.pi * float(rope["rope_theta"]) ** (np.arange(0, head_dim, 2) / head_dim)  # tokens a turn
    smooth = np.clip((float(rope["original_max_position_embeddings"]) / waves - low) / (high - low), 0.0, 1.0)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def _token_ids(config: Mapping[str, Any], generation: Mapping[str, Any]) -> Json:
    """Return the ids of special tokens; of several that end a text the second is the end of a turn."""
    ends = [*_listed(config.get("eos_token_id")), *_listed(generation.get("eos_token_id"))]
    ends = list(dict.fromkeys(ends))[:2]
    found = {
        "bos": config.get("bos_token_id"),
        "eos": ends[0] if ends else None,
        "eot": ends[1] if len(ends) > 1 else None,
        "padding": config.get("pad_token_id"),
    }
    return {
        f"tokenizer.ggml.{role}_token_id": int(i) for role, i in found.items() if i is not None and i >= 0
    }


def _listed(value: Any) -> list[int]:
    return [] if value is None else [int(i) for i in value] if isinstance(value, list) else [int(value)]


def _require_same(
    name: str, mine: Mapping[str, Any], metadata: Mapping[str, Any], tensors: Mapping[str, Any]
) -> None:
    found, _ = model_config(metadata, ARCHITECTURES[name], tensors)
    theirs = _complete(found)
    wrong = [key for key in COMPUTED if not _equal(mine.get(key), theirs.get(key))]
    if wrong:
        told = "; ".join(f"{key} is {mine.get(key)!r}, not {theirs.get(key)!r}" for key in wrong)
        raise TokswapError(f"a GGUF can't say how this {name} model computes: {told}", HINT)


def _equal(a: Any, b: Any) -> bool:
    """Compare settings; absent, None and False are alike, and numbers are as a GGUF keeps them, in float32."""
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = ({key: value for key, value in side.items() if value is not None} for side in (a, b))
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return bool(np.float32(a) == np.float32(b))
    return (a or None) == (b or None)
