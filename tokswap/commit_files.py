"""Single files of a commit: the seam to the operating system, and shards written block by block.

Every byte is hashed on its way from its source, so that reading the written file back proves the copy.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from tokswap.commit_plan import PlannedShard, PlannedTensor
from tokswap.errors import TokswapError

if TYPE_CHECKING:
    import torch

BLOCK_BYTES = 8 << 20
"""Block that is read, hashed and written at once, in bytes: large enough for full disk speed, small for memory."""
FICLONE = 0x40049409
"""Linux ioctl that shares the blocks of a whole file (btrfs, XFS)."""
ZEROS = memoryview(bytes(BLOCK_BYTES))

Block = memoryview | int
"""Bytes, or the length of a hole."""
Advance = Callable[[int], None]
"""Called with each number of bytes done."""


class System:
    """The operating system as a commit sees it: every method is one step at which a test may stop it."""

    def create(self, path: Path) -> int:
        """Open a new file for writing; the kernel gives it 0o666 less the umask. Raises OSError if it exists."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return os.open(path, flags, 0o666)

    def append(self, path: Path) -> int:
        """Open a file for writing at its end, creating it when absent."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)

    def write(self, fd: int, data: bytes | memoryview) -> None:
        """Write all of `data` at the file's position."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def write_at(self, fd: int, data: bytes | memoryview, at: int) -> None:
        """Write all of `data` at an absolute offset."""
        os.lseek(fd, at, os.SEEK_SET)
        System.write(self, fd, data)

    def clone(self, source: int, target: int) -> bool:
        """Share the blocks of a whole file where the file system can; return whether it did."""
        if sys.platform != "linux":
            return False
        import fcntl

        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError:
            return False
        return True

    def truncate(self, fd: int, size: int) -> None:
        """Set a file's size in bytes."""
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        """Wait until a file's content is on the disk."""
        os.fsync(fd)

    def fsync_folder(self, path: Path) -> None:
        """Wait until a folder's entries are on the disk (a no-op where folders can't be opened)."""
        if os.name == "nt":
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file or folder within its file system."""
        os.rename(old, new)  # noqa: PTH104 - Path.rename returns a path, which no caller needs

    def unlink(self, path: Path) -> None:
        """Remove one file."""
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """Make one folder."""
        path.mkdir()

    def rmdir(self, path: Path) -> None:
        """Remove one empty folder."""
        path.rmdir()

    def free_bytes(self, path: Path) -> int:
        """Return the bytes that an ordinary user may still write to the file system of `path`."""
        import shutil

        return shutil.disk_usage(path).free


SYSTEM = System()


@contextmanager
def creating(system: System, path: Path) -> Generator[int]:
    """Open a new file, and sync it when the block ends without an error."""
    fd = system.create(path)
    try:
        yield fd
        system.fsync(fd)
    finally:
        os.close(fd)


def remove_tree(system: System, path: Path) -> None:
    """Remove a folder and all in it, without following links; nothing happens when it's absent."""
    if path.is_symlink() or not path.is_dir():
        if path.is_symlink() or path.exists():
            system.unlink(path)
        return
    for child in sorted(path.iterdir()):
        remove_tree(system, child)
    system.rmdir(path)


def write_bytes(system: System, path: Path, content: bytes) -> None:
    """Write one small file and sync it."""
    with creating(system, path) as fd:
        system.write(fd, content)


def write_shard(
    system: System,
    path: Path,
    base: Path,
    shard: PlannedShard,
    tensors: Mapping[str, torch.Tensor],
    advance: Advance,
) -> tuple[str, dict[str, str]]:
    """Write one shard from the base's file `base` and new tensors; return its sha256 and those of its tensors."""
    whole = hashlib.sha256(shard.header)
    digests: dict[str, str] = {}
    with base.open("rb", buffering=0) as source, creating(system, path) as fd:
        cloned = shard.whole and system.clone(source.fileno(), fd)
        if not cloned:
            system.write_at(fd, shard.header, 0)
        for tensor in shard.tensors:
            one, at = hashlib.sha256(), tensor.start
            for block in _blocks(source, tensor, tensors):
                if isinstance(block, memoryview) and not cloned:
                    system.write_at(fd, block, at)
                at += _hash_block(block, whole.update, one.update)
                advance(len(block) if isinstance(block, memoryview) else block)
            digests[tensor.name] = one.hexdigest()
        system.truncate(fd, shard.size)  # a hole at the end was not written
    return whole.hexdigest(), digests


def hash_file(path: Path, advance: Advance = lambda _: None) -> str:
    """Return the sha256 of a file."""
    whole = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for block in file_blocks(file, 0, path.stat().st_size):
            advance(_hash_block(block, whole.update))
    return whole.hexdigest()


def hash_span(file: FileIO, start: int, end: int, advance: Advance) -> str:
    """Return the sha256 of the bytes from `start` to `end` of an open file."""
    one = hashlib.sha256()
    for block in file_blocks(file, start, end):
        advance(_hash_block(block, one.update))
    return one.hexdigest()


def hash_tensor(tensor: torch.Tensor) -> str:
    """Return the sha256 of a tensor's bytes as they would be stored."""
    one = hashlib.sha256()
    for block in tensor_blocks(tensor):
        one.update(block)
    return one.hexdigest()


def file_blocks(file: FileIO, start: int, end: int) -> Iterator[Block]:
    """Yield a span of an unbuffered file: blocks of bytes (valid until the next one), and lengths of holes."""
    buffer = memoryview(bytearray(min(BLOCK_BYTES, max(end - start, 1))))
    for is_hole, left, right in _runs(file, start, end):
        for at in range(left, right, BLOCK_BYTES):
            count = min(BLOCK_BYTES, right - at)
            if not is_hole:
                _read_exactly(file, at, buffer[:count])
            yield count if is_hole else buffer[:count]


def tensor_blocks(tensor: torch.Tensor) -> Iterator[memoryview]:
    """Yield a tensor's bytes in row-major order, in blocks of whole rows."""
    import torch

    for rows in row_blocks(tensor):
        yield rows.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def row_blocks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield a tensor in slices of whole rows of about BLOCK_BYTES; nothing for a tensor without elements."""
    table = tensor.detach().reshape(1) if tensor.dim() == 0 else tensor.detach()
    if table.numel() == 0:
        return
    row_bytes = table.element_size() * (table.numel() // table.shape[0])
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, table.shape[0], step):
        yield table[start : start + step]


def is_finite(tensor: torch.Tensor) -> bool:
    """Return whether a tensor holds neither NaN nor infinity; true for integers."""
    if not tensor.dtype.is_floating_point:
        return True
    for rows in row_blocks(tensor):
        # torch has no isfinite for eight-bit floats; wider ones must not be narrowed.
        values = rows.float() if rows.element_size() == 1 else rows
        if not bool(values.isfinite().all()):
            return False
    return True


def allocated_bytes(path: Path) -> int:
    """Return the disk space that a file takes, in bytes: less than its size when it has holes."""
    facts = path.stat()
    return getattr(facts, "st_blocks", facts.st_size // 512 + 1) * 512


def _blocks(source: FileIO, planned: PlannedTensor, tensors: Mapping[str, torch.Tensor]) -> Iterator[Block]:
    if planned.source is None:
        return tensor_blocks(tensors[planned.name])
    return file_blocks(source, planned.source.start, planned.source.end)


def _hash_block(block: Block, *updates: Callable[[memoryview], object]) -> int:
    data = block if isinstance(block, memoryview) else ZEROS[:block]
    for update in updates:
        update(data)
    return len(data)


def _runs(file: FileIO, start: int, end: int) -> Iterator[tuple[bool, int, int]]:
    """Yield (is_hole, left, right) for the runs of a span; all of it is data where holes can't be asked for."""
    facts = os.fstat(file.fileno())
    sparse = hasattr(os, "SEEK_DATA") and getattr(facts, "st_blocks", facts.st_size) * 512 < facts.st_size
    at = start
    while at < end:
        data, hole = _next_run(file.fileno(), at, end) if sparse else (at, end)
        if data > at:
            yield True, at, data
        if hole > data:
            yield False, data, hole
        at = hole


def _next_run(fd: int, at: int, end: int) -> tuple[int, int]:
    try:
        data = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        return (end, end) if error.errno == errno.ENXIO else (at, end)  # only holes follow, or not supported
    if data >= end:
        return end, end
    return data, min(end, os.lseek(fd, data, os.SEEK_HOLE))


def _read_exactly(file: FileIO, at: int, view: memoryview) -> None:
    file.seek(at)
    while view:
        count = file.readinto(view)
        if not count:
            raise TokswapError(
                f"{file.name!s} was truncated while it was read", "let nothing write to it meanwhile"
            )
        view = view[count:]
