"""The folder in which an output is built, and what an interrupted run may leave: journal, lock, old output.

For an output `out`, all of it lies beside it on the same file system:

    .out.tokswap-staged/    the output while it's built
    .out.tokswap-journal    one JSON line per finished file: a later run of the same recipe keeps those
    .out.tokswap-old/       the output that is being replaced, until the new one is in its place
    .out.tokswap-lock       held while a run works here

The journal is the last of them to be removed, so that a run that was stopped after its rename is told from
one that was stopped before it.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tokswap.checkpoint import Checkpoint, read_json
from tokswap.commit_files import System, allocated_bytes, hash_file, remove_tree
from tokswap.errors import TokswapError

MANIFEST_NAME = "tokswap.json"
FREE_DISK_FACTOR = 1.05
"""Free bytes asked for, per byte to write: file systems keep some for their own tables."""
FULL_DISK = frozenset({errno.ENOSPC, errno.EFBIG, errno.EDQUOT})
NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@dataclass(frozen=True)
class Places:
    """The output folder and what lies beside it."""

    out: Path

    @classmethod
    def of(cls, out: Path) -> Places:
        """Return the places for an output as the person wrote it; links above it are followed, not itself."""
        return cls(out.parent.resolve() / out.name if out.name else out.resolve())

    @property
    def stage(self) -> Path:
        """Return the folder in which the output is built."""
        return self._beside("staged")

    @property
    def journal(self) -> Path:
        """Return the file that lists what is finished."""
        return self._beside("journal")

    @property
    def old(self) -> Path:
        """Return where an output waits while it's replaced."""
        return self._beside("old")

    @property
    def lock(self) -> Path:
        """Return the lock file."""
        return self._beside("lock")

    def state(self, kind: str, identity: str) -> Path:
        """Return where the state of a training of this kind (heal, hypernet) lies."""
        return self._beside(f"{kind}-{identity[:16]}")

    def states(self, kind: str) -> list[Path]:
        """Return the states of all trainings of this kind that were to end in the output, and haven't."""
        return list(self.out.parent.glob(f".{glob.escape(self.out.name)}.tokswap-{kind}-*"))

    def _beside(self, role: str) -> Path:
        return self.out.with_name(f".{self.out.name}.tokswap-{role}")


@dataclass(frozen=True)
class Entry:
    """One finished file: its size in bytes, its sha256, a digest of what it was made from, its tensors' sha256."""

    name: str
    size: int
    sha256: str
    key: str
    tensors: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Journal:
    """What earlier runs finished; `manifest` is the sha256 of a manifest whose output was ready to be moved."""

    recipe_id: str | None = None
    entries: Mapping[str, Entry] = field(default_factory=dict[str, Entry])
    manifest: str | None = None


def read_journal(path: Path) -> Journal:
    """Return what a journal says; lines that were cut off are skipped, an absent journal is an empty one."""
    recipe: str | None = None
    entries: dict[str, Entry] = {}
    manifest: str | None = None
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        match _parse_line(line):
            case {"recipe": str(recipe)}:
                pass
            case {"manifest": str(manifest)}:
                pass
            case {"name": str(name), "size": int(size), "sha256": str(sha256), "key": str(key), **rest}:
                entries[name] = Entry(name, size, sha256, key, rest.get("tensors", {}))
            case _:
                pass
    return Journal(recipe, entries, manifest)


def append_journal(system: System, path: Path, record: Mapping[str, Any] | Entry) -> None:
    """Append one line and sync it; it starts with a line break, because the line before may have been cut off."""
    fields = asdict(record) if isinstance(record, Entry) else dict(record)
    fd = system.append(path)
    try:
        system.write(fd, f"\n{json.dumps(fields)}\n".encode())
        system.fsync(fd)
    finally:
        os.close(fd)


def require_apart(base: Checkpoint, places: Places) -> None:
    """Raise TokswapError unless output and base are two folders, neither inside the other, links followed."""
    out, folder = places.out, base.folder.resolve()
    if out.name in ("", "..") or out.is_symlink():
        raise TokswapError(f"{out} can't be an output folder", "give the path of a new, ordinary folder")
    if out == folder or (out.exists() and folder.exists() and out.samefile(folder)):
        raise TokswapError(f"the output {out} is the base itself", "write to another folder")
    if out.is_relative_to(folder):
        raise TokswapError(f"the output {out} lies inside the base {folder}", "write to a folder beside it")
    files = [folder, *((base.folder / name).resolve() for name in base.shards)]
    if any(file.is_relative_to(out) for file in files):
        raise TokswapError(f"the base {folder} lies inside the output {out}", "write to another folder")


def require_replaceable(out: Path, overwrite: bool) -> None:
    """Raise TokswapError when the output exists and may not be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise TokswapError(f"the output {out} is a file", "give the path of a folder")
    if not overwrite:
        raise TokswapError(
            f"the output {out} exists", "choose another folder, or pass --overwrite to replace it"
        )
    ours = any((out / name).is_file() for name in ("config.json", MANIFEST_NAME))
    if not ours and any(out.iterdir()):
        raise TokswapError(
            f"the output {out} is not a checkpoint, so it isn't replaced",
            "choose another folder: only an empty folder or one with a config.json is replaced",
        )


def require_space(system: System, folder: Path, needed: int) -> None:
    """Raise TokswapError when fewer than FREE_DISK_FACTOR × `needed` bytes are free."""
    free = system.free_bytes(folder)
    if free < FREE_DISK_FACTOR * needed:
        raise TokswapError(
            f"{needed / 1e9:.2f} GB are to be written to {folder}, where {free / 1e9:.2f} GB are free",
            "make room, or write to another disk",
        )


def staged_bytes(places: Places, journal: Journal) -> int:
    """Return the disk space that finished files already take in the staged folder, in bytes."""
    files = [places.stage / name for name in journal.entries]
    return sum(allocated_bytes(file) for file in files if file.is_file())


def require_folder(places: Places) -> Path:
    """Return the nearest folder above the output that exists; raises TokswapError when it can't be written to."""
    parent = next(path for path in places.out.parents if path.exists())
    if not parent.is_dir():
        raise TokswapError(f"{parent} is a file, so {places.out} can't be made", "choose another folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise TokswapError(f"{parent} can't be written to", "check its permissions, or choose another folder")
    return parent


def make_parent(system: System, places: Places, needed: int) -> None:
    """Create the folder that will hold the output, once it's clear that the output fits there."""
    missing = [path for path in places.out.parents if not path.exists()]
    if missing:
        require_space(system, require_folder(places), needed)
    for folder in reversed(missing):
        system.mkdir(folder)


@contextmanager
def locked(places: Places) -> Generator[None]:
    """Hold the output's lock; raises TokswapError at once when another run holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(places.lock, timeout=0)
    busy = TokswapError(
        f"another run is writing {places.out}", "wait until it ends, or write to another folder"
    )
    try:
        lock.acquire()
    except Timeout:
        raise busy from None
    try:
        if not places.lock.exists():  # its last holder removed the file between our opening and locking it
            raise busy
        yield
    finally:
        try:
            places.lock.unlink(missing_ok=True)  # while it's held: nobody else can be between open and lock
        finally:
            lock.release()


@contextmanager
def plain_errors(places: Places) -> Generator[None]:
    """Turn what the operating system refuses into TokswapErrors that say what is kept."""
    try:
        yield
    except OSError as error:
        said = error.strerror or str(error)
        kept = f"{places.out} is as it was, and what is finished is kept beside it"
        if error.errno in FULL_DISK:
            what, hint = f"the disk is full or a size limit is reached: {said}", "make room"
        elif error.errno in NOT_WRITABLE:
            what, hint = f"{places.out} can't be written: {said}", "check the permissions"
        else:
            what, hint = f"{places.out} can't be written: {said}", "check the disk"
        if isinstance(error.filename, (str, bytes)):
            what += f" ({os.fsdecode(error.filename)})"
        raise TokswapError(what, f"{hint}, then run the same command again; {kept}") from error


def recover(system: System, places: Places, recipe_id: str) -> dict[str, Any] | None:
    """Mend what a stopped run left; return the manifest when it had finished this very recipe but for tidying up."""
    if places.old.exists() and not places.out.exists():
        system.rename(places.old, places.out)
        system.fsync_folder(places.out.parent)
    journal = read_journal(places.journal)
    if _is_in_place(places, journal):
        tidy(system, places)
        return read_json(places.out / MANIFEST_NAME) if journal.recipe_id == recipe_id else None
    if places.old.exists():
        raise TokswapError(
            f"both {places.out} and {places.old} exist, and which one is wanted isn't known",
            "look at both and remove one",
        )
    return None


def tidy(system: System, places: Places) -> None:
    """Remove what a finished run leaves beside its output, the journal last."""
    remove_tree(system, places.old)
    if places.journal.exists():
        system.unlink(places.journal)
    system.fsync_folder(places.out.parent)


def open_stage(system: System, places: Places, recipe_id: str, names: Sequence[str]) -> Journal:
    """Return the journal of a stage for this recipe; stages of others, and files it doesn't list, are removed."""
    journal = read_journal(places.journal)
    if journal.recipe_id != recipe_id or not places.stage.is_dir():
        discard_stage(system, places)
        append_journal(system, places.journal, {"recipe": recipe_id})
        system.mkdir(places.stage)
        return Journal(recipe_id)
    keep = {name: entry for name, entry in journal.entries.items() if name in names}
    _sweep(system, places.stage, places.stage, keep)
    return Journal(recipe_id, keep)


def discard_stage(system: System, places: Places) -> None:
    """Remove a staged folder and its journal."""
    remove_tree(system, places.stage)
    if places.journal.exists():
        system.unlink(places.journal)


def is_kept(places: Places, entry: Entry | None, key: str) -> bool:
    """Return whether a journalled file is made from the same things and still has its size and sha256."""
    if entry is None or entry.key != key:
        return False
    path = places.stage / entry.name
    if path.is_symlink() or not path.is_file() or path.stat().st_size != entry.size:
        return False
    return hash_file(path) == entry.sha256


def move_in(system: System, places: Places) -> None:
    """Put the staged folder in the output's place; an older output waits beside it until that's done."""
    system.fsync_folder(places.stage)
    replaced = places.out.exists()
    if replaced:
        system.rename(places.out, places.old)
    try:
        system.rename(places.stage, places.out)
    except BaseException:  # also an interrupt: the old output goes back to where it was
        if replaced and not places.out.exists():
            system.rename(places.old, places.out)
        raise
    system.fsync_folder(places.out.parent)


def _is_in_place(places: Places, journal: Journal) -> bool:
    manifest = places.out / MANIFEST_NAME
    if journal.manifest is None or places.stage.exists() or not manifest.is_file():
        return False
    return hashlib.sha256(manifest.read_bytes()).hexdigest() == journal.manifest


def _sweep(system: System, root: Path, folder: Path, keep: Mapping[str, Entry]) -> None:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            _sweep(system, root, path, keep)
            if not any(path.iterdir()):
                system.rmdir(path)
        elif path.relative_to(root).as_posix() not in keep:
            system.unlink(path)


def _parse_line(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
