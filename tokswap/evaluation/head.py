"""A model's output layer, called apart from its body, and a probe that it gives the model's logits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PROBE_TOKENS = 8
PROBE_SCALES = (1.0, 8.0)  # the larger one makes a soft cap show even where logits are small


@contextlib.contextmanager
def captured(model: Any, *, skip_head: bool) -> Generator[list[Tensor]]:
    """Catch what the output layer is given; with `skip_head` the layer itself then sees no position."""
    caught: list[Tensor] = []

    def catch(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        caught.append(args[0])
        return (args[0][:, :0], *args[1:]) if skip_head else None

    handle = model.get_output_embeddings().register_forward_pre_hook(catch)
    try:
        yield caught
    finally:
        handle.remove()


def probed_head(
    model: Any, device: torch.device, input_rows: int
) -> tuple[Callable[[Tensor], Tensor] | None, int]:
    """Return the cheapest head that gives the model's own logits on a probe, or None, and its rows."""
    import torch

    ids = (input_rows // 2 + torch.arange(PROBE_TOKENS, device=device)[None]) % input_rows  # (1, T)
    with torch.no_grad():
        if model.get_output_embeddings() is None:
            return None, int(model(input_ids=ids, use_cache=False).logits.shape[-1])
        with captured(model, skip_head=False) as caught:
            true = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float()
        rows = int(true.shape[-1])
        if not caught or caught[0].shape[:2] != ids.shape:
            return None, rows
        injected = _injected_head(model, device)
        if not _close(injected(caught[0]).float(), true, caught[0].dtype):
            return None, rows
        plain = _plain_head(model)
        scaled = [caught[0] * scale for scale in PROBE_SCALES]
        same = all(torch.equal(plain(states).float(), injected(states).float()) for states in scaled)
    return (plain if same else injected), rows


def _plain_head(model: Any) -> Callable[[Tensor], Tensor]:
    """Return the output layer itself: right for models that do nothing to its logits."""
    return model.get_output_embeddings()


def _injected_head(model: Any, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the output layer with all that the model does to its logits (soft cap, scale, …).

    The model runs on one token, and the wanted states take the place of what its output layer would read.
    """
    import torch

    def head(states: Tensor) -> Tensor:
        def put(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (states, *args[1:])

        handle = model.get_output_embeddings().register_forward_pre_hook(put)
        try:
            one = torch.zeros((1, 1), dtype=torch.long, device=device)
            return model(input_ids=one, attention_mask=torch.ones_like(one), use_cache=False).logits
        finally:
            handle.remove()

    return head


def _close(a: Tensor, b: Tensor, dtype: torch.dtype) -> bool:
    """Whether two arrays of logits agree up to a few roundings of `dtype`."""
    import torch

    if a.shape != b.shape:
        return False
    allowed = 8 * torch.finfo(dtype).eps * float(b.abs().max())
    return float((a - b).abs().max()) <= allowed
