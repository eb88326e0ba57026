"""Tiny models of exactly the architectures that people move, built from their own config classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from transplants import ROWS, SMALL, gemma3n, llama

PLAIN = {key: value for key, value in SMALL.items() if key != "num_key_value_heads"}
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
EXTRA_ROWS = 8  # Mllama's


def qwen2(**more: Any) -> Any:
    return tf.Qwen2ForCausalLM(tf.Qwen2Config(**SMALL | more))


def qwen3() -> Any:
    return tf.Qwen3ForCausalLM(tf.Qwen3Config(**SMALL, head_dim=16, tie_word_embeddings=True))


def gemma3() -> Any:
    return tf.Gemma3ForCausalLM(tf.Gemma3TextConfig(**SMALL, head_dim=16))


def gemma3_wrapped() -> Any:
    text = tf.Gemma3TextConfig(**SMALL, head_dim=16).to_dict()
    ids = {"image_token_index": ROWS - 5, "boi_token_index": ROWS - 4, "eoi_token_index": ROWS - 3}
    return tf.Gemma3ForConditionalGeneration(tf.Gemma3Config(text_config=text, vision_config=VISION, **ids))


def gemma4() -> Any:
    small = SMALL | {"num_global_key_value_heads": 1, "global_head_dim": 16}
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64}
    per_layer = {"vocab_size_per_layer_input": ROWS, "hidden_size_per_layer_input": 8}
    return tf.Gemma4ForCausalLM(tf.Gemma4TextConfig(**small | layers | per_layer, head_dim=16))


def qwen2_vl() -> Any:
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    text = SMALL | {"rope_parameters": rope}
    vision = {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 14}
    ids = {"image_token_id": ROWS - 5, "video_token_id": ROWS - 4}
    return tf.Qwen2VLForConditionalGeneration(tf.Qwen2VLConfig(text_config=text, vision_config=vision, **ids))


def mllama() -> Any:
    text = SMALL | {"cross_attention_layers": [1], "pad_token_id": 0, "num_key_value_heads": 2}
    vision = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_global_layers": 1, "image_size": 28,
        "attention_heads": 2, "patch_size": 14, "vision_output_dim": 32, "intermediate_layers_indices": [0],
        "max_num_tiles": 1, "supported_aspect_ratios": [[1, 1]],
    }  # fmt: skip
    config = tf.MllamaConfig(text_config=text, vision_config=vision, image_token_index=ROWS)
    return tf.MllamaForConditionalGeneration(config)


def phi() -> Any:
    return with_bias(tf.PhiForCausalLM(tf.PhiConfig(**SMALL | {"num_key_value_heads": 2})))


def gpt2() -> Any:
    return tf.GPT2LMHeadModel(
        tf.GPT2Config(vocab_size=ROWS, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    )


def neox() -> Any:
    return tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**PLAIN))


def bert() -> Any:
    return with_bias(tf.BertForMaskedLM(tf.BertConfig(**PLAIN)))


def roberta() -> Any:
    return with_bias(
        tf.RobertaForMaskedLM(tf.RobertaConfig(**PLAIN | {"pad_token_id": 1}, max_position_embeddings=130))
    )


def mixtral() -> Any:
    return tf.MixtralForCausalLM(tf.MixtralConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2))


def with_bias(model: Any) -> Any:
    """Give every bias a value of its own: zeros would hide a bias that stayed behind."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "llama": lambda: llama(tied=False), "llama, tied": llama, "qwen2": qwen2, "qwen3": qwen3, "gemma3": gemma3,
    "gemma3, wrapped": gemma3_wrapped, "gemma3n": lambda: gemma3n(ROWS), "gemma4": gemma4, "qwen2-vl": qwen2_vl,
    "mllama": mllama, "phi": phi, "gpt2": gpt2, "neox": neox, "bert": bert, "roberta": roberta, "mixtral": mixtral,
}  # fmt: skip


def fp8_body(folder: Path) -> None:
    """Store the body as DeepSeek's FP8 does: eight-bit weights and a table of scales beside each."""
    out: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.endswith("proj.weight"):
            out[name] = tensor.to(torch.float8_e4m3fn)
            out[f"{name}_scale_inv"] = torch.ones(1, 1)
        else:
            out[name] = tensor.bfloat16()
    save_file(out, folder / "model.safetensors", metadata={"format": "pt"})


def gptq_body(folder: Path) -> None:
    """Store the body as GPTQ does: packed integers, zero points, scales and the order of groups."""
    out: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name.endswith("proj.weight"):
            stem = name.removesuffix("weight")
            rows, columns = tensor.shape
            out[f"{stem}qweight"] = torch.arange(columns // 8 * rows, dtype=torch.int32).view(-1, rows)
            out[f"{stem}qzeros"] = torch.ones(1, rows // 8, dtype=torch.int32)
            out[f"{stem}scales"] = torch.ones(1, rows, dtype=torch.float16)
            out[f"{stem}g_idx"] = torch.zeros(columns, dtype=torch.int32)
        else:
            out[name] = tensor.half()
    save_file(out, folder / "model.safetensors", metadata={"format": "pt"})
