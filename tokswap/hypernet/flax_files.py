"""The Flax layout of a hypernetwork: nested names in msgpack, each array as (shape, dtype, bytes).

Linear layers hold `kernel` [in out] where torch holds `weight` [out in], norms `scale`, tables `embedding`, and the
parts of a sequence are called `layers_0`, `layers_1`. Large arrays are stored in chunks (flax.serialization).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tokswap.errors import TokswapError
from tokswap.safetensors_header import MAX_DEPTH, regular_size

if TYPE_CHECKING:
    from torch import Tensor

FLAX_NAME = "flax_model.msgpack"
ARRAY = 1
"""The extension type under which flax stores an array."""
CHUNKED = "__msgpack_chunked_array__"
LANGUAGES, FLAX_LANGUAGES = "lang_embeddings.weight", "model.embeddings.lang_embedding.embedding"
_SEQUENCE = re.compile(r"(projection(?:_out)?)\.(\d+)\.")


def read_flax(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a Flax file under torch's names; raises TokswapError for anything that isn't one."""
    msgpack = _msgpack()
    regular_size(path)
    try:
        tree = msgpack.unpackb(path.read_bytes(), ext_hook=_array, raw=False, strict_map_key=True)
    except (ValueError, TypeError, AttributeError, OSError, msgpack.exceptions.UnpackException) as error:
        raise _damaged(path, str(error) or type(error).__name__) from None
    flat = dict[str, Any]()
    try:
        _flatten(tree, "", flat, 0)
        return {_torch_name(name): _torch_tensor(name, value) for name, value in flat.items()}
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, str(error)) from None


def flax_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return a Flax file of tensors under torch's names."""
    msgpack = _msgpack()
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        flax, array = _flax_name(name, tensor.ndim), tensor.detach().float().cpu().numpy()
        *parents, leaf = flax.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        value = np.ascontiguousarray(array.T if leaf == "kernel" else array)
        place[leaf] = msgpack.ExtType(
            ARRAY, msgpack.packb((value.shape, value.dtype.name, value.tobytes()), use_bin_type=True)
        )
    return cast("bytes", msgpack.packb(tree, use_bin_type=True))


def _array(code: int, data: bytes) -> Any:
    """Return Float[…] of an extension; bf16 comes as fp32, which numpy knows."""
    if code != ARRAY:
        raise ValueError(f"an extension of type {code} is no array")
    shape, dtype, content = _msgpack().unpackb(data, raw=False)
    if dtype == "bfloat16":
        high = np.frombuffer(content, dtype=np.uint16).astype(np.uint32) << 16
        return high.view(np.float32).reshape(shape)
    if dtype not in ("float16", "float32", "float64"):
        raise ValueError(f"an array of the type {str(dtype)[:40]!r} is no weight")
    return np.frombuffer(content, dtype=dtype).astype(np.float32).reshape(shape)


def _flatten(node: Any, prefix: str, out: dict[str, Any], depth: int) -> None:
    if depth > MAX_DEPTH or not isinstance(node, dict):
        raise ValueError("the file holds no nested names of arrays")
    for key, value in cast("dict[str, Any]", node).items():
        name = f"{prefix}{key}"
        if isinstance(value, np.ndarray):
            out[name] = value
        elif isinstance(value, dict) and CHUNKED in value:
            out[name] = _joined(cast("dict[str, Any]", value))
        else:
            _flatten(value, f"{name}.", out, depth + 1)


def _joined(value: dict[str, Any]) -> Any:
    parts = [value["chunks"][str(i)] for i in range(len(value["chunks"]))]
    shape = [value["shape"][str(i)] for i in range(len(value["shape"]))]
    return np.concatenate([part.reshape(-1) for part in parts]).reshape(shape)


def _torch_name(name: str) -> str:
    if name == FLAX_LANGUAGES:
        return LANGUAGES
    name = name.replace(".layers_", ".")
    return re.sub(r"\.(kernel|scale|embedding)$", ".weight", name)


def _torch_tensor(name: str, value: Any) -> Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(value.T if name.endswith(".kernel") else value).copy())


def _flax_name(name: str, dimensions: int) -> str:
    if name == LANGUAGES:
        return FLAX_LANGUAGES
    parent, _, leaf = _SEQUENCE.sub(r"\1.layers_\2.", name).rpartition(".")
    if leaf != "weight":
        return f"{parent}.{leaf}" if parent else leaf
    table = parent.endswith("embeddings")
    return f"{parent}.{'embedding' if table else 'kernel' if dimensions == 2 else 'scale'}"


def _msgpack() -> Any:
    try:
        return importlib.import_module("msgpack")
    except ImportError:
        raise TokswapError(
            "Flax files are read by the package msgpack, which isn't installed",
            "pip install msgpack, or take the hypernetwork's safetensors revision",
        ) from None


def _damaged(path: Path, why: str) -> TokswapError:
    return TokswapError(
        f"{path} is no Flax checkpoint: {why}", "download the file again, or take model.safetensors"
    )
