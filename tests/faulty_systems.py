"""Operating systems that fail on purpose, and one small commit to try them on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit import System, write

torch.set_num_threads(1)

EMBED = "model.embed_tokens.weight"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
Tree = dict[str, bytes] | None


class Death(BaseException):
    """What a killed process does to its code: nothing after it runs, no handler for errors sees it."""


class Quick(System):
    """The real system without the waits for the disk: a killed process keeps what the kernel already has."""

    def fsync(self, fd: int) -> None:
        pass

    def fsync_folder(self, path: Path) -> None:
        pass

    def free_bytes(self, path: Path) -> int:
        return 1 << 40


class Faulty(Quick):
    """Calls `fault` at step number `at`, before the step or, when `torn`, halfway through a write."""

    def __init__(self, at: int, fault: Callable[[], None], *, torn: bool = False) -> None:
        self.at, self.fault, self.torn = at, fault, torn
        self.steps: list[str] = []

    def step(self, name: str) -> bool:
        self.steps.append(name)
        now = len(self.steps) == self.at
        if now and not (self.torn and name.startswith("write")):
            self.fault()
        return now

    def write(self, fd: int, data: bytes | memoryview) -> None:
        if self.step("write"):
            super().write(fd, bytes(data)[: len(data) // 2])
            self.fault()
        super().write(fd, data)

    def write_at(self, fd: int, data: bytes | memoryview, at: int) -> None:
        if self.step("write_at"):
            super().write_at(fd, bytes(data)[: len(data) // 2], at)
            self.fault()
        super().write_at(fd, data, at)


def _counted(name: str) -> Callable[..., Any]:
    def method(self: Faulty, *arguments: Any) -> Any:
        self.step(name)
        return getattr(Quick, name)(self, *arguments)

    return method


for _name in (
    "create",
    "append",
    "clone",
    "truncate",
    "fsync",
    "fsync_folder",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
):
    setattr(Faulty, _name, _counted(_name))


class Dying(Faulty):
    """Dies at a step, and stays dead: whatever the code still tries while it unwinds doesn't happen."""

    def __init__(self, at: int, *, torn: bool = False) -> None:
        super().__init__(at, self.die, torn=torn)

    def die(self) -> None:
        raise Death

    def step(self, name: str) -> bool:
        if self.steps and len(self.steps) >= self.at:
            raise Death
        return super().step(name)


class Recording(Quick):
    """Notes which files were made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def create(self, path: Path) -> int:
        self.made.append(path.name)
        return super().create(path)


def table(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))


def make_base(folder: Path, seed: int = 0) -> Checkpoint:
    folder.mkdir(exist_ok=True)
    parts = (
        {EMBED: table(9, seed), "a": table(3, seed)},
        {"b": table(5, seed), "c": table(2, seed).bfloat16()},
    )
    places: dict[str, str] = {}
    for name, tensors in zip(SHARDS, parts, strict=True):
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text("{}")
    return open_checkpoint(folder)


def command(base: Checkpoint, out: Path, system: System, **more: Any) -> dict[str, Any]:
    files = {"config.json": b"{}", "tokenizer.json": b'{"new": 1}', "templates/a.jinja": b"{{ x }}"}
    tensors = {EMBED: table(11, 5)}
    more = {"recipe_id": "r", "manifest": {"tool": "test"}} | more
    return write(base, out, tensors=tensors, files=files, system=system, **more)


def old_output(out: Path) -> None:
    (out / "sub").mkdir(parents=True)
    (out / "config.json").write_text('{"old": 1}')
    (out / "sub" / "notes.txt").write_text("old")


def tree(folder: Path) -> Tree:
    if not folder.exists():
        return None
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if ".tokswap-" in path.name)
