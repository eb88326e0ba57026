"""The cache folder: what was fetched or converted once, complete or absent."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tokswap.errors import TokswapError
from tokswap.reasons import reason_of

DISK_RESERVE = 1.05  # free space asked for, as a multiple of what will be written


@dataclass(frozen=True)
class Origin:
    """Where a cached folder came from, and what a person should know about it."""

    source: str
    notes: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Return the folder for fetched and converted models: $TOKSWAP_DATA, else `tokswap` in the user's cache."""
    if chosen := os.environ.get("TOKSWAP_DATA"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "tokswap"


def build_once(folder: Path, build: Callable[[Path], Origin]) -> Origin:
    """Return the origin of `folder`, building it first when it isn't there.

    `build` gets an empty folder next to it and leaves the finished content in its sub-folder `ready`. That
    is renamed at the end, under a lock: whoever sees `folder` sees all of it, and an interrupted build
    leaves nothing that could be taken for one. Raises TokswapError when the cache can't be written.
    """
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _build(folder, build)
        return _read_origin(folder)
    except OSError as error:
        hint = "free some space there, or set TOKSWAP_DATA to another folder"
        raise TokswapError(f"the cache {cache_folder()} can't be used: {reason_of(error)}", hint) from error


def _build(folder: Path, build: Callable[[Path], Origin]) -> None:
    work = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(work, ignore_errors=True)  # the lock is ours, so this is what a killed run left behind
    work.mkdir()
    try:
        origin = build(work)
        _origin_file(folder).write_text(json.dumps(asdict(origin), ensure_ascii=False), encoding="utf-8")
        (work / "ready").replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _origin_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.origin.json")  # beside it: the folder holds the model, only


def _read_origin(folder: Path) -> Origin:
    try:
        data = json.loads(_origin_file(folder).read_text(encoding="utf-8"))
        return Origin(str(data["source"]), tuple(str(note) for note in data["notes"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return Origin(str(folder))  # the content is complete whatever became of its label


def require_space(folder: Path, size_bytes: int) -> None:
    """Raise TokswapError when the disk under `folder` can't take `size_bytes` more."""
    free = shutil.disk_usage(folder).free
    if free < size_bytes * DISK_RESERVE:
        raise TokswapError(
            f"{size_bytes / 1e6:,.0f} MB are needed in {folder}, {free / 1e6:,.0f} MB are free",
            "free some space there, or set TOKSWAP_DATA to a folder on another disk",
        )
