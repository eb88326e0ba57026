"""Start a job in a process of its own and wait for its result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tokswap.errors import TokswapError
from tokswap.report import Report

Progress = Callable[[str, int, int], None]

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_LAST_BYTES = 2000  # of what a process wrote to stderr before it died


@dataclass(frozen=True)
class Done:
    """A job's report and what it took: wall and CPU seconds and peak resident bytes of the whole process."""

    report: Report
    seconds: float
    cpu_seconds: float
    peak_memory: int | None


def run_job(job: Mapping[str, Any], *, threads: int | None, on_progress: Progress | None = None) -> Done:
    """Carry out a job of `tokswap.board.child`. Raises TokswapError for what it raises there, or when it dies."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "tokswap.board.child"]
    pipe, environment = subprocess.PIPE, _environment(threads)
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, env=environment) as process,
    ):
        try:
            result = _result(process, job, on_progress)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        seconds = time.perf_counter() - start
        if result is None:
            raise _died(process.returncode, errors)
    if "error" in result:
        raise TokswapError(result["error"], result["hint"])
    return Done(Report.from_dict(result["report"]), seconds, result["cpu_seconds"], result["peak_memory"])


def _result(
    process: subprocess.Popen[bytes], job: Mapping[str, Any], on_progress: Progress | None
) -> dict[str, Any] | None:
    """Hand the job over, pass its progress on, and return its last line; None when it died."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    for line in process.stdout:
        said: dict[str, Any] = json.loads(line)
        if "progress" not in said:
            process.wait()
            return said
        if on_progress is not None:
            on_progress(*said["progress"])
    process.wait()
    return None


def _environment(threads: int | None) -> dict[str, str]:
    """Return this process's environment, with this very tokswap importable, whatever the folder."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    counts = {} if threads is None else dict.fromkeys(THREADS, str(threads))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **counts}


def _died(code: int, errors: IO[bytes]) -> TokswapError:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_BYTES))
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    if code < 0:
        return TokswapError(
            f"the process was ended by signal {-code}",
            "signal 9 is most often the system's answer to too little memory",
        )
    return TokswapError(
        f"the process ended with code {code}: {lines[-1] if lines else 'it gave no reason'}",
        "run this transplant alone to see more: tokswap transplant with the same fields and --debug",
    )
