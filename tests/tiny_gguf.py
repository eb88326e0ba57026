"""Tiny GGUF files, written as llama.cpp's converter writes them, from tiny seeded transformers models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

BOS, EOS, UNK, PAD = 0, 1, 2, 3

_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_GEMMA_NAMES = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def tiny_model(arch: str, rows: int, *, tied: bool = True) -> Any:
    import torch
    import transformers as tf

    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": rows}
    sizes |= {"max_position_embeddings": 512, "tie_word_embeddings": tied, "initializer_range": 0.2}
    sizes |= {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
    rope: dict[str, Any] = {"rope_parameters": {"rope_type": "default", "rope_theta": 50000.0}}
    local: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "llama": (tf.LlamaConfig, tf.LlamaForCausalLM, rope),
        "qwen2": (tf.Qwen2Config, tf.Qwen2ForCausalLM, rope),
        "qwen3": (tf.Qwen3Config, tf.Qwen3ForCausalLM, rope),
        "gemma3": (
            tf.Gemma3TextConfig,
            tf.Gemma3ForCausalLM,
            {"query_pre_attn_scalar": 16, "sliding_window": 8}
            | {"rope_parameters": {"full_attention": rope["rope_parameters"], "sliding_attention": local}},
        ),
    }
    config, model_class, extra = kinds[arch]
    torch.manual_seed(0)
    model = model_class(config(**(sizes | extra))).eval()
    for name, value in model.named_parameters():
        if (
            value.ndim == 1
        ):  # fresh norms and biases are ones or zeros: any mistake in them would be invisible
            torch.nn.init.normal_(value, mean=0.0 if "bias" in name else 0.5, std=0.3)
        value.data = value.data.bfloat16().float()  # what the conversion keeps; rotary buffers stay exact
    return model


def permuted(values: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's reordering of Q and K rows, as its converter does it."""
    shape = (heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return values.reshape(shape).swapaxes(1, 2).reshape(values.shape)


def gguf_tensor(arch: str, name: str, values: np.ndarray, config: Any) -> tuple[str, np.ndarray]:
    names = _GGUF_NAMES | (_GEMMA_NAMES if arch == "gemma3" else {})
    stem, kind = name.rsplit(".", 1)
    if stem.startswith("model.layers."):
        _, _, layer, module = stem.split(".", 3)
        stem = f"blk.{layer}.{names[module]}"
    else:
        stem = names[stem]
    if arch == "llama" and stem.endswith(("attn_q", "attn_k")):
        heads = config.num_attention_heads if stem.endswith("attn_q") else config.num_key_value_heads
        values = permuted(values, heads)
    if arch == "gemma3" and stem.endswith("norm"):
        values = values + 1.0
    return f"{stem}.{kind}", values


def byte_level_fields(pre: str = "smollm") -> dict[str, Any]:
    """A byte-level vocabulary: four control tokens, all bytes, a few merges, a user token, a padding row."""
    from tokswap.vocab import gpt2_alphabet

    merges = ["Ġ t", "h e", "Ġt he", "1 2", "i n"]
    texts = ["<s>", "</s>", "<unk>", "<pad>", *gpt2_alphabet(), *(m.replace(" ", "") for m in merges)]
    texts += ["<think>", "[PAD266]"]
    types = [3] * 4 + [1] * (len(texts) - 6) + [4, 5]
    return {"model": "gpt2", "pre": pre, "tokens": texts, "types": types, "merges": merges}


def sentencepiece_fields(space_prefix: bool = False) -> dict[str, Any]:
    """A SentencePiece vocabulary with byte pieces, runs of spaces written as spaces, and scores."""
    control, user = ["<s>", "</s>", "<unk>", "<pad>", "<unused0>"], ["\n", "\n\n", "  ", "   ", "<b>"]
    pieces = ["▁t", "he", "▁the", "in", "▁", *"abcdefghijklmnopqrstuvwxyz"]
    texts = [*control, *user, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    types = [3] * 5 + [4] * 5 + [6] * 256 + [1] * len(pieces)
    scores = [-1000.0] * 10 + [0.0] * 256 + [-float(rank) for rank in range(len(pieces))]
    more = {"scores": scores, "add_space_prefix": space_prefix, "add_bos_token": True}
    return {"model": "llama", "pre": "default", "tokens": texts, "types": types} | more


def write_gguf(
    path: Path, arch: str, model: Any, tokenizer: dict[str, Any], *, omit: tuple[str, ...] = (), **more: Any
) -> Path:
    """Write model and tokenizer; `more` adds metadata fields of type int or bool, `omit` leaves tensors out."""
    import gguf

    config = model.config
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(50000.0)
    writer.add_key_length(config.head_dim)
    if arch == "gemma3":
        writer.add_sliding_window(config.sliding_window)
    _write_tokenizer(writer, tokenizer)
    for name, value in more.items():
        writer.add_uint32(name.replace("__", "."), value)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        place, values = gguf_tensor(arch, name, tensor.float().numpy(), config)
        if place not in omit:
            writer.add_tensor(place, np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tokenizer(writer: Any, fields: dict[str, Any]) -> None:
    writer.add_tokenizer_model(fields["model"])
    writer.add_tokenizer_pre(fields["pre"])
    writer.add_token_list(fields["tokens"])
    writer.add_token_types(fields["types"])
    if "merges" in fields:
        writer.add_token_merges(fields["merges"])
    if "scores" in fields:
        writer.add_token_scores(fields["scores"])
    if "add_space_prefix" in fields:
        writer.add_add_space_prefix(fields["add_space_prefix"])
    if "add_bos_token" in fields:
        writer.add_add_bos_token(fields["add_bos_token"])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_unk_token_id(UNK)
    writer.add_pad_token_id(PAD)
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}")
