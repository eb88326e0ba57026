from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def tiny_model(kind: str = "llama", rows: int = 300, seed: int = 0, **more: Any) -> Any:
    import transformers

    sizes: dict[str, Any] = {
        "vocab_size": rows,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    torch.manual_seed(seed)
    match kind:
        case "llama":
            config, cls = transformers.LlamaConfig(**sizes | more), transformers.LlamaForCausalLM
        case "gemma2":
            capped = {"final_logit_softcapping": 3.0, "head_dim": 16, "query_pre_attn_scalar": 16}
            config, cls = transformers.Gemma2Config(**sizes | capped | more), transformers.Gemma2ForCausalLM
        case "cohere":
            config, cls = (
                transformers.CohereConfig(**sizes | {"logit_scale": 0.25} | more),
                transformers.CohereForCausalLM,
            )
        case "phi":
            config, cls = (
                transformers.PhiConfig(**sizes | {"num_key_value_heads": 2} | more),
                transformers.PhiForCausalLM,
            )
        case _:
            raise AssertionError(kind)
    model = cls(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


def save_model(folder: Path, **how: Any) -> Path:
    tiny_model(**how).save_pretrained(folder)
    return folder
