"""Where each tensor's bytes lie in a safetensors file: absolute offsets, which the safetensors library doesn't give.

Only the header is read here (eight bytes of length, then JSON). Everything in it is checked before it is
believed, because the offsets decide which bytes are copied: no holes, no overlaps, sizes that follow from
dtype and shape, and a file that ends where its last tensor ends.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tokswap.errors import TokswapError
from tokswap.reasons import reason_of

MAX_HEADER_BYTES = 25_000_000
"""Largest header that is parsed; a real one has about 100 bytes per tensor."""
MAX_TENSORS = 200_000
"""Most tensors in one file; the largest published mixtures of experts hold about 90,000 over all their files."""
MAX_MARKS = 2_000_000
"""Most `:` and `[` in a header (six per tensor): bounds what parsing one may cost in memory."""
MAX_DIMENSIONS = 32
"""Most dimensions of one tensor; bounds the product of a made-up shape."""
MAX_DEPTH = 200
"""Deepest nesting of a JSON file; the Rust readers of the same files stop at 128."""
ALIGNMENT = 8
"""Headers are padded to this many bytes, so that the data after them is aligned for every dtype."""
LFS_MARK = b"version https://git-lfs"

# Bits, because F4 and F6 are packed; names as in the safetensors format.
DTYPE_BITS: Mapping[str, int] = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
    "F32": 32, "I32": 32, "U32": 32,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I8": 8, "U8": 8, "BOOL": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip

_AGAIN = "download the file again, or copy it again from where it came"


@dataclass(frozen=True)
class TensorInfo:
    """One stored tensor: `start` and `end` are absolute byte offsets in the shard file."""

    shard: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def nbytes(self) -> int:
        """Return the stored size in bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class Shard:
    """One safetensors file: its size in bytes, where its data starts, its tensors in file order, its metadata."""

    name: str
    size: int
    data_start: int
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


def tensor_bytes(dtype: str, shape: Sequence[int]) -> int:
    """Return the stored size in bytes of a tensor; raises ValueError for sizes that are no whole bytes."""
    bits = DTYPE_BITS[dtype] * math.prod(shape)
    if bits % 8:
        raise ValueError(f"{dtype} {list(shape)} is no whole number of bytes")
    return bits // 8


def read_shard(path: Path) -> Shard:
    """Read and check the header of one safetensors file; raises TokswapError for anything that isn't one."""
    size = regular_size(path)
    header = _header_bytes(path, size)
    _limit_marks(path, header)
    table = parse_object(header, path, unique=True)
    metadata = _metadata(path, table.pop("__metadata__", None))
    if len(table) > MAX_TENSORS:
        raise _bad(path, f"holds {len(table):,} tensors; more than {MAX_TENSORS:,} are not read")
    _require_text(path, table, metadata)
    data_start = 8 + len(header)
    found = [(name, _tensor(path, name, entry, data_start)) for name, entry in table.items()]
    found.sort(key=lambda pair: (pair[1].start, pair[1].end))
    _require_contiguous(path, found, data_start, size)
    return Shard(path.name, size, data_start, dict(found), metadata)


def build_header(
    tensors: Iterable[tuple[str, str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, list[tuple[int, int]]]:
    """Return a header for (name, dtype, shape) in file order, and each tensor's absolute (start, end).

    The bytes are those that the safetensors library itself writes for the same table.
    """
    entries = list(tensors)
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    spans: list[tuple[int, int]] = []
    at = 0
    for name, dtype, shape in entries:
        spans.append((at, at + tensor_bytes(dtype, shape)))
        at = spans[-1][1]
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": list(spans[-1])}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    start = 8 + len(text)
    return len(text).to_bytes(8, "little") + text, [(a + start, b + start) for a, b in spans]


def regular_size(path: Path) -> int:
    """Return the size in bytes of a regular file; raises TokswapError for a folder, a device or nothing there."""
    try:
        facts = path.stat()
    except OSError as error:
        raise TokswapError(f"{path} can't be read: {error.strerror or error}", _AGAIN) from error
    if stat.S_ISDIR(facts.st_mode):
        raise TokswapError(f"{path} is a directory, where a file is needed", _AGAIN)
    if not stat.S_ISREG(facts.st_mode):
        raise TokswapError(f"{path} is no regular file", "give a folder of ordinary files")
    return facts.st_size


def read_bytes(path: Path) -> bytes:
    """Return a small file's content; raises TokswapError naming the file when it can't be read."""
    regular_size(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise TokswapError(
            f"{path} can't be read: {error.strerror or error}", "check its permissions"
        ) from error


def parse_object(data: bytes, path: Path, *, unique: bool = False) -> dict[str, Any]:
    """Parse one JSON object; raises TokswapError for broken, too deep or repeated (`unique`) content.

    `path` is only named in messages.
    """
    refuse_lfs(data, path)
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique_pairs if unique else None)
    except RecursionError:
        raise TokswapError(f"{path} is nested more than {MAX_DEPTH} deep", _AGAIN) from None
    except ValueError as error:
        raise TokswapError(
            f"{path} is no valid JSON: {reason_of(error)}", f"it may be truncated: {_AGAIN}"
        ) from error
    if not isinstance(value, dict):
        raise TokswapError(f"{path} holds no JSON object but a {type(value).__name__}", _AGAIN)
    if _deeper_than(value, MAX_DEPTH):
        raise TokswapError(f"{path} is nested more than {MAX_DEPTH} deep", _AGAIN)
    return cast("dict[str, Any]", value)


def refuse_lfs(data: bytes, path: Path) -> None:
    """Raise TokswapError when `data` opens like a Git-LFS pointer instead of the file itself."""
    if data.startswith(LFS_MARK):
        raise TokswapError(
            f"{path} is a Git-LFS pointer, not the file itself", "run `git lfs pull` in that folder"
        )


def _header_bytes(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            first = file.read(max(8, len(LFS_MARK)))
            refuse_lfs(first, path)
            if len(first) < 8:
                raise _bad(path, "is empty" if not first else f"is truncated: {size} bytes hold no header")
            length = int.from_bytes(first[:8], "little")
            if length > MAX_HEADER_BYTES:
                raise _bad(
                    path, f"claims a header of {length:,} bytes; {MAX_HEADER_BYTES:,} is the most read"
                )
            file.seek(8)
            header = file.read(length)
    except OSError as error:
        raise TokswapError(
            f"{path} can't be read: {error.strerror or error}", "check its permissions"
        ) from error
    if len(header) < length:
        raise _bad(path, f"is truncated inside its header ({len(header):,} of {length:,} bytes)")
    if not header.startswith(b"{"):
        raise _bad(path, "has a header that doesn't open with '{'")
    return header


def _limit_marks(path: Path, header: bytes) -> None:
    # Counted before parsing, which takes seconds and hundreds of megabytes for what is refused anyway.
    if header.count(b'"data_offsets"') > MAX_TENSORS or header.count(b":") + header.count(b"[") > MAX_MARKS:
        raise _bad(path, f"holds more than {MAX_TENSORS:,} tensors, which are not read")


def _metadata(path: Path, value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _bad(path, "has a __metadata__ that is no object")
    table = cast("dict[str, object]", value)
    if not all(isinstance(text, str) for text in table.values()):
        raise _bad(path, "has a __metadata__ whose values are not all strings")
    return cast("dict[str, str]", value)


def _require_text(path: Path, names: Iterable[str], metadata: Mapping[str, str]) -> None:
    # JSON can spell half of a surrogate pair, which no output file could hold again.
    try:
        "".join((*names, *metadata, *metadata.values())).encode()
    except UnicodeEncodeError:
        raise _bad(path, "has names that are no valid text") from None


def _tensor(path: Path, name: str, entry: object, data_start: int) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _bad(path, f"has no description of tensor {_show(name)}")
    fields = cast("dict[str, object]", entry)
    dtype, shape, span = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _bad(path, f"gives tensor {_show(name)} the unknown dtype {_show(dtype)}")
    if not _counts(shape) or len(cast("list[int]", shape)) > MAX_DIMENSIONS:
        raise _bad(path, f"gives tensor {_show(name)} no valid shape")
    if not _counts(span) or len(cast("list[int]", span)) != 2:
        raise _bad(path, f"gives tensor {_show(name)} no valid data_offsets")
    sizes, (start, end) = cast("list[int]", shape), cast("list[int]", span)
    if DTYPE_BITS[dtype] * math.prod(sizes) != 8 * (end - start):
        raise _bad(
            path, f"stores {end - start:,} bytes for tensor {_show(name)}, which {dtype} {sizes} is not"
        )
    return TensorInfo(path.name, dtype, tuple(sizes), data_start + start, data_start + end)


def _counts(value: object) -> bool:
    if not isinstance(value, list):
        return False
    return all(type(number) is int and 0 <= number < 1 << 63 for number in cast("list[object]", value))


def _require_contiguous(path: Path, found: Sequence[tuple[str, TensorInfo]], start: int, size: int) -> None:
    at = start
    for name, info in found:
        if info.start != at:
            fault = "overlaps the tensor before it" if info.start < at else "leaves a hole before it"
            raise _bad(path, f"stores tensor {_show(name)} so that it {fault}")
        at = info.end
    if at > size:
        raise _bad(path, f"is truncated: its tensors end at byte {at:,}, the file at {size:,}")
    if at < size:
        raise _bad(path, f"has {size - at:,} bytes after its last tensor")


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {_show(twice)} appears twice")
    return table


def _deeper_than(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node) if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _children(node: object) -> Iterable[object]:
    return cast("dict[str, object]", node).values() if isinstance(node, dict) else cast("list[object]", node)


def _show(value: object) -> str:
    text = ascii(value)  # a made-up name may be long, or hold control characters
    return text if len(text) <= 120 else text[:117] + "..."


def _bad(path: Path, fault: str) -> TokswapError:
    return TokswapError(f"{path} {fault}", f"it is damaged or no safetensors file: {_AGAIN}")
