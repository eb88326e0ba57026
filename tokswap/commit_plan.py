"""What a commit will write: pure arithmetic over headers, no tensor read and no file opened but for headers.

Each shard of the base becomes one shard of the output, with the same name and the same tensors in the same
order, except for those that are replaced, added or dropped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokswap.checkpoint import TORCH_DTYPES, Checkpoint, read_into
from tokswap.errors import TokswapError
from tokswap.safetensors_header import DTYPE_BITS, Shard, TensorInfo, build_header

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor name → (safetensors dtype, shape)."""
_Entry = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True)
class PlannedTensor:
    """One tensor of the output: `start` and `end` are absolute offsets; `source` is None when it's a new one."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int
    source: TensorInfo | None


@dataclass(frozen=True)
class PlannedShard:
    """One shard of the output; `whole` means that it's the base's file, byte for byte."""

    name: str
    header: bytes
    tensors: tuple[PlannedTensor, ...]
    whole: bool

    @property
    def size(self) -> int:
        """Return the size of the file in bytes."""
        return self.tensors[-1].end if self.tensors else len(self.header)


@dataclass(frozen=True)
class Plan:
    """Everything that is written besides the caller's files; `index` is None for a single shard."""

    shards: tuple[PlannedShard, ...]
    index: bytes | None

    @property
    def tensors(self) -> tuple[PlannedTensor, ...]:
        """Return all tensors of the output."""
        return tuple(tensor for shard in self.shards for tensor in shard.tensors)

    @property
    def size(self) -> int:
        """Return the bytes of weights and index together."""
        return sum(shard.size for shard in self.shards) + len(self.index or b"")


def planned_size(base: Checkpoint, *, new_shapes: Shapes, drop: Collection[str] = ()) -> int:
    """Return the bytes of weights (with headers and index) that a commit with these tensors would write."""
    return plan_output(base, new_shapes, drop).size


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    """Return the safetensors dtype and shape of each tensor; raises TokswapError for dtypes that can't be stored."""
    names = {torch_name: name for name, torch_name in TORCH_DTYPES.items()}
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, tensor in tensors.items():
        dtype = names.get(str(tensor.dtype).removeprefix("torch."))
        if dtype is None:
            raise TokswapError(
                f"{name} is {tensor.dtype}, which can't be stored", "convert it to float32 or bfloat16"
            )
        shapes[name] = (dtype, tuple(tensor.shape))
    return shapes


def plan_output(base: Checkpoint, new_shapes: Shapes, drop: Collection[str] = ()) -> Plan:
    """Return where each tensor of the output goes.

    A new tensor that the base lacks goes beside the input embedding. Raises ValueError for names that are
    dropped and replaced at once, or dropped without being there.
    """
    _require_sense(base, new_shapes, drop)
    extra = [name for name in new_shapes if name not in base.tensors]
    home = base.tensors[base.input_name] if extra else None
    shards: list[PlannedShard] = []
    for shard in base.shards.values():
        entries = _entries(shard, new_shapes, drop)
        if home is not None and home.shard == shard.name:
            at = 1 + next(i for i, entry in enumerate(entries) if entry[0] == base.input_name)
            entries[at:at] = [(name, *new_shapes[name]) for name in extra]
        if entries:
            shards.append(_plan_shard(base, shard, entries, new_shapes))
    index = None if base.index is None else _index(base, shards)
    return Plan(tuple(shards), index)


def _require_sense(base: Checkpoint, new_shapes: Shapes, drop: Collection[str]) -> None:
    unknown = sorted(set(drop) - set(base.tensors))
    if unknown:
        raise ValueError(f"tensors to drop that the base doesn't have: {unknown}")
    both = sorted(set(drop) & set(new_shapes))
    if both:
        raise ValueError(f"tensors both dropped and replaced: {both}")
    if new_shapes and not base.tensors:
        raise ValueError(f"{base.folder} has no weights, so no tensor can be written beside them")


def _entries(shard: Shard, new_shapes: Shapes, drop: Collection[str]) -> list[_Entry]:
    return [
        (name, *new_shapes.get(name, (info.dtype, info.shape)))
        for name, info in shard.tensors.items()
        if name not in drop
    ]


def _plan_shard(base: Checkpoint, shard: Shard, entries: list[_Entry], new_shapes: Shapes) -> PlannedShard:
    touched = [name for name, *_ in entries] != list(shard.tensors) or any(
        n in new_shapes for n in shard.tensors
    )
    if not touched and "format" in shard.metadata:
        return _whole_shard(base, shard)
    # transformers refuses a file whose metadata names no format.
    metadata = {"format": "pt"} | dict(shard.metadata)
    entries = _aligned(entries)
    header, spans = build_header(entries, metadata)
    tensors = tuple(
        PlannedTensor(name, dtype, shape, *span, None if name in new_shapes else shard.tensors[name])
        for (name, dtype, shape), span in zip(entries, spans, strict=True)
    )
    return PlannedShard(shard.name, header, tensors, whole=False)


def _whole_shard(base: Checkpoint, shard: Shard) -> PlannedShard:
    header = bytearray(shard.data_start)
    read_into(base.folder / shard.name, 0, header)
    tensors = tuple(
        PlannedTensor(name, info.dtype, info.shape, info.start, info.end, info)
        for name, info in shard.tensors.items()
    )
    return PlannedShard(shard.name, bytes(header), tensors, whole=True)


def _aligned(entries: list[_Entry]) -> list[_Entry]:
    """Return the entries in their order, or widest dtype first where that order would misalign a tensor."""
    at = 0
    for _, dtype, shape in entries:
        if at % (8 * max(1, DTYPE_BITS[dtype] // 8)):
            return sorted(entries, key=lambda entry: -DTYPE_BITS[entry[1]])
        at += DTYPE_BITS[dtype] * math.prod(shape)
    return entries


def _index(base: Checkpoint, shards: Sequence[PlannedShard]) -> bytes:
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    metadata: dict[str, Any] = dict(base.index or {})
    metadata["total_size"] = sum(tensor.end - tensor.start for tensor in tensors)
    known = metadata.get("total_parameters")
    if isinstance(known, int):
        before = sum(math.prod(info.shape) for info in base.tensors.values())
        metadata["total_parameters"] = known - before + sum(math.prod(tensor.shape) for tensor in tensors)
    places = {tensor.name: shard.name for shard in shards for tensor in shard.tensors}
    table = {"metadata": metadata, "weight_map": places}
    return (json.dumps(table, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
