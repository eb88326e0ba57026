"""Small hypernetworks with weights that are all different, and the configurations of the released ones."""

from __future__ import annotations

from typing import Any

import torch

from tokswap.hypernet.config import HypernetConfig, make_config
from tokswap.hypernet.files import Hypernet, build_network

RELEASED: dict[str, Any] = {
    "model_type": "zett_hypernetwork", "hn_model_type": "roberta", "hn_model_name_or_path": "roberta-base",
    "hn_n_layers": 3, "hn_surface_maxlen": 7, "hn_rescale_embeddings": True, "hn_predict_bias": True,
    "hn_embed_using_source_embeddings": True, "hn_embed_target_priors": False, "hn_single_head": False,
    "hn_add_inter_token_attention": False, "hn_concat_last_hidden_state": False, "hn_embed_lang_id": False,
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {
    "xlm-roberta-base": {
        "n_embd": 768, "hn_hidden_size": 768, "hn_intermediate_size": 1536, "hn_n_extra_tokens": 162,
        "original_vocab_size": 250_002, "pad_token_id": 1, "hn_embed_lang_id": True, "n_langs": 26,
    },
    "tinyllama": {
        "n_embd": 2048, "hn_hidden_size": 2048, "hn_intermediate_size": 4096, "hn_n_extra_tokens": 362,
        "original_vocab_size": 32_000, "pad_token_id": 2, "separate_out_embeddings": True,
    },
    "mistral-7b": {
        "n_embd": 4096, "hn_hidden_size": 4096, "hn_intermediate_size": 8192, "hn_n_extra_tokens": 522,
        "original_vocab_size": 32_000, "pad_token_id": 2, "separate_out_embeddings": True,
    },
}  # fmt: skip
TINY: dict[str, Any] = {
    "n_embd": 12, "hn_hidden_size": 16, "hn_intermediate_size": 24, "hn_num_attention_heads": 2,
    "hn_n_extra_tokens": 5, "original_vocab_size": 40, "pad_token_id": 1, "hn_surface_maxlen": 7,
}  # fmt: skip
RESIDUAL: dict[str, Any] = {
    "model_type": "tokswap_residual_hypernetwork", "n_embd": 24, "hn_hidden_size": 16, "hn_intermediate_size": 24,
    "hn_num_attention_heads": 2, "hn_n_layers": 2, "hn_surface_maxlen": 5, "original_vocab_size": 160,
    "pad_token_id": 159, "hn_predict_bias": False,
}  # fmt: skip


def released(name: str) -> HypernetConfig:
    return make_config(RELEASED | SIZES[name])


def tiny(**more: Any) -> Hypernet:
    return _random(make_config(RELEASED | TINY | more))


def residual(**more: Any) -> Hypernet:
    return _random(make_config(RESIDUAL | more))


def _random(config: HypernetConfig) -> Hypernet:
    generator = torch.Generator().manual_seed(0)
    network = build_network(config).eval().requires_grad_(False)
    for name, tensor in network.state_dict().items():
        gain = name.endswith(("LayerNorm.weight", "ln.weight", "caler.w", "scale"))
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + gain)
    return Hypernet(config, network)
