"""One job of a cell in a process of its own: `python -m tokswap.board.child`.

The job is one line of JSON on stdin, which stays open as long as whoever started this lives: when it ends, so does
this process, and nothing goes on behind a run that was killed. Lines of JSON on stdout tell progress and, last, the
result with the time and memory that the operating system counted for the whole process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from tokswap.errors import TokswapError
from tokswap.report import Report

PROGRESS_SECONDS = 0.2
ORPHANED = 3  # exit code; nobody is left to read it

Say = Callable[[Mapping[str, Any]], None]
Progress = Callable[[str, int, int], None]


def main() -> None:
    """Read a job, carry it out, and write its result."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    say = _channel()
    try:
        report = JOBS[job.pop("job")](**job, on_progress=_progress(say))
    except TokswapError as error:
        say({"error": error.what, "hint": error.hint})
        return
    usage = {"cpu_seconds": time.process_time(), "peak_memory": peak_memory()}
    say({"report": report.to_dict(), **usage})


def transplant(*, fields: Mapping[str, Any], out: str, on_progress: Progress) -> Report:
    """Carry out a recipe, without its evaluation."""
    from tokswap.api import transplant as move

    return move(**fields, out=out, overwrite=True, on_progress=on_progress)


def heal(*, fields: Mapping[str, Any], out: str, on_progress: Progress) -> Report:
    """Heal a transplanted folder, without its evaluation."""
    from tokswap.api import heal as train

    return train(**fields, out=out, overwrite=True, evaluate=False, on_progress=on_progress)


def evaluate(
    *,
    model: str,
    base: str,
    texts: Mapping[str, list[str]],
    how: Mapping[str, Any],
    keep: str,
    on_progress: Progress,
) -> Report:
    """Score a folder beside its base on texts that are given as they are."""
    from tokswap.evaluation.evaluate import evaluate as score
    from tokswap.evaluation.texts import Text
    from tokswap.sources import open_source

    documents = {name: Text(name, tuple(its)) for name, its in texts.items()}
    against = open_source(base)
    return score(open_source(model), documents, against=against, keep=keep, on_progress=on_progress, **how)


JOBS: Mapping[str, Callable[..., Report]] = {"transplant": transplant, "heal": heal, "evaluate": evaluate}


def peak_memory() -> int | None:
    """Return the most bytes that were resident; None where the system doesn't tell.

    Linux keeps the figure for each program; getrusage's is no smaller than the parent's at the time of the fork.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _channel() -> Say:
    """Keep stdout for lines of JSON: whatever a library prints goes to stderr."""
    out: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(data: Mapping[str, Any]) -> None:
        out.write(json.dumps(data) + "\n")
        out.flush()

    return say


def _progress(say: Say) -> Progress:
    last = ["", 0.0]

    def on_progress(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != last[0] or now - float(last[1]) > PROGRESS_SECONDS or done == total:
            last[:] = [stage, now]
            say({"progress": [stage, done, total]})

    return on_progress


def _end_with_parent() -> None:
    while os.read(0, 4096):  # sys.stdin's own lock would be held when the interpreter shuts down
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    main()
