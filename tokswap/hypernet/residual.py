"""A small network that refines rows of any training-free method: start + scale · Δ, where Δ begins as 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tokswap.hypernet.config import HypernetConfig
from tokswap.hypernet.network import Encoder, Predicted

if TYPE_CHECKING:
    from tokswap.methods import SideBySide


class ResidualNetwork(nn.Module):
    """Spelling and start → rows: an encoder over the start and the base rows of the pieces, and a linear head.

    The head's weight and bias are 0 at first, so that an untrained network returns the start, bit for bit. Rows are
    standardised by the base's own mean and standard deviation (`centre`, `scale` Float[1 w]), which the checkpoint
    holds.
    """

    def __init__(self, config: HypernetConfig) -> None:
        super().__init__()
        self.config = config
        width, row = config.hn_hidden_size, config.row_width
        self.centre = nn.Parameter(torch.zeros(1, row), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(1, row), requires_grad=False)
        self.start_projection, self.piece_projection = nn.Linear(row, width), nn.Linear(row, width)
        self.model = Encoder(config, 1)
        self.output_projection = nn.Linear(width, row)
        nn.init.zeros_(self.output_projection.weight)
        nn.init.zeros_(self.output_projection.bias)
        for table in (self.model.embeddings.position_embeddings, self.model.embeddings.token_type_embeddings):
            nn.init.normal_(table.weight, std=0.02)

    def standardise(self, base: Tensor | SideBySide, usable: Tensor) -> None:
        """Take centre and scale from the base's rows `usable` Int[m]."""
        rows = base[usable].float()
        with torch.no_grad():
            self.centre.copy_(rows.mean(0, keepdim=True))
            self.scale.copy_(rows.std(0, keepdim=True).clamp_min(1e-8))

    def forward(self, surfaces: Tensor, base: Tensor | SideBySide, start: Tensor) -> Predicted:
        """Return rows for spellings Int[n L] (base ids, padded) and their start Float[n w]."""
        mask = surfaces != self.config.pad_token_id
        device = base.device if isinstance(base, Tensor) else base.input.device
        pieces = base[surfaces.clamp(max=base.shape[0] - 1).to(device)].to(start)
        pieces, begun = ((rows - self.centre) / self.scale for rows in (pieces, start))
        pieces = pieces.masked_fill(
            ~mask[..., None], 0.0
        )  # padding stands for whichever row, which may be NaN
        inputs = torch.cat([self.start_projection(begun)[:, None], self.piece_projection(pieces)], dim=1)
        seen = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        first = self.model(inputs, seen)
        return Predicted(start + self.scale * self.output_projection(first))
