"""Where a model runs and in which numbers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tokswap.errors import TokswapError

if TYPE_CHECKING:
    import torch

MEMORY = Path("/proc/meminfo")
"""What Linux says of the memory of the machine."""


def choose_device(device: str) -> torch.device:
    """Return the torch device for a name or "auto"; raises TokswapError for one that isn't there."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).sum().item()  # the meta device has no numbers to give
    except (RuntimeError, AssertionError) as error:
        raise TokswapError(
            f"the device {device!r} can't be used on this machine", f"choose {' or '.join(_devices())}"
        ) from error
    return chosen


def _devices() -> list[str]:
    """Return the names of devices that are there."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["auto", "cpu", *(name for name, found in there.items() if found)]


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the torch dtype for a name or "auto"; fp16 on a CPU is refused: it is a hundred times slower."""
    import torch

    if dtype == "auto":
        return torch.bfloat16 if computes_bfloat16(device) else torch.float32
    names = {
        "bfloat16": torch.bfloat16,
        "bf16": torch.bfloat16,
        "float32": torch.float32,
        "fp32": torch.float32,
    }
    if device.type != "cpu":
        names |= {"float16": torch.float16, "fp16": torch.float16}
    if dtype not in names:
        raise TokswapError(
            f"the dtype {dtype!r} can't be used on {device.type}", f"choose auto, {', '.join(names)}"
        )
    return names[dtype]


def many_gpus() -> bool:
    """Whether a model can be spread over several GPUs (accelerate does it)."""
    import torch

    return torch.cuda.device_count() > 1 and importlib.util.find_spec("accelerate") is not None


def free_memory(device: torch.device) -> int:
    """Return the bytes that may be had on `device`; 2 GiB where the system doesn't tell.

    Linux keeps what it read from files in memory that it gives back when asked: that counts as free.
    """
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = MEMORY.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 2 * 1024**3


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` multiplies bf16 matrices faster than fp32 ones."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    checks = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check() for check in checks if check is not None)
