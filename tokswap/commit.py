"""The only module that writes a checkpoint: staged, verified, then moved into place in one step.

    manifest = write(base, Path("out"), tensors={"model.embed_tokens.weight": rows}, files={…}, …)

At every instant `out` is absent, the old checkpoint, or a complete and verified new one. Tensors that aren't
replaced are copied as bytes and never decoded. A run that is stopped goes on where it was when the same recipe
is run again. Its parts: `commit_plan` (what goes where), `commit_files` (single files), `commit_stage` (journal,
lock, the move), `commit_verify` (reading it all back).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.checkpoint import INDEX_NAME, Checkpoint
from tokswap.commit_files import (
    SYSTEM,
    Advance,
    System,
    allocated_bytes,
    hash_file,
    hash_tensor,
    is_finite,
    write_bytes,
    write_shard,
)
from tokswap.commit_plan import Plan, PlannedShard, plan_output, planned_size, shapes_of
from tokswap.commit_stage import (
    MANIFEST_NAME,
    Entry,
    Journal,
    Places,
    append_journal,
    discard_stage,
    is_kept,
    locked,
    make_parent,
    move_in,
    open_stage,
    plain_errors,
    read_journal,
    recover,
    require_apart,
    require_folder,
    require_replaceable,
    require_space,
    staged_bytes,
    tidy,
)
from tokswap.commit_verify import verify_written
from tokswap.errors import TokswapError

if TYPE_CHECKING:
    import torch

__all__ = [
    "MANIFEST_NAME",
    "SYSTEM",
    "Built",
    "System",
    "check_output",
    "planned_size",
    "shapes_of",
    "verify_written",
    "write",
]

MANIFEST_VERSION = 1
# Folders may be used (chat templates), but every part is an ordinary name.
FILE_NAME = re.compile(r"(?:[^/\\:\x00.][^/\\:\x00]*/)*[^/\\:\x00.][^/\\:\x00]*")


@dataclass(frozen=True)
class Built:
    """A file that is made from the staged folder once that is verified: `make(stage, path)` writes it.

    It takes about `size` bytes, and is the same whenever the rest of the folder is.
    """

    name: str
    size: int
    make: Callable[[Path, Path], None]


@dataclass(frozen=True)
class _Job:
    base: Checkpoint
    places: Places
    plan: Plan
    tensors: Mapping[str, torch.Tensor]
    digests: Mapping[str, str]  # of `tensors`
    files: Mapping[str, bytes]  # with the index
    built: tuple[Built, ...]
    recipe_id: str
    system: System
    advance: Advance

    @property
    def names(self) -> tuple[str, ...]:
        return (*(shard.name for shard in self.plan.shards), *self.files, *(file.name for file in self.built))


def write(
    base: Checkpoint,
    out: Path,
    *,
    tensors: Mapping[str, torch.Tensor],
    drop: Collection[str] = (),
    files: Mapping[str, bytes],
    built: Sequence[Built] = (),
    recipe_id: str,
    manifest: Mapping[str, Any],
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    check: Callable[[Path], None] | None = None,
    system: System = SYSTEM,
) -> dict[str, Any]:
    """Write the base with other tensors and files to `out`, and return the manifest that was written with it.

    `tensors` replace those of the same name whole; one that the base lacks goes beside the input embedding.
    `drop` names tensors that are left out. `files` (relative path → content) are all other files of the output:
    none of the base's are copied; those `built` are made last, from the rest. `on_progress` gets
    bytes done and bytes in all, writing and reading back.
    `check` looks at the staged folder before it's moved into place, and raises to refuse it.

    Raises TokswapError when the output can't or may not be written, or doesn't read back as planned; `out` is
    then as it was. Raises ValueError for arguments that contradict each other.
    """
    check_output(base, out, overwrite=overwrite, system=system)
    plan = plan_output(base, shapes_of(tensors), drop)
    _require_names(plan, [*files, *(file.name for file in built)])
    json.dumps(manifest)  # a manifest that can't be written is found before hours of copying
    _require_finite(base, tensors)
    job = _Job(
        base=base,
        places=Places.of(out),
        plan=plan,
        tensors=tensors,
        digests={name: hash_tensor(tensor) for name, tensor in tensors.items()},
        files=dict(files) if plan.index is None else {**files, INDEX_NAME: plan.index},
        built=tuple(built),
        recipe_id=recipe_id,
        system=system,
        advance=_progress(on_progress, 2 * sum(map(_data_bytes, plan.shards))),
    )
    with plain_errors(job.places):
        return _commit(job, manifest, overwrite, check)


def check_output(
    base: Checkpoint, out: Path, *, needed: int = 0, overwrite: bool = False, system: System = SYSTEM
) -> None:
    """Raise TokswapError where `write` would refuse this output; nothing is written.

    `needed` bytes must be free, and some more. For before a long computation, and for a dry run.
    """
    places = Places.of(out)
    with plain_errors(places):
        require_apart(base, places)
        if not places.journal.exists() and not places.old.exists():  # else `write` mends first, then looks
            require_replaceable(places.out, overwrite)
        require_space(system, require_folder(places), needed)


def _commit(
    job: _Job, manifest: Mapping[str, Any], overwrite: bool, check: Callable[[Path], None] | None
) -> dict[str, Any]:
    places, system = job.places, job.system
    make_parent(system, places, _needed_bytes(job))
    with locked(places):
        finished = recover(system, places, job.recipe_id)
        if finished is not None:
            return finished
        require_replaceable(places.out, overwrite)
        _require_room(job)
        journal = open_stage(system, places, job.recipe_id, job.names)
        entries = _stage(job, journal)
        _verify(job, entries, check)
        entries |= _build(job, journal, entries)
        content = _finish(job, entries, manifest)
        move_in(system, places)
        tidy(system, places)
        return content


def _stage(job: _Job, journal: Journal) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for shard in job.plan.shards:
        key = _shard_key(job, shard)
        entries[shard.name] = _stage_file(job, journal, shard.name, key, shard)
    for name, content in job.files.items():
        key = hashlib.sha256(content).hexdigest()
        entries[name] = _stage_file(job, journal, name, key, content)
    return entries


def _stage_file(job: _Job, journal: Journal, name: str, key: str, content: PlannedShard | bytes) -> Entry:
    path, entry = job.places.stage / name, journal.entries.get(name)
    if entry is not None and is_kept(job.places, entry, key):
        job.advance(_data_bytes(content))
        return entry
    if path.exists() or path.is_symlink():
        job.system.unlink(path)
    if isinstance(content, PlannedShard):
        entry = _write_shard(job, path, key, content)
    else:
        _make_folders(job, path.parent)
        write_bytes(job.system, path, content)
        entry = Entry(name, len(content), key, key)
    append_journal(job.system, job.places.journal, entry)
    return entry


def _write_shard(job: _Job, path: Path, key: str, shard: PlannedShard) -> Entry:
    source = job.base.folder / shard.name
    sha256, digests = write_shard(job.system, path, source, shard, job.tensors, job.advance)
    return Entry(shard.name, shard.size, sha256, key, digests)


def _make_folders(job: _Job, folder: Path) -> None:
    if folder != job.places.stage and not folder.is_dir():
        _make_folders(job, folder.parent)
        job.system.mkdir(folder)


def _shard_key(job: _Job, shard: PlannedShard) -> str:
    """Return a digest of what a shard is made from: another one means that a finished file is of no use."""
    facts = (job.base.folder / shard.name).stat()
    digests = [job.digests[tensor.name] for tensor in shard.tensors if tensor.source is None]
    made_from = json.dumps([facts.st_size, facts.st_mtime_ns, *digests]).encode()
    return hashlib.sha256(shard.header + made_from).hexdigest()


def _verify(job: _Job, entries: Mapping[str, Entry], check: Callable[[Path], None] | None) -> None:
    digests = dict(job.digests)
    for entry in entries.values():
        digests.update(entry.tensors)
    try:
        verify_written(job.places.stage, job.plan, digests, job.base, job.advance)
        if check is not None:
            check(job.places.stage)
    except TokswapError:
        discard_stage(job.system, job.places)  # what doesn't verify must not be resumed
        raise


def _build(job: _Job, journal: Journal, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Have the last files made from the verified stage; what can't be made takes the whole stage with it."""
    key = hashlib.sha256(
        json.dumps(sorted((e.name, e.sha256) for e in entries.values())).encode()
    ).hexdigest()
    out: dict[str, Entry] = {}
    for file in job.built:
        path, entry = job.places.stage / file.name, journal.entries.get(file.name)
        if entry is None or not is_kept(job.places, entry, key):
            try:
                file.make(job.places.stage, path)
            except TokswapError:
                discard_stage(job.system, job.places)
                raise
            entry = Entry(file.name, path.stat().st_size, hash_file(path), key)
            append_journal(job.system, job.places.journal, entry)
        out[file.name] = entry
    return out


def _finish(job: _Job, entries: Mapping[str, Entry], manifest: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {
        **manifest,
        "schema_version": MANIFEST_VERSION,
        "recipe_id": job.recipe_id,
        "files": {name: {"size": e.size, "sha256": e.sha256} for name, e in sorted(entries.items())},
        "untouched": _untouched(job.plan, entries),
    }
    text = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    for folder in sorted({(job.places.stage / name).parent for name in job.files} - {job.places.stage}):
        job.system.fsync_folder(folder)
    write_bytes(job.system, job.places.stage / MANIFEST_NAME, text)
    append_journal(job.system, job.places.journal, {"manifest": hashlib.sha256(text).hexdigest()})
    return content


def _untouched(plan: Plan, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Return number, bytes and one digest of all copied tensors; it doesn't depend on how they are sharded."""
    digests = {name: digest for entry in entries.values() for name, digest in entry.tensors.items()}
    copied = sorted((tensor for tensor in plan.tensors if tensor.source), key=lambda tensor: tensor.name)
    whole = hashlib.sha256()
    for tensor in copied:
        whole.update(
            json.dumps([tensor.name, tensor.dtype, tensor.shape, digests[tensor.name]]).encode() + b"\n"
        )
    return {
        "tensors": len(copied),
        "bytes": sum(tensor.end - tensor.start for tensor in copied),
        "sha256": whole.hexdigest(),
    }


def _require_names(plan: Plan, files: Iterable[str]) -> None:
    taken = {MANIFEST_NAME, INDEX_NAME, *(shard.name for shard in plan.shards)}
    for name in files:
        if name in taken or not FILE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't be a file of the output")


def _require_finite(base: Checkpoint, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        # Rows that the base holds are copied as they are, even broken ones; new ones must not be broken.
        if not is_finite(tensor) and (name not in base.tensors or is_finite(base.read(name))):
            raise TokswapError(
                f"the new values of {name} are not all finite, though the base's are",
                "this is a fault of the method or its parameters: nothing was written",
            )


def _require_room(job: _Job) -> None:
    journal = read_journal(job.places.journal)
    done = staged_bytes(job.places, journal) if journal.recipe_id == job.recipe_id else 0
    require_space(job.system, job.places.out.parent, max(0, _needed_bytes(job) - done))


def _needed_bytes(job: _Job) -> int:
    """Return the disk space that the output takes; holes in the base stay holes and take none."""
    needed = sum(len(content) for content in job.files.values()) + sum(file.size for file in job.built)
    for shard in job.plan.shards:
        copied = sum(tensor.end - tensor.start for tensor in shard.tensors if tensor.source)
        needed += shard.size - copied + min(copied, allocated_bytes(job.base.folder / shard.name))
    return needed


def _data_bytes(content: PlannedShard | bytes) -> int:
    if isinstance(content, bytes):
        return 0
    return sum(tensor.end - tensor.start for tensor in content.tensors)


def _progress(on_progress: Callable[[int, int], None] | None, total: int) -> Advance:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if on_progress is not None:
            on_progress(done, total)

    return advance
