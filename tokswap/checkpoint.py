"""The read side: open a checkpoint folder, find its embeddings, read single tensors.

    base = open_checkpoint(Path("SmolLM2-135M"))
    rows, head, bias = read_embeddings(base)  # (V, d), (V, d) or None when tied, (V,) or None

Opening reads configuration files and safetensors headers only. Tensors are read on demand, with plain reads:
a file that is truncated under a memory map kills the process, under a read it's an error.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tokswap import embedding_roles
from tokswap.embedding_roles import EmbeddingRoles, find_roles
from tokswap.errors import TokswapError
from tokswap.safetensors_header import (
    MAX_TENSORS,
    Shard,
    TensorInfo,
    parse_object,
    read_bytes,
    read_shard,
    tensor_bytes,
)

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "Shard", "TensorInfo", "open_checkpoint", "read_embeddings", "read_json"]

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
READ_BYTES = 1 << 28
"""Largest single read, in bytes: some systems cut reads above 2 GB short."""
COMPARE_BYTES = 8 << 20
"""Block in which two stored tensors are compared, in bytes."""
# One of these makes a folder a checkpoint, or at least a tokenizer.
KNOWN_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model")
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# What a training run leaves behind: never read here, and no reason to refuse the tokenizer beside it.
HARMLESS_PICKLES = frozenset({"training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth"})
# A plain file name: no folder, drive or stream separators, no leading dot.
SHARD_NAME = re.compile(r"[^./\\:\x00][^/\\:\x00]*\.safetensors")

TORCH_DTYPES: Mapping[str, str] = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder; tensors stay on disk. Absent files are empty mappings.

    `source` is how the person named it; `notes` are warnings about how it was made. `index` is None for a
    single file, else the `metadata` of the index.
    """

    folder: Path
    config: Mapping[str, Any]
    generation_config: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    tokenizer_config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    source: str = ""
    notes: tuple[str, ...] = ()
    shards: Mapping[str, Shard] = field(default_factory=dict[str, Shard])
    index: Mapping[str, Any] | None = None

    @cached_property
    def roles(self) -> EmbeddingRoles:
        """Return the names of the embedding tensors; raises TokswapError when they are unclear or quantised."""
        if not self.tensors:
            raise TokswapError(
                f"{self.source or self.folder} holds a tokenizer but no weights",
                "give a folder with model.safetensors for a model",
            )
        try:
            return find_roles(self.tensors, self.config, self.same_bytes)
        except TokswapError as error:
            raise TokswapError(f"{self.source or self.folder}: {error.what}", error.hint) from error

    @property
    def input_name(self) -> str:
        """Return the name of the input embedding."""
        return self.roles.input

    @property
    def output_name(self) -> str | None:
        """Return the name of the output embedding; None when tied."""
        return self.roles.output

    @property
    def bias_name(self) -> str | None:
        """Return the name of the output bias, if one is stored."""
        return self.roles.bias

    @property
    def per_layer_names(self) -> tuple[str, ...]:
        """Return the names of the tables that feed every layer (Gemma 3n and 4)."""
        return self.roles.per_layer

    @property
    def tied(self) -> bool:
        """Return whether one stored tensor serves as input and output embedding."""
        return self.roles.output is None

    @property
    def rows(self) -> int:
        """Return the number of rows that input and output embedding have in common."""
        return self.tensors[self.input_name].shape[0] - self.extra_rows

    @property
    def extra_rows(self) -> int:
        """Return the rows at the end of the input embedding that the output lacks (Mllama: 8, for images)."""
        head = self.output_name
        more = 0 if head is None else self.tensors[self.input_name].shape[0] - self.tensors[head].shape[0]
        return max(more, 0)

    @property
    def hidden_size(self) -> int:
        """Return the width of the input embedding."""
        return self.tensors[self.input_name].shape[1]

    @property
    def vocab_size(self) -> int | None:
        """Return the number of rows that the configuration declares, if it does."""
        return embedding_roles.vocab_size(self.config)

    def identity(self) -> str:
        """Return a digest that changes with configs, tokenizer and shards (told by size and time): for resuming."""
        digest = hashlib.sha256()
        for part in (self.config, self.tokenizer, self.tokenizer_config):
            digest.update(json.dumps(part, sort_keys=True).encode("utf-8", "surrogatepass"))
        for name in sorted({info.shard for info in self.tensors.values()}):
            stat = (self.folder / name).stat()
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor in its stored dtype and shape; raises TokswapError when it can't be read."""
        info = self._info(name)
        return self._read(name, info, info.start, info.shape)

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Return rows start to stop (exclusive, as in a slice) of a stored tensor, without reading the others."""
        info = self._info(name)
        start, stop, _ = slice(start, stop).indices(info.shape[0])
        row_bytes = info.nbytes // max(info.shape[0], 1)
        return self._read(name, info, info.start + start * row_bytes, (max(stop - start, 0), *info.shape[1:]))

    def same_bytes(self, one: str, other: str) -> bool:
        """Return whether two stored tensors hold the same bytes."""
        a, b = self._info(one), self._info(other)
        if a.nbytes != b.nbytes:
            return False
        for at in range(0, a.nbytes, COMPARE_BYTES):
            count = min(COMPARE_BYTES, a.nbytes - at)
            left, right = bytearray(count), bytearray(count)
            read_into(self.folder / a.shard, a.start + at, left)
            read_into(self.folder / b.shard, b.start + at, right)
            if left != right:
                return False
        return True

    def _info(self, name: str) -> TensorInfo:
        if name not in self.tensors:
            raise TokswapError(f"{self.source or self.folder} stores no tensor {name!r}", "check its name")
        return self.tensors[name]

    def _read(self, name: str, info: TensorInfo, start: int, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        dtype = getattr(torch, TORCH_DTYPES.get(info.dtype, ""), None)
        if dtype is None:
            raise TokswapError(
                f"{name} is stored as {info.dtype}, which can't be read", "this dtype is only copied as it is"
            )
        memory = torch.empty(tensor_bytes(info.dtype, shape), dtype=torch.uint8)
        if math.prod(shape):
            read_into(self.folder / info.shard, start, memory.numpy().data)
        return memory.view(dtype).reshape(shape)


def open_checkpoint(folder: Path, *, source: str = "", notes: Iterable[str] = ()) -> Checkpoint:
    """Open a checkpoint or tokenizer folder; raises TokswapError, naming the file, for whatever is wrong with it."""
    if not folder.is_dir():
        fault = "is no folder" if folder.exists() else "doesn't exist"
        raise TokswapError(f"{folder} {fault}", "give the path of a checkpoint folder")
    shards, index = _read_weights(folder)
    if not shards and not any((folder / name).is_file() for name in KNOWN_FILES):
        raise TokswapError(
            f"{folder} holds neither a model nor a tokenizer",
            f"a checkpoint has at least one of {_list(KNOWN_FILES)}",
        )
    return Checkpoint(
        folder=folder,
        config=_optional_json(folder / "config.json"),
        generation_config=_optional_json(folder / "generation_config.json"),
        tokenizer=_optional_json(folder / "tokenizer.json"),
        tokenizer_config=_tokenizer_config(folder),
        tensors={name: info for shard in shards.values() for name, info in shard.tensors.items()},
        source=source or str(folder),
        notes=tuple(notes),
        shards=shards,
        index=index,
    )


def read_embeddings(
    checkpoint: Checkpoint,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Return input rows (V, d), output rows (V, d) or None when tied, output bias (V,) or None, as stored.

    Of an input with more rows than the output (Mllama) the first V; `extra_rows` counts the others.

    Raises TokswapError when the embeddings are quantised, missing or ambiguous.
    """
    roles = checkpoint.roles
    return (
        checkpoint.read_rows(roles.input, 0, checkpoint.rows),
        checkpoint.read(roles.output) if roles.output else None,
        checkpoint.read(roles.bias) if roles.bias else None,
    )


def read_json(path: Path, *, unique: bool = False) -> dict[str, Any]:
    """Return one JSON object from a file; raises TokswapError, naming the file, when it holds anything else."""
    return parse_object(read_bytes(path), path, unique=unique)


def read_into(path: Path, start: int, target: bytearray | memoryview) -> None:
    """Fill `target` with the bytes of a file from offset `start`; raises TokswapError when the file ends before."""
    view = memoryview(target)
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while view:
                count = file.readinto(view[:READ_BYTES])
                if not count:
                    raise TokswapError(
                        f"{path} was truncated while it was read", "let nothing write to it, then try again"
                    )
                view = view[count:]
    except OSError as error:
        raise TokswapError(
            f"{path} can't be read: {error.strerror or error}", "check the disk and its permissions"
        ) from error


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() or path.is_symlink() else {}


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json with the chat template, which transformers 5 saves as a file of its own."""
    config = _optional_json(folder / "tokenizer_config.json")
    template = folder / "chat_template.jinja"
    if template.is_file():
        config["chat_template"] = read_bytes(template).decode("utf-8", "replace")
    elif "chat_template" not in config and isinstance(
        text := _optional_json(folder / "chat_template.json").get("chat_template"), str
    ):
        config["chat_template"] = text
    return config


def _read_weights(folder: Path) -> tuple[dict[str, Shard], Mapping[str, Any] | None]:
    # A single file is preferred over an index, as transformers does.
    if _present(folder / SINGLE_NAME):
        return {SINGLE_NAME: read_shard(folder / SINGLE_NAME)}, None
    if _present(folder / INDEX_NAME):
        return _read_indexed(folder)
    _refuse_other_weights(folder)
    return {}, None


def _present(path: Path) -> bool:
    return path.exists() or path.is_symlink()  # a dangling link is an error to report, not an absent file


def _read_indexed(folder: Path) -> tuple[dict[str, Shard], Mapping[str, Any]]:
    path = folder / INDEX_NAME
    index = read_json(path, unique=True)
    places = _weight_map(path, index.get("weight_map"))
    shards = {name: read_shard(folder / name) for name in sorted(set(places.values()))}
    named: dict[str, set[str]] = {name: set() for name in shards}
    for tensor, place in places.items():
        named[place].add(tensor)
    for name, shard in shards.items():
        _require_agreement(path, shard, named[name])
    metadata = index.get("metadata")
    return shards, cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}


def _weight_map(path: Path, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise TokswapError(f"{path} has no weight_map", "download the index again")
    table = cast("dict[str, object]", value)
    if len(table) > MAX_TENSORS:
        raise TokswapError(f"{path} names more than {MAX_TENSORS:,} tensors", "no real model has that many")
    for shard in table.values():
        if not isinstance(shard, str) or not SHARD_NAME.fullmatch(shard):
            raise TokswapError(
                f"{path} names {ascii(shard)[:120]}, which is no plain *.safetensors file name",
                "an index may only name files beside it: don't use this checkpoint, or download it again",
            )
    return cast("dict[str, str]", value)


def _require_agreement(path: Path, shard: Shard, named: set[str]) -> None:
    stray = sorted(named ^ set(shard.tensors))
    if stray:
        side = "is named there but not stored" if stray[0] in named else "is stored but not named there"
        raise TokswapError(
            f"{path} and {shard.name} disagree: tensor {ascii(stray[0])[:120]} {side}",
            "download the index and the shards of one and the same revision",
        )


def _refuse_other_weights(folder: Path) -> None:
    safetensors = sorted(path.name for path in folder.glob("*.safetensors"))
    if safetensors:
        raise TokswapError(
            f"{folder} has {safetensors[0]} but neither {SINGLE_NAME} nor {INDEX_NAME}",
            "merge an adapter into its model first"
            if safetensors[0].startswith("adapter")
            else "download the whole checkpoint, with its index",
        )
    pickles = sorted(
        {path.name for pattern in PICKLE_PATTERNS for path in folder.glob(pattern)} - HARMLESS_PICKLES
    )
    if pickles:
        raise TokswapError(
            f"{folder} holds pickle weights only ({pickles[0]}), which can run code when they are loaded",
            "use a safetensors revision of the model, or convert it with `save_pretrained(safe_serialization=True)`",
        )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
