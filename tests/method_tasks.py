"""A small task for any method."""

from __future__ import annotations

import torch

from tokswap.hypernet.config import RESIDUAL, make_config
from tokswap.hypernet.files import Hypernet, build_network
from tokswap.hypernet.predict import Predictor
from tokswap.methods import Links, Pieces, Task

ROWS, WIDTH, DONOR_ROWS, DONOR_WIDTH, ANCHORS, TARGETS = 160, 24, 200, 32, 120, 30


def make_task(seed: int = 0, *, anchors: int = ANCHORS, targets: int = TARGETS) -> Task:
    """A task with padding on both sides, a NaN row that nothing refers to, and tokens that can't be spelt."""
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(ROWS, WIDTH, generator=g)
    base[ROWS - 1] = torch.nan
    donor = torch.randn(DONOR_ROWS, DONOR_WIDTH, generator=g) * torch.rand(DONOR_ROWS, 1, generator=g)
    new_ids = torch.randperm(DONOR_ROWS, generator=g)
    counts = torch.randint(0, 5, (targets,), generator=g)
    counts[:1] = 0
    ids = torch.randint(0, ROWS - 1, (int(counts.sum()),), generator=g)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    return Task(
        base=base,
        usable=torch.arange(ROWS - 1),
        targets=new_ids[ANCHORS : ANCHORS + targets].sort().values,
        pieces=Pieces(ids, torch.randint(1, 6, ids.shape, generator=g), starts),
        anchors=torch.stack([torch.randperm(ROWS - 1, generator=g)[:anchors], new_ids[:anchors]], dim=1),
        donor=donor,
        network=_network(base[: ROWS - 1]),
        links=Links(
            torch.randint(0, DONOR_ROWS, (300,), generator=g),
            torch.randint(0, ROWS, (300,), generator=g),
            torch.rand(300, generator=g),
        ),
    )


def _network(rows: torch.Tensor) -> Predictor:
    """A residual network with weights that are all different."""
    config = make_config(
        {"model_type": RESIDUAL, "n_embd": WIDTH, "hn_hidden_size": 16, "hn_intermediate_size": 24}
        | {"hn_n_layers": 1, "hn_surface_maxlen": 5, "original_vocab_size": ROWS, "pad_token_id": ROWS}
        | {"hn_predict_bias": False}
    )
    network = build_network(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
    network.centre.copy_(rows.mean(0, keepdim=True))
    network.scale.copy_(rows.std(0, keepdim=True))
    return Predictor(Hypernet(config, network))
