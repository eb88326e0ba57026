"""Tiny seeded models and tokenizers, saved as checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

CORPUS = [
    "The harbour wall was built by people who needed somewhere to tie up three boats.\n",
    "def median(values: list[float]) -> float:\n    return sorted(values)[len(values) // 2]\n",
    "Le phare éclaire la baie; naïve façade, 42 œufs — 水路 and 🙂.\n",
] * 4


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
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
        "gemma2": (
            transformers.Gemma2Config,
            transformers.Gemma2ForCausalLM,
            {"final_logit_softcapping": 3.0, "head_dim": 16, "query_pre_attn_scalar": 16},
        ),
        "cohere": (transformers.CohereConfig, transformers.CohereForCausalLM, {"logit_scale": 0.25}),
        "phi": (transformers.PhiConfig, transformers.PhiForCausalLM, {"num_key_value_heads": 2}),
    }
    config, cls, special = kinds[kind]
    torch.manual_seed(seed)
    model = cls(config(**sizes | special | more)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


def save_model(folder: Path, **how: Any) -> Path:
    tiny_model(**how).save_pretrained(folder)
    return folder


def byte_level(merges: int = 40, corpus: list[str] = CORPUS) -> dict[str, Any]:
    """A byte-level BPE with `<s>` as id 0, all bytes, and some merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=257 + merges, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    engine.train_from_iterator(corpus, trainer)
    return json.loads(engine.to_str())


def sentencepiece(prefix_space: bool = True) -> dict[str, Any]:
    """A BPE in SentencePiece's manner: `▁` for a space, one put first, other characters as bytes."""
    words = {"▁the": 1, "the": 2, "▁": 3, "▁wall": 4}
    vocab = {"<s>": 0} | words | {f"<0x{byte:02X}>": 5 + byte for byte in range(256)}
    for letter in "abcdefghijklmnopqrstuvwxyzT":
        vocab[letter] = len(vocab)
    for text in ("th", "▁th", "al", "▁w", "▁wal"):
        vocab[text] = len(vocab)
    merges = [
        ["t", "h"],
        ["▁", "th"],
        ["▁th", "e"],
        ["th", "e"],
        ["a", "l"],
        ["▁", "w"],
        ["▁w", "al"],
        ["▁wal", "l"],
    ]
    first = [{"type": "Prepend", "prepend": "▁"}] if prefix_space else []
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": 0,
                "content": "<s>",
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
            }
            | {"normalized": False}
        ],
        "normalizer": {"type": "Sequence", "normalizers": [*first, replace]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": True, "unk_token": None},
    }


def lower_casing() -> dict[str, Any]:
    """A byte-level BPE that lower-cases first: what it reads isn't what was written."""
    tokenizer = byte_level()
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}
    return tokenizer


def checkpoint(folder: Path, tokenizer: dict[str, Any], **how: Any) -> Any:
    """Save a tiny model with a tokenizer and open it."""
    from tokswap.checkpoint import open_checkpoint

    save_model(folder, **{"rows": 304} | how)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<s>"}))
    return open_checkpoint(folder)
