"""Run the command in a forked child under limits of time and memory, with everything imported before the fork."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS, MEGABYTES = 2.0, 500.0
HARD_SECONDS = 20  # after which the kernel ends the child


@dataclass(frozen=True)
class Ended:
    """How a child ended: exit code (negative: a signal), output, CPU seconds and megabytes beyond its start."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float


def run(arguments: Sequence[str | Path], scratch: Path, before: Callable[[], None] = lambda: None) -> Ended:
    """Run `tokswap ARGUMENTS` in a child; `before` is called in it first, to take rights or room away."""
    files = [scratch / name for name in ("child-out", "child-err", "child-size")]
    pid = os.fork()
    if not pid:
        _child([str(a) for a in arguments], files, before)
    _, status, usage = os.wait4(pid, 0)
    out, err, size = (path.read_text(errors="replace") if path.exists() else "" for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    start = float(size or 0)
    return Ended(
        os.waitstatus_to_exitcode(status),
        out,
        err,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024 - start,
    )


def _child(arguments: list[str], files: list[Path], before: Callable[[], None]) -> None:
    code = 99
    try:
        for number, path in ((1, files[0]), (2, files[1])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        import sys

        sys.stdout, sys.stderr = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
        files[2].write_text(str(_resident_megabytes()))
        resource.setrlimit(resource.RLIMIT_CPU, (HARD_SECONDS, HARD_SECONDS))
        signal.alarm(10 * HARD_SECONDS)
        before()
        from tokswap_cli.app import main

        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def snapshot(root: Path) -> dict[str, int]:
    """Return every path below `root` with its size."""
    return {str(path.relative_to(root)): path.lstat().st_size for path in sorted(root.rglob("*"))}
