from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# A person's own setting must not decide what the tests of the Hub see; their Hub is a server on this machine.
os.environ.pop("HF_HUB_OFFLINE", None)

# The same examples in every run, so that a change is judged by what it changed; `TOKSWAP_FUZZ=1` looks for new ones.
settings.register_profile("same", derandomize=True)
settings.load_profile("default" if os.environ.get("TOKSWAP_FUZZ") else "same")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums don't depend on the machine's cores, and tests that run side by side don't crowd each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
