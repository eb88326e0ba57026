"""Write a checkpoint as GGUF: what `gguf_convert` reads, the other way round.

    check = plan_gguf(open_checkpoint(folder))            # raises before any work where it can't be
    write_gguf(check, open_checkpoint(folder), Path("model.gguf"))

Matrices keep their stored type or get another; vectors (norms, biases) are float32, as llama.cpp wants them. One
tensor is held in memory at a time, and the file is read back before it counts as written.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.errors import TokswapError
from tokswap.gguf_config import ARCHITECTURES, Architecture
from tokswap.gguf_convert import NAMES, read_metadata
from tokswap.gguf_export_config import GgufConfig, gguf_architecture, gguf_config
from tokswap.gguf_export_tokenizer import require_same_tokenizer, tokenizer_fields
from tokswap.sources import public_name
from tokswap.vocab import Vocab, vocab_of
from tokswap.whole_file import replacing

if TYPE_CHECKING:
    import torch

    from tokswap.checkpoint import Checkpoint

TYPES = ("bf16", "f16", "f32")
STORED_TYPES = {"BF16": "bf16", "F16": "f16"}
_TORCH = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}
_FILE_TYPES = {"f32": 0, "f16": 1, "bf16": 32}  # general.file_type, as llama.cpp counts them
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_DERIVED = re.compile(r".*\.rotary_emb\.inv_freq")  # stored by old versions of transformers, computed by all
_BYTES = {"bf16": 2, "f16": 2, "f32": 4}
Shape = tuple[int, ...]


@dataclass(frozen=True)
class GgufPlan:
    """A GGUF to be written: its settings and fields, GGUF's name of each stored tensor, its shapes, and the type."""

    config: GgufConfig
    fields: Mapping[str, Any]
    names: Mapping[str, str]
    shapes: Mapping[str, Shape]
    kind: str
    notes: tuple[str, ...]

    @property
    def architecture(self) -> Architecture:
        """How its tensors differ from those of transformers."""
        return ARCHITECTURES[self.config.architecture]

    @property
    def size(self) -> int:
        """About how many bytes it will take: the tensors, and what is said of each token."""
        tensors = sum(_count(shape) * _BYTES[self.kind_of(shape)] for shape in self.shapes.values())
        return tensors + 64 * len(self.fields["tokenizer.ggml.tokens"])

    def kind_of(self, shape: Shape) -> str:
        """Return the type of a tensor: vectors are always float32."""
        return self.kind if len(shape) > 1 else "f32"


def plan_gguf(checkpoint: Checkpoint, kind: str | None = None) -> GgufPlan:
    """Look whether a checkpoint can be a GGUF; `kind` is one of TYPES, None for the type its embedding is stored in.

    Raises TokswapError for what GGUF or its readers can't hold: architectures, settings, tensors, tokenizers.
    """
    gguf_architecture(checkpoint.config)
    kept = [name for name in checkpoint.tensors if name not in checkpoint.roles.copies]
    shapes = {name: tuple(checkpoint.tensors[name].shape) for name in kept}
    stored = checkpoint.tensors[checkpoint.input_name].dtype
    parts = (
        checkpoint.config,
        checkpoint.generation_config,
        checkpoint.tokenizer,
        checkpoint.tokenizer_config,
    )
    return plan_parts(*parts, vocab_of(checkpoint), shapes, kind or STORED_TYPES.get(stored, "f32"))


def plan_parts(
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    vocab: Vocab,
    shapes: Mapping[str, Shape],
    kind: str,
) -> GgufPlan:
    """Return the plan for a checkpoint that may not be written yet: its configurations, and `shapes` by tensor."""
    if kind not in TYPES:
        raise TokswapError(f"a GGUF of type {kind!r} can't be written", f"give one of {', '.join(TYPES)}")
    architecture = ARCHITECTURES[gguf_architecture(config)]
    names = {name: gguf_name_of(name, architecture) for name in shapes if not _DERIVED.fullmatch(name)}
    found = gguf_config(config, {names[name]: shapes[name][::-1] for name in names}, generation)
    rows = next((shapes[name][0] for name, place in names.items() if place == "token_embd.weight"), 0)
    tokens, notes = tokenizer_fields(tokenizer, tokenizer_config, vocab, rows)
    fields = {**tokens, **found.metadata}
    require_same_tokenizer(tokenizer, fields, rows)
    return GgufPlan(found, fields, names, {name: shapes[name] for name in names}, kind, notes)


def export_gguf(
    checkpoint: Checkpoint,
    out: Path,
    *,
    kind: str | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> GgufPlan:
    """Write a checkpoint to the file `out`, which is at every instant absent, the old one or the new one complete.

    Raises TokswapError as `plan_gguf` and `write_gguf` do, and where `out` can't be written.
    """
    if out.exists() and (out.is_dir() or not overwrite):
        what = "is a folder" if out.is_dir() else "exists"
        raise TokswapError(f"{out} {what}", "choose another file, or pass --overwrite to replace one")
    plan = plan_gguf(checkpoint, kind)
    try:
        with replacing(out) as temporary:
            write_gguf(plan, checkpoint, temporary, public_name(checkpoint.source) or out.stem, on_progress)
    except OSError as error:
        raise TokswapError(
            f"{out} can't be written: {error.strerror or error}", "make room, or give another --out"
        ) from error
    return plan


def gguf_name_of(name: str, architecture: Architecture) -> str:
    """Return GGUF's name of a tensor; raises TokswapError for one that has none."""
    known = {theirs: ours for ours, theirs in {**NAMES, **architecture.names}.items()}
    stem, _, end = name.rpartition(".")
    if match := _LAYER.fullmatch(name):
        stem, end = match[2], match[3]
    if stem not in known or end not in ("weight", "bias"):
        raise TokswapError(
            f"no GGUF can be written: it has no place for the tensor {name}",
            "llama.cpp's own convert_hf_to_gguf.py may know this model",
        )
    return f"blk.{match[1]}.{known[stem]}.{end}" if match else f"{known[stem]}.{end}"


def write_gguf(
    plan: GgufPlan,
    checkpoint: Checkpoint,
    path: Path,
    name: str,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the plan's GGUF, called `name` inside, to `path`, sync it, and read every tensor back.

    Not atomic: the caller gives a path of its own and renames it. Raises TokswapError for values that the type can't
    hold, and where the file doesn't read back as it was written.
    """
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(None, plan.config.architecture)
    _add_fields(writer, plan, name)
    extra = {} if plan.config.rope_factors is None else {"rope_freqs.weight": plan.config.rope_factors}
    for place, values in extra.items():
        writer.add_tensor_info(place, values.shape, values.dtype, values.nbytes)
    for tensor, place in plan.names.items():
        shape, kind = plan.shapes[tensor], plan.kind_of(plan.shapes[tensor])
        raw = GGMLQuantizationType[kind.upper()]
        writer.add_tensor_info(place, shape, np.dtype(np.float32), _count(shape) * _BYTES[kind], raw)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for values in extra.values():
        writer.write_tensor_data(values)
    digests: dict[str, str] = {}
    total = sum(map(_count, plan.shapes.values()))
    done = 0
    for tensor, place in plan.names.items():
        values = _values(plan, checkpoint.read(tensor), tensor)
        digests[place] = hashlib.sha256(values).hexdigest()
        writer.write_tensor_data(values)
        done += _count(plan.shapes[tensor])
        if on_progress is not None:
            on_progress(done, total)
    writer.close()
    with path.open("rb") as file:
        os.fsync(file.fileno())
    _require_written(path, digests)


def _add_fields(writer: Any, plan: GgufPlan, name: str) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(_FILE_TYPES[plan.kind])
    writer.add_quantization_version(2)
    for key, value in plan.fields.items():
        if key == "tokenizer.chat_template":
            writer.add_chat_template(value)
        elif key != "general.architecture":  # the writer has said it
            _ADDERS[type(value)](writer, key, value)


_ADDERS: Mapping[type, Callable[[Any, str, Any], None]] = {
    str: lambda writer, key, value: writer.add_string(key, value),
    bool: lambda writer, key, value: writer.add_bool(key, value),
    int: lambda writer, key, value: writer.add_uint32(key, value),
    float: lambda writer, key, value: writer.add_float32(key, value),
    list: lambda writer, key, value: writer.add_array(key, value),
}


def _values(plan: GgufPlan, values: torch.Tensor, name: str) -> Any:
    """Return a tensor's bytes in GGUF's layout and type, as UInt8 of any shape."""
    import torch

    place = plan.names[name]
    if plan.architecture.norm_offset and place.endswith("norm.weight"):
        values = values.float() + 1.0  # applied as 1 + weight, stored as the factor
    if plan.architecture.rotated and re.search(r"\.attn_[qk]\.", place):
        heads = "head_count" if ".attn_q." in place else "head_count_kv"
        values = permuted(values, int(plan.fields[f"{plan.config.architecture}.attention.{heads}"]))
    kind = plan.kind_of(plan.shapes[name])
    out = values.to(getattr(torch, _TORCH[kind])).contiguous()
    if kind == "f16" and not torch.isfinite(out).all() and torch.isfinite(values).all():
        raise TokswapError(f"{name} has values that F16 can't hold", "write the GGUF as bf16 or f32")
    return out.view(torch.uint8).numpy()


def permuted(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Put the two halves of each head's rows side by side in pairs, as llama.cpp rotates Q and K."""
    half = values.shape[0] // heads // 2
    return values.reshape(heads, 2, half, *values.shape[1:]).transpose(1, 2).reshape(values.shape)


def _require_written(path: Path, digests: Mapping[str, str]) -> None:
    reader, _ = read_metadata(path)
    found = {tensor.name: tensor for tensor in reader.tensors}
    for place, digest in digests.items():
        if place not in found or hashlib.sha256(found[place].data).hexdigest() != digest:
            raise TokswapError(f"{path.name} doesn't read back: {place} differs", "check the disk, run again")


def _count(shape: Shape) -> int:
    out = 1
    for size in shape:
        out *= size
    return out
