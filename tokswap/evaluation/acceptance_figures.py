"""Acceptance as figures with intervals, and the speed that follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.bootstrap import share_interval
from tokswap.report import Figure, Report
from tokswap.speculation import Speed, best_speed, speed

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.texts import Text

CHUNK_TOKENS = 64
"""Tokens of one chunk that is resampled: the bytes of a chunk of bits per byte, at four bytes a token."""

SHARE = "share"
BOUND = "at most: the likeliest token under its own tokenizer begins the target's, or the other way round"


@dataclass(frozen=True)
class Accepted:
    """One document; every array has one entry a token of the target.

    `greedy` 0 or 1 and `sampled` Float[n] for the draft; `common` Bool[n], whether a token under the draft's first
    tokenizer begins there too, and only there `own_greedy`, `own_sampled` and `own_most` say what it could do.
    """

    greedy: NDArray[np.float64]
    sampled: NDArray[np.float64]
    common: NDArray[np.bool_]
    own_greedy: NDArray[np.float64]
    own_sampled: NDArray[np.float64]
    own_most: NDArray[np.float64]


def acceptance_report(
    found: Mapping[str, Sequence[Accepted]],
    *,
    draft: Checkpoint,
    target: Checkpoint,
    base: Checkpoint | None,
    tokens: int | None,
    cost: float | None,
    seed: int,
    texts: Mapping[str, Text],
    facts: Mapping[str, Any],
) -> Report:
    """Return the figures of all texts and, in sections, of each."""
    compared = base is not None
    costs = {"": cost or read_bytes(draft) / read_bytes(target)}
    if base is not None:
        costs["base_"] = read_bytes(base) / read_bytes(target)
    everything = [its for several in found.values() for its in several]
    figures = acceptance_figures(everything, compared=compared, seed=seed)
    weights = "bytes of weights read for a token, over the target's"
    for prefix, ratio in costs.items():
        figures[f"{prefix}cost"] = Figure(ratio, "x", note="as given" if cost and not prefix else weights)
        figures |= _speeds(figures, prefix, ratio, tokens)
    slow = max(figures[f"speedup_{way}"].value for way in ("greedy", "sampled")) < 1
    said = (
        f"at {costs['']:.2f} of the target's time for a token, this draft makes it slower: take a smaller draft",
    )
    return Report(
        "acceptance",
        {
            "draft": draft.source,
            "target": target.source,
            **({"against": base.source} if base is not None else {}),
            "interval": f"95 %, bootstrap over chunks of {CHUNK_TOKENS} tokens",
            "sampling": "temperature 1, no top-k, no top-p",
            **facts,
        },
        figures,
        {
            name: Report(
                "acceptance text",
                {"bytes": texts[name].bytes},
                acceptance_figures(several, compared=compared, seed=seed),
            )
            for name, several in found.items()
        },
        said if slow else (),
    )


def acceptance_figures(documents: Sequence[Accepted], *, compared: bool, seed: int) -> dict[str, Figure]:
    """Return tokens, both acceptances and, where a base was asked too, the same at the places common to both."""
    every = [np.ones(len(its.greedy), dtype=np.bool_) for its in documents]
    out = {
        "tokens": Figure(sum(map(len, every)), "tokens"),
        "greedy_acceptance": _share([its.greedy for its in documents], every, seed),
        "sampled_acceptance": _share([its.sampled for its in documents], every, seed),
    }
    common = [its.common for its in documents]
    if not compared or not any(its.any() for its in common):
        return out
    return out | {
        "common_share": Figure(float(np.concatenate(common).mean()), SHARE, note="of tokens begin in both"),
        "common_greedy_acceptance": _share([its.greedy for its in documents], common, seed),
        "common_sampled_acceptance": _share([its.sampled for its in documents], common, seed),
        "base_greedy_acceptance": _share([its.own_greedy for its in documents], common, seed),
        "base_sampled_acceptance": _share([its.own_sampled for its in documents], common, seed),
        "base_text_acceptance": _share([its.own_most for its in documents], common, seed, BOUND),
    }


def read_bytes(checkpoint: Checkpoint) -> int:
    """Return the bytes of weights that one token of decoding reads: all but an input table that is no head too."""
    every = sum(info.nbytes for info in checkpoint.tensors.values())
    return every if checkpoint.tied else every - checkpoint.tensors[checkpoint.input_name].nbytes


def _speeds(figures: Mapping[str, Figure], prefix: str, cost: float, tokens: int | None) -> dict[str, Figure]:
    out: dict[str, Figure] = {}
    for way in ("greedy", "sampled"):
        if (acceptance := figures.get(f"{prefix}{way}_acceptance")) is None:
            continue
        value = float(acceptance.value)
        found: Speed = best_speed(value, cost) if tokens is None else speed(value, tokens, cost)
        out[f"{prefix}drafted_{way}"] = Figure(
            found.drafted, "tokens", note="drafted for one call of the target"
        )
        out[f"{prefix}tokens_per_call_{way}"] = Figure(found.tokens, "tokens/call")
        out[f"{prefix}speedup_{way}"] = Figure(found.speedup, "x", note="as modelled")
    return out


def _share(
    values: Sequence[NDArray[np.float64]], chosen: Sequence[NDArray[np.bool_]], seed: int, note: str = ""
) -> Figure:
    """Return the mean of the values that are chosen, with its interval."""
    interval = share_interval(
        np.concatenate([_chunks(v * c) for v, c in zip(values, chosen, strict=True)]),
        np.concatenate([_chunks(c.astype(np.float64)) for c in chosen]),
        seed=seed,
    )
    return Figure(interval.value, SHARE, low=interval.low, high=interval.high, note=note)


def _chunks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.add.reduceat(values, np.arange(0, len(values), CHUNK_TOKENS))
