"""Rows of a vocabulary from a hypernetwork, in blocks that fit the budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tokswap.hypernet.config import HypernetConfig, Start
from tokswap.hypernet.files import Hypernet
from tokswap.hypernet.surfaces import surface_matrix
from tokswap.methods import SideBySide, Task, get_method

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.hypernet.network import Predicted

LIVE_WIDTHS = 8
"""Widths of numbers that an encoder layer holds of one position at once."""
MOST_AT_ONCE = 1024
"""Tokens of a block at the most: larger ones gain nothing."""


@dataclass
class Predictor:
    """A hypernetwork ready to make rows; `surfaces` Int[n L] are its targets' spellings, None for their pieces.

    `bias` Float32[n] are the biases that it predicted with the last rows, where it does.
    """

    hypernet: Hypernet
    surfaces: Tensor | None = None
    bias: Tensor | None = None

    def rows(self, task: Task, language: str = "") -> Tensor:
        """Return the rows of all targets, Float32[n w].

        A token that the base can't spell gets what the start gives it. Raises TokswapError for a language that the
        network doesn't know.
        """
        import torch

        config = self.hypernet.config
        chosen = config.language_index(language)
        surfaces = spellings(config, task) if self.surfaces is None else self.surfaces
        start = start_rows(config.start, task)
        network = self.hypernet.network.to(task.device)
        parts: list[Predicted] = []
        step = block_size(config, task.budget)
        with torch.no_grad():
            for at in range(0, len(surfaces), step):
                part = slice(at, at + step)
                parts.append(forward(network, surfaces[part], task.base, start[part], chosen))
                task.report(min(at + step, len(surfaces)))
        rows = torch.cat([part.rows.cpu() for part in parts]) if parts else start
        unspelt = (surfaces == config.pad_token_id).all(dim=1)
        rows[unspelt] = start[unspelt]
        biases = [part.bias.cpu() for part in parts if part.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        return rows


def forward(
    network: Any, surfaces: Tensor, base: Tensor | SideBySide, start: Tensor, language: int | None = None
) -> Predicted:
    """Return what a network of either kind makes of spellings Int[n L] and starts Float[n w], on its device.

    Most tokens have two or three pieces: those of one length go together, so that few positions are padding.
    """
    import torch

    from tokswap.hypernet.network import Predicted

    device = next(network.parameters()).device
    if language is not None or not len(surfaces):  # a language takes the place after the padding
        return _forward(network, surfaces.to(device), base, start.to(device), language)
    pad = network.config.pad_token_id
    lengths = (surfaces != pad).sum(dim=1).clamp(min=1)
    parts: list[tuple[Tensor, Predicted]] = []
    for length in lengths.unique().tolist():
        chosen = torch.nonzero(lengths == length)[:, 0]
        cut = surfaces[chosen, :length].to(device)
        parts.append((chosen, _forward(network, cut, base, start[chosen].to(device), None)))
    order = torch.cat([chosen for chosen, _ in parts]).argsort().to(device)
    biases = [part.bias for _, part in parts if part.bias is not None]
    return Predicted(
        torch.cat([part.rows for _, part in parts])[order], torch.cat(biases)[order] if biases else None
    )


def _forward(
    network: Any, surfaces: Tensor, base: Tensor | SideBySide, start: Tensor, language: int | None
) -> Predicted:
    if network.config.residual:
        return network(surfaces, base, start)
    return network(surfaces, base, language)


def spellings(config: HypernetConfig, task: Task) -> Tensor:
    """Return Int[n L]: the pieces of a task's targets."""
    return surface_matrix(task.pieces, config.hn_surface_maxlen, config.pad_token_id)


def start_rows(start: Start, task: Task) -> Tensor:
    """Return Float32[n w]: what the start's method makes of a task, each side by itself."""
    import torch

    method = get_method(start.method)
    quiet = replace(task, on_progress=None, network=None)
    if not isinstance(task.base, SideBySide):
        return method(quiet, **start.parameters)
    sides = (
        replace(quiet, base=task.base.input, side="input"),
        replace(quiet, base=task.base.output, side="output"),
    )
    return torch.cat([method(side, **start.parameters) for side in sides], dim=1)


def block_size(config: HypernetConfig, budget: int) -> int:
    """Return how many tokens are predicted at once."""
    live = 2 * config.row_width + LIVE_WIDTHS * config.hn_hidden_size + 2 * config.hn_intermediate_size
    return max(1, min(MOST_AT_ONCE, budget // (4 * live * (config.hn_surface_maxlen + 1))))
