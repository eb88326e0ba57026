"""Write config.json from GGUF metadata, for the architectures whose tensors tokswap knows.

Both spellings of the rotary settings are written: `rope_theta`, `rope_scaling`, `rope_local_base_freq` are
read by transformers 4, `rope_parameters` by transformers 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tokswap.errors import TokswapError
from tokswap.pretokenizers import Json

GEMMA3_PATTERN = 6  # every sixth layer of Gemma 3 sees all the text, the five before it a window
GEMMA3_LOCAL_THETA = 10000.0  # rotary base of the window layers, the same in all published sizes
GEMMA3_27B_LAYERS = 62  # the one size that scales queries by width per head instead of by head_dim
LLAMA3_ORIGINAL_CONTEXT = 8192  # tokens; Llama 3.1 and later stretch rotary frequencies from here
_DEFAULT_THETA = 10000.0


@dataclass(frozen=True)
class Architecture:
    """How one GGUF architecture becomes a transformers checkpoint.

    `names` maps tensor names beyond the common ones; `rotated` says that Q and K rows are reordered;
    `norm_offset` that norms are stored as 1 + weight; `extra` gives the rest of config.json.
    """

    model_type: str
    model_class: str
    names: Mapping[str, str]
    extra: Callable[[_Fields], Json]
    rotated: bool = False
    norm_offset: bool = False


@dataclass(frozen=True)
class _Fields:
    """Metadata under the architecture's prefix, and the tensors (for shapes and presence)."""

    metadata: Mapping[str, Any]
    prefix: str
    tensors: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def get(self, name: str, default: Any = None) -> Any:
        return self.metadata.get(f"{self.prefix}.{name}", default)

    def need(self, name: str) -> Any:
        value = self.get(name)
        if value is None:
            hint = "the file is incomplete: convert the model to GGUF again"
            raise TokswapError(f"the GGUF lacks {self.prefix}.{name}", hint)
        return value

    @property
    def head_dim(self) -> int:
        width = int(self.need("embedding_length")) // int(self.need("attention.head_count"))
        return int(self.get("attention.key_length") or self.get("rope.dimension_count") or width)


def model_config(
    metadata: Mapping[str, Any], architecture: Architecture, tensors: Mapping[str, Any]
) -> tuple[Json, tuple[str, ...]]:
    """Return (config.json, notes). `tensors` maps GGUF names to anything with a `shape`, fastest axis first."""
    fields = _Fields(metadata, str(metadata["general.architecture"]), tensors)
    heads = int(fields.need("attention.head_count"))
    config: Json = {
        "architectures": [architecture.model_class],
        "model_type": architecture.model_type,
        "vocab_size": _rows(tensors),
        "hidden_size": int(fields.need("embedding_length")),
        "intermediate_size": int(fields.need("feed_forward_length")),
        "num_hidden_layers": int(fields.need("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(fields.get("attention.head_count_kv", heads)),
        "head_dim": fields.head_dim,
        "max_position_embeddings": int(fields.need("context_length")),
        "rms_norm_eps": _short(fields.need("attention.layer_norm_rms_epsilon")),
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": "bfloat16",  # transformers 5 calls it `dtype` and reads both
        "use_cache": True,
    }
    return config | _token_ids(metadata) | architecture.extra(fields), ()


def generation_config(metadata: Mapping[str, Any]) -> Json:
    """Return generation_config.json: the token ids; the end of a turn ends generation too."""
    ids = _token_ids(metadata)
    ends = [ids["eos_token_id"], metadata.get("tokenizer.ggml.eot_token_id")]
    ends = [int(end) for end in dict.fromkeys(ends) if end is not None]
    return ids | {"eos_token_id": ends[0] if len(ends) == 1 else ends or None}


def _token_ids(metadata: Mapping[str, Any]) -> Json:
    roles = {"bos": "bos", "eos": "eos", "pad": "padding"}
    found = {role: metadata.get(f"tokenizer.ggml.{name}_token_id") for role, name in roles.items()}
    return {f"{role}_token_id": None if i is None else int(i) for role, i in found.items()}


def _rows(tensors: Mapping[str, Any]) -> int:
    if "token_embd.weight" not in tensors:
        hint = "the file is incomplete: download it again"
        raise TokswapError("the GGUF holds no token embeddings (token_embd.weight)", hint)
    return int(tensors["token_embd.weight"].shape[1])


def _short(value: float) -> float:
    """Return the shortest decimal that is the same float32: 9.99999974e-06 was 1e-05."""
    return float(str(np.float32(value)))


def _rope(theta: float, scaling: Json | None) -> Json:
    parameters: Json = {"rope_type": "default"} | (scaling or {}) | {"rope_theta": theta}
    return {"rope_theta": theta, "rope_scaling": scaling, "rope_parameters": parameters}


def _scaling(fields: _Fields) -> Json | None:
    kind = str(fields.get("rope.scaling.type", "none"))
    if kind in ("none", ""):
        return None
    scaling: Json = {"rope_type": kind, "factor": _short(fields.get("rope.scaling.factor", 1.0))}
    if (original := fields.get("rope.scaling.original_context_length")) is not None:
        scaling["original_max_position_embeddings"] = int(original)
    return scaling


def _theta(fields: _Fields) -> float:
    return _short(fields.get("rope.freq_base", _DEFAULT_THETA))


def llama3_scaling(factors: np.ndarray, theta: float) -> Json:
    """Return Llama 3.1's rotary scaling from the per-frequency factors that a GGUF keeps instead.

    Raises TokswapError when the factors follow no setting of that rule.
    """
    factor = round(float(factors.max()), 3)
    rule: Json = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rule["original_max_position_embeddings"] = LLAMA3_ORIGINAL_CONTEXT
    waves = 2 * np.pi * theta ** (np.arange(len(factors)) / len(factors))  # tokens per turn
    smooth = np.clip((LLAMA3_ORIGINAL_CONTEXT / waves - 1.0) / (4.0 - 1.0), 0.0, 1.0)
    if not np.allclose(factors, 1 / ((1 - smooth) / factor + smooth), rtol=1e-3):
        hint = "give the model's safetensors folder or its Hub id instead"
        raise TokswapError("the GGUF's rope_freqs follow no known rotary scaling", hint)
    return rule


def _llama(fields: _Fields) -> Json:
    factors = fields.tensors.get("rope_freqs.weight")
    theta = _theta(fields)
    scaling = _scaling(fields) if factors is None else llama3_scaling(np.asarray(factors.data), theta)
    bias = "blk.0.attn_q.bias" in fields.tensors
    return {"hidden_act": "silu", "attention_bias": bias, "mlp_bias": False} | _rope(theta, scaling)


def _qwen2(fields: _Fields) -> Json:
    return {"hidden_act": "silu", "use_sliding_window": False} | _rope(_theta(fields), _scaling(fields))


def _qwen3(fields: _Fields) -> Json:
    return {"attention_bias": False} | _qwen2(fields)


def _gemma3(fields: _Fields) -> Json:
    layers = int(fields.need("block_count"))
    theta, scaling = _theta(fields), _scaling(fields)
    heads = int(fields.need("attention.head_count"))
    per_head = int(fields.need("embedding_length")) // heads
    local: Json = {"rope_type": "default", "rope_theta": GEMMA3_LOCAL_THETA}
    kinds = [_gemma3_layer(number) for number in range(1, layers + 1)]
    return (
        {
            "hidden_activation": "gelu_pytorch_tanh",
            "attention_bias": False,
            "query_pre_attn_scalar": per_head if layers == GEMMA3_27B_LAYERS else fields.head_dim,
            "sliding_window": int(fields.need("attention.sliding_window")),
            "layer_types": kinds,
            "final_logit_softcapping": fields.get("final_logit_softcapping"),
            "attn_logit_softcapping": None,
            "rope_local_base_freq": GEMMA3_LOCAL_THETA,
        }
        | _rope(theta, scaling)
        | {
            "rope_parameters": {
                "full_attention": {"rope_type": "default"} | (scaling or {}) | {"rope_theta": theta},
                "sliding_attention": local,
            }
        }
    )


def _gemma3_layer(number: int) -> str:
    return "full_attention" if number % GEMMA3_PATTERN == 0 else "sliding_attention"


_PRE_NORM = {"ffn_norm": "post_attention_layernorm"}
_SANDWICH = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}

ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("llama", "LlamaForCausalLM", _PRE_NORM, _llama, rotated=True),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", _PRE_NORM, _qwen2),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", _PRE_NORM, _qwen3),
    "gemma3": Architecture("gemma3_text", "Gemma3ForCausalLM", _SANDWICH, _gemma3, norm_offset=True),
}
