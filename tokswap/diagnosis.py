"""What a person should know before a transplant: this machine, and the faults of a model or tokenizer."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from tokswap import __version__
from tokswap.report import Figure, Report
from tokswap.verification.check import Check, Finding, failed, first_of, not_checked, passed, warned

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint
    from tokswap.verification.subject import Subject

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub")
# Package → what it is needed for.
EXTRAS: Mapping[str, str] = {
    "matplotlib": "--report",
    "sentencepiece": "tokenizer.model files",
    "accelerate": "several GPUs",
}
LITTLE_DISK = 10 * 10**9
"""Free bytes in the cache below which a common model (7B, bf16) doesn't fit."""
MANY_UNREACHABLE = 0.01
"""Share of tokens that text never yields above which a tokenizer is worth a look."""


def machine() -> dict[str, Finding]:
    """Return what was found about this machine: versions, device, cache, disk, optional packages."""
    checks: Mapping[str, Callable[[], Finding]] = {
        "versions": _versions,
        "device": _device,
        "cache": _cache,
        "extras": _extras,
        "hub": _hub,
    }
    return {name: check() for name, check in checks.items()}


def diagnose(
    source: Checkpoint | None = None, *, on_progress: Callable[[str, int, int], None] | None = None
) -> Report:
    """Return a report on this machine and, with `source`, on that model or tokenizer before it is used.

    The fact `sound` is false when something was found that would fail or spoil a transplant.
    """
    from tokswap.verification.checks import report_of, run_checks
    from tokswap.verification.subject import Subject

    found = machine()
    if source is None:
        return report_of("diagnosis", f"tokswap {__version__}", None, found)
    found |= run_checks(lints(source), Subject(source), run=False, on_progress=on_progress)
    return report_of("diagnosis", source.source, None, found)


def lints(source: Checkpoint) -> tuple[Check, ...]:
    """Return the checks that make sense for a source: a tokenizer alone has no rows."""
    from tokswap.verification import checks, ids, rows

    of_weights = {ids.rows, ids.tied, rows.finite_rows, rows.zero_rows, rows.outlier_rows}
    left_out = {rows.new_row_norms, rows.shared_rows, ids.shape_of_base}
    own = [Check("embeddings", _embeddings), Check("reach", _reach), Check("digits", _digits)]
    found = [
        check
        for check in checks.CHECKS
        if not check.runs_model and check.function not in left_out and check.name not in _OF_OUTPUTS
    ]
    if source.tensors:
        return (*own, *found)
    return (*own, *(check for check in found if check.function not in of_weights))


_OF_OUTPUTS = ("manifest", "untouched_tensors")


def _versions() -> Finding:
    known = {name: _version(name) for name in LIBRARIES}
    said = ", ".join(f"{name} {number or 'absent'}" for name, number in known.items())
    wrong = [
        f"{name} {known[name]} is older than {least}"
        for name, least in _least().items()
        if _older(known.get(name), least)
    ]
    wrong += [f"{name} is not installed" for name, number in known.items() if number is None]
    here = f"Python {platform.python_version()}, {said}"
    return failed(f"{'; '.join(wrong)} ({here})") if wrong else passed(here)


def _device() -> Finding:
    from tokswap.device import choose_device, computes_bfloat16, free_memory

    device = choose_device("auto")
    room = Figure(free_memory(device), "bytes")
    kind = "bf16" if computes_bfloat16(device) else "fp32"
    return passed(f"{device}, {room.value / 1e9:.1f} GB free, computes in {kind}", free_memory=room)


def _cache() -> Finding:
    from tokswap.cache import cache_folder

    folder = cache_folder()
    here = next(part for part in (folder, *folder.parents) if part.exists())
    if not os.access(here, os.W_OK):
        return failed(f"the cache {folder} can't be written: set TOKSWAP_DATA to another folder")
    free = shutil.disk_usage(here).free
    said = f"{folder}, {free / 1e9:.1f} GB free"
    figures = {"free_disk": Figure(free, "bytes")}
    return (
        passed(said, **figures) if free >= LITTLE_DISK else warned(f"{said}: little for a model", **figures)
    )


def _extras() -> Finding:
    absent = [f"{name} ({what})" for name, what in EXTRAS.items() if _version(name) is None]
    return (
        warned(f"not installed: {first_of(absent)}")
        if absent
        else passed("all optional packages are installed")
    )


def _hub() -> Finding:
    token = "a token is set" if os.environ.get("HF_TOKEN") else "no token is set"
    mode = (
        "off line by HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "asked when a Hub id is given"
    )
    return passed(f"{mode}; {token}")


def _embeddings(subject: Subject) -> Finding:
    """The tables can be found and rewritten: this is a base, a donor, or a tokenizer alone."""
    source = subject.checkpoint
    if not source.tensors:
        return not_checked("a tokenizer alone: good enough for a donor")
    roles = source.roles
    kind = "tied" if roles.output is None else f"untied, head {roles.output}"
    said = f"{roles.input}, {source.rows:,} × {source.hidden_size:,}, {source.tensors[roles.input].dtype}, {kind}"
    return warned(f"{said}; {'; '.join(roles.notes)}") if roles.notes else passed(said)


def _reach(subject: Subject) -> Finding:
    """Text yields the tokens: rows of others can't be learnt from text."""
    from tokswap.tokenizer_traits import unreachable

    reach = unreachable(subject.engine, subject.vocab)
    count = Figure(len(reach.unreachable), "tokens", note=f"of {reach.tried:,} that were tried")
    if not reach.unreachable:
        return passed(f"text yields every one of {reach.tried:,} tokens", unreachable=count)
    import numpy as np

    names = subject.names(np.asarray(reach.unreachable, dtype=np.int64))
    said = f"text never yields {count.value:,} of {reach.tried:,} tokens: {first_of(names)}"
    many = len(reach.unreachable) > MANY_UNREACHABLE * reach.tried
    return warned(said, unreachable=count) if many else passed(said, unreachable=count)


def _digits(subject: Subject) -> Finding:
    """How numbers are cut: two tokenizers that cut them otherwise share few number tokens."""
    from tokswap.tokenizer_traits import digit_scheme

    return passed(digit_scheme(subject.engine, subject.vocab))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _least() -> dict[str, str]:
    """Return library → the least version that tokswap itself asks for."""
    try:
        lines = requires("tokswap") or []
    except PackageNotFoundError:
        return {}
    found = (re.match(r"([\w-]+)>=([\d.]+)", line) for line in lines)
    return {match[1].replace("-", "_"): match[2] for match in found if match}


def _older(number: str | None, least: str) -> bool:
    def parts(text: str) -> tuple[int, ...]:
        return tuple(int(p) for p in re.findall(r"\d+", text)[:3])

    return number is not None and parts(number) < parts(least)
