"""Turn a GGUF file into an ordinary checkpoint folder: config, safetensors, tokenizer.

Tensors are dequantised one at a time and written as bfloat16, the type these models were trained and
published in: the rounding (2^-9 of a value) is far below that of the 4 to 8 bit blocks it comes from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tokswap.errors import TokswapError
from tokswap.gguf_config import ARCHITECTURES, Architecture, generation_config, model_config
from tokswap.gguf_tokenizer import tokenizer_from_metadata
from tokswap.reasons import reason_of

Progress = Callable[[str, int, int], None]

CONVERTER_VERSION = 1  # goes up when the same GGUF would give other files: older conversions are then redone
SHARD_BYTES = 2 * 1024**3  # one shard is held in memory while it is written
_BYTES_PER_VALUE = 2  # bfloat16

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
}
_EVERY_LAYER = ("attn_q", "attn_k", "attn_v", "attn_output", "attn_norm", "ffn_gate", "ffn_up", "ffn_down")
_SIDE_TENSORS = {"rope_freqs.weight"}  # folded into config.json, no tensor of the checkpoint
_BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)")
_TOP = re.compile(r"(token_embd|output_norm|output)\.(weight|bias)")


def read_metadata(path: Path) -> tuple[Any, dict[str, Any]]:
    """Open a GGUF: (the gguf package's reader, its metadata as plain Python values).

    Raises TokswapError when it isn't one, is cut short, or is one part of several.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
    except FileNotFoundError as error:
        raise TokswapError(f"no such file: {path}", "check the path") from error
    except (ValueError, IndexError, KeyError, OSError, OverflowError) as error:
        raise TokswapError(
            f"{path.name} can't be read as GGUF: {reason_of(error)}", "download it again"
        ) from error
    if int(metadata.get("split.count", 1)) > 1:
        hint = "merge the parts first: llama-gguf-split --merge FIRST-PART OUTPUT"
        raise TokswapError(f"{path.name} is one part of {metadata['split.count']}", hint)
    return reader, metadata


def convert_gguf(path: Path, folder: Path, on_progress: Progress | None = None) -> tuple[str, ...]:
    """Write the checkpoint that a GGUF file holds into `folder` (made if missing); return notes.

    Reports ("convert", bytes read, bytes in all). Raises TokswapError for an architecture, tokenizer or
    quantisation that isn't known. Not atomic: the caller gives a folder of its own and renames it.
    """
    reader, metadata = read_metadata(path)
    architecture = _architecture(metadata)
    tokenizer = tokenizer_from_metadata(metadata)
    tensors: dict[str, Any] = {tensor.name: tensor for tensor in reader.tensors}
    config, notes = model_config(metadata, architecture, tensors)
    _require_layers(tensors, config["num_hidden_layers"])
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", generation_config(metadata))
    _write_json(folder / "tokenizer.json", tokenizer.tokenizer)
    _write_json(folder / "tokenizer_config.json", tokenizer.config)
    _write_tensors(folder, tensors, architecture, config, on_progress)
    return (*tokenizer.notes, *notes)


def _architecture(metadata: Mapping[str, Any]) -> Architecture:
    name = str(metadata.get("general.architecture", "missing"))
    experts = int(metadata.get(f"{name}.expert_count", 0))
    if name not in ARCHITECTURES or experts:
        found = f"{name} with {experts} experts" if experts else name
        known = ", ".join(sorted(ARCHITECTURES))
        raise TokswapError(
            f"the GGUF's architecture is {found}; those that can be converted: {known} (dense)",
            "give the model's safetensors folder or its Hub id instead",
        )
    return ARCHITECTURES[name]


def hf_name(name: str, architecture: Architecture) -> str:
    """Return the checkpoint's name for a GGUF tensor; TokswapError for one that has no place there."""
    if match := _TOP.fullmatch(name):
        return f"{NAMES[match[1]]}.{match[2]}"
    match = _BLOCK.fullmatch(name)
    names = NAMES | dict(architecture.names)
    if match is None or match[2] not in names:
        hint = "give the model's safetensors folder or its Hub id instead"
        raise TokswapError(f"the GGUF holds a tensor tokswap can't place: {name}", hint)
    return f"model.layers.{match[1]}.{names[match[2]]}.{match[3]}"


def _require_layers(tensors: Mapping[str, Any], layers: int) -> None:
    """Refuse a file in which a layer lacks a tensor that other layers have: it would load with noise there."""
    found = [match.group(2, 3) for name in tensors if (match := _BLOCK.fullmatch(name))]
    wanted = {".".join(module) for module in found} | {f"{module}.weight" for module in _EVERY_LAYER}
    names = ["output_norm.weight", *(f"blk.{layer}.{module}" for layer in range(layers) for module in wanted)]
    missing = sorted(set(names) - set(tensors))
    if missing:
        hint = "the file is incomplete: download it again, or convert the model to GGUF again"
        raise TokswapError(f"the GGUF lacks {len(missing)} tensors, such as {missing[0]}", hint)


def _values(tensor: Any, architecture: Architecture, config: Mapping[str, Any]) -> np.ndarray:
    """Dequantise one tensor to float32 in the layout of transformers."""
    from gguf.quants import dequantize

    try:
        values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    except NotImplementedError as error:
        kind = tensor.tensor_type.name
        hint = "use another quantisation of it (Q4_K_M, Q8_0, F16, …)"
        raise TokswapError(
            f"the GGUF's tensor {tensor.name} is stored as {kind}, unknown here", hint
        ) from error
    if architecture.rotated and re.search(r"\.attn_[qk]\.", tensor.name):
        heads = config["num_attention_heads" if ".attn_q." in tensor.name else "num_key_value_heads"]
        return unpermuted(values, int(heads))
    if architecture.norm_offset and tensor.name.endswith("norm.weight"):
        return values - 1.0  # stored as the factor, applied as 1 + weight
    return values


def unpermuted(values: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's reordering of Q and K rows (pairs side by side) into transformers' (two halves)."""
    half = values.shape[0] // heads // 2
    return values.reshape(heads, half, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _shards(tensors: Mapping[str, Any]) -> list[list[str]]:
    """Divide the tensor names, in order, into shards of at most SHARD_BYTES (or one tensor)."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        bytes_here = int(tensor.n_elements) * _BYTES_PER_VALUE
        if shards[-1] and size + bytes_here > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += bytes_here
    return shards


def _write_tensors(
    folder: Path,
    tensors: Mapping[str, Any],
    architecture: Architecture,
    config: Mapping[str, Any],
    on_progress: Progress | None,
) -> None:
    from safetensors.torch import save_file

    wanted = {name: tensor for name, tensor in tensors.items() if name not in _SIDE_TENSORS}
    total = sum(int(tensor.n_bytes) for tensor in wanted.values())
    shards = _shards(wanted)
    where: dict[str, str] = {}
    done = 0
    for number, names in enumerate(shards, start=1):
        file = _shard_name(number, len(shards))
        shard: dict[str, Any] = {}
        for name in names:
            shard[hf_name(name, architecture)] = _bfloat16(_values(wanted[name], architecture, config))
            done += int(wanted[name].n_bytes)
            if on_progress:
                on_progress("convert", done, total)
        save_file(shard, folder / file, metadata={"format": "pt"})
        (folder / file).chmod((folder / "config.json").stat().st_mode)  # safetensors writes 0600
        where |= dict.fromkeys(shard, file)
    if len(shards) > 1:
        size = sum(int(tensor.n_elements) * _BYTES_PER_VALUE for tensor in wanted.values())
        index = {"metadata": {"total_size": size}, "weight_map": where}
        _write_json(folder / "model.safetensors.index.json", index)


def _shard_name(number: int, count: int) -> str:
    return "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"


def _bfloat16(values: np.ndarray) -> Any:
    import torch

    return torch.tensor(values).to(torch.bfloat16)  # a copy: values may be the read-only file itself


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
