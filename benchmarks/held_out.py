"""Shared tokens held out in memory: a task as a method gets it, whose true rows are known.

The hidden tokens are taken out of the anchors and out of the base's tokenizer, so that they are spelt with others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from tokswap.align import align, preferred_ids
from tokswap.checkpoint import Checkpoint, read_embeddings
from tokswap.methods import Task, get_method
from tokswap.pieces import spell
from tokswap.sources import open_source
from tokswap.vocab import vocab_of

UNTRAINED = 1e-3  # of the median norm, as in tokswap.initialise


@dataclass(frozen=True)
class HeldOut:
    """The task, the base's ids of the hidden tokens, their true rows Float32[n d], and both models."""

    base: Checkpoint
    donor: Checkpoint
    task: Task
    ids: Tensor
    truth: Tensor


def hold_out(base_name: str, donor_name: str, count: int, *, seed: int = 0) -> HeldOut:
    """Hide `count` shared tokens of two bytes and more, drawn by the seed; both models have tied embeddings."""
    base, donor = open_source(base_name), open_source(donor_name)
    old, new = vocab_of(base), vocab_of(donor)
    alignment = align(old, new)
    rows, donor_rows = (read_embeddings(model)[0].float() for model in (base, donor))
    usable = torch.tensor(sorted(preferred_ids(old).values()))
    usable = usable[_trained(rows)[usable]]
    new_ids = torch.from_numpy(alignment.anchor_ids)
    old_ids = torch.from_numpy(alignment.source)[new_ids]
    fit = torch.isin(old_ids, usable) & _trained(donor_rows)[new_ids]
    anchors = torch.stack([old_ids, new_ids], dim=1)[fit]
    long = [i for i, (_, b) in enumerate(anchors.tolist()) if len(new.bytes_of(b)) > 1]
    random.Random(seed).shuffle(long)
    hidden = torch.tensor(sorted(long[:count]))
    ids, targets = anchors[hidden].T
    kept = torch.ones(len(anchors), dtype=torch.bool)
    kept[hidden] = False
    tokens = [new.bytes_of(int(i)) for i in targets]
    pieces = spell(base.tokenizer, old, tokens, without=set(ids.tolist()))
    task = Task(
        base=rows,
        usable=usable[~torch.isin(usable, ids)],
        targets=targets,
        pieces=pieces,
        anchors=anchors[kept],
        donor=donor_rows,
    )
    return HeldOut(base, donor, task, ids, rows[ids])


def make_rows(spec: str, task: Task) -> Tensor:
    """Return the rows of a method written like `omp:k=8`."""
    name, *settings = spec.split(":")
    method = get_method(name)
    return method(task, **dict(s.split("=") for s in settings))


def errors(rows: Tensor, truth: Tensor) -> dict[str, float]:
    """Return medians of the relative error and the cosine, and the median ratio of norms."""
    norms = truth.norm(dim=1)
    figures = {
        "relative_error": (rows - truth).norm(dim=1) / norms,
        "cosine": torch.nn.functional.cosine_similarity(rows, truth),
        "norm": rows.norm(dim=1) / norms,
    }
    return {name: round(float(values.median()), 4) for name, values in figures.items()}


def _trained(rows: Tensor) -> Tensor:
    norms = rows.norm(dim=1)
    return norms.isfinite() & (norms > UNTRAINED * norms[norms > 0].median())
