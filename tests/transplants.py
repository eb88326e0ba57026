"""Tiny models with tokenizers, and the shortest way to move one onto the tokenizer of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as tf

import tokswap

ROWS = 304
SMALL: dict[str, Any] = {
    "vocab_size": ROWS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None,
}  # fmt: skip


def saved(model: Any, folder: Path, tokenizer: dict[str, Any]) -> Path:
    model.save_pretrained(folder)
    return with_tokenizer(folder, tokenizer)


def with_tokenizer(folder: Path, tokenizer: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<s>"}))
    return folder


def llama(tied: bool = True, rows: int = ROWS) -> Any:
    torch.manual_seed(0)
    return tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL | {"vocab_size": rows}, tie_word_embeddings=tied))


def gemma3n(per_layer_rows: int) -> Any:
    torch.manual_seed(0)
    more = {
        "intermediate_size": [48, 48], "vocab_size_per_layer_input": per_layer_rows, "hidden_size_per_layer_input": 8,
        "head_dim": 16, "laurel_rank": 4, "num_kv_shared_layers": 0, "sliding_window": 64, "altup_num_inputs": 2,
        "layer_types": ["sliding_attention", "full_attention"], "activation_sparsity_pattern": [0.0, 0.0],
    }  # fmt: skip
    return tf.Gemma3nForCausalLM(tf.Gemma3nTextConfig(**SMALL | more))


def moved(base: Path, donor: Path, out: Path, **more: Any) -> Path:
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False} | more
    tokswap.transplant(str(base), str(donor), out=str(out), **how)
    return out


def table_of(folder: Path, end: str) -> torch.Tensor:
    from safetensors.torch import load_file

    found = [t for name, t in load_file(folder / "model.safetensors").items() if name.endswith(end)]
    assert len(found) == 1
    return found[0]
