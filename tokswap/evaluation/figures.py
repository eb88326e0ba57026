"""From scored documents to figures: sums first, ratios last, so that every byte weighs the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.bootstrap import Interval, bits_interval, chunk_sums, paired_interval
from tokswap.evaluation.score import Scored
from tokswap.report import Figure

BITS = "bits/byte"
SHARE = "share"
TIMES = "x"
ONE_TOKENIZER = "comparable only inside one tokenizer"

MOST_WORD_BYTES = 24
"""Mean bytes of a word above which a text isn't written with spaces between words (Russian has about 13)."""

Documents = Sequence[Scored]


def text_figures(
    model: Documents, base: Documents | None, *, words: int, compared: bool, seed: int = 0
) -> dict[str, Figure]:
    """Return the figures of one text (or of several, together).

    `model` and `base` hold the same documents under each arm; `words` counts their white-space separated words;
    `compared` tells whether the tokens that are new to the base are known, so that figures about them mean something.
    """
    out = arm_figures(model, words=words, seed=seed)
    if base is not None:
        out |= {f"base_{name}": figure for name, figure in arm_figures(base, words=words, seed=seed).items()}
        out |= pair_figures(model, base, seed=seed)
    if compared:
        out |= new_token_figures(model, base)
    return out


def arm_figures(documents: Documents, *, words: int, seed: int = 0) -> dict[str, Figure]:
    """Return bits per byte with its interval, bytes per token, and perplexities."""
    nats = _chunks(documents)
    total, size, tokens = float(nats.sum()), _size(documents), _tokens(documents)
    bits = bits_interval(nats, _chunk_sizes(documents), seed=seed)
    out = {
        "bits_per_byte": _figure(bits, BITS),
        "bytes_per_token": Figure(size / tokens, "bytes/token"),
        "byte_perplexity": Figure(_exp(total / size), "perplexity/byte"),
        "token_perplexity": Figure(_exp(total / tokens), "perplexity/token", note=ONE_TOKENIZER),
    }
    if size <= MOST_WORD_BYTES * words:
        out["word_perplexity"] = Figure(
            _exp(total / words), "perplexity/word", note="words between white space"
        )
    return out


def pair_figures(model: Documents, base: Documents, *, seed: int = 0) -> dict[str, Figure]:
    """Return the ratio and the difference of bits per byte, resampled by the same chunks of bytes."""
    paired = paired_interval(_chunks(model), _chunks(base), _chunk_sizes(model), seed=seed)
    return {
        "ratio": _figure(paired.ratio, TIMES, "bits per byte over the base's"),
        "difference": _figure(paired.difference, BITS, "bits per byte minus the base's"),
    }


def segmentation_figures(
    model: Documents, base: Documents, borders: Documents, *, seed: int = 0
) -> dict[str, Figure]:
    """Return the base's bits per byte at the model's token borders, and the loss in two parts.

    `borders` are the same documents, cut as the model cuts them, in base tokens. What they cost above the base comes
    from the segmentation alone; what the model costs above them comes from its rows.
    """
    nats, sizes = _chunks(borders), _chunk_sizes(borders)
    of_borders = paired_interval(nats, _chunks(base), sizes, seed=seed).difference
    of_rows = paired_interval(_chunks(model), nats, sizes, seed=seed).difference
    return {
        "segmentation_bits_per_byte": _figure(
            bits_interval(nats, sizes, seed=seed), BITS, "the base's, at the model's token borders"
        ),
        "segmentation_difference": _figure(
            of_borders, BITS, "of the difference, from the segmentation alone"
        ),
        "rows_difference": _figure(of_rows, BITS, "of the difference, from the rows"),
    }


def new_token_figures(model: Documents, base: Documents | None) -> dict[str, Figure]:
    """Return what becomes of the tokens that the base doesn't have.

    Their probability mass and their share of the likeliest tokens against their share of the text, how often they
    are likeliest where they are right, and bits per byte over the bytes under new and under shared tokens.
    """
    is_new = np.concatenate([document.is_new for document in model])
    top = np.concatenate([document.top for document in model])
    share = float(is_new.mean())
    mass = float(np.concatenate([document.new_mass for document in model]).mean())
    greedy = float(np.concatenate([document.greedy_new for document in model]).mean())
    out = {
        "new_token_share": Figure(share, SHARE, note="of the text's tokens"),
        "new_token_mass": Figure(mass, SHARE, note="of the probability, mean over tokens"),
        "greedy_new_share": Figure(greedy, SHARE, note="of the likeliest tokens"),
    }
    if share:
        out["new_token_mass_ratio"] = Figure(mass / share, TIMES, note="mass over share")
        out["greedy_new_ratio"] = Figure(greedy / share, TIMES, note="likeliest over share")
        out["new_token_top1"] = Figure(
            float(top[is_new].mean()), SHARE, note="new targets that are likeliest"
        )
    if share < 1:
        out["shared_token_top1"] = Figure(float(top[~is_new].mean()), SHARE, note="shared targets, likewise")
    return out | _split_figures(model, base)


def _split_figures(model: Documents, base: Documents | None) -> dict[str, Figure]:
    """Return bits per byte of both arms over the bytes that new tokens and shared tokens of the model stand for."""
    under_new = np.concatenate([np.repeat(d.is_new, np.diff(d.spans.ends, prepend=0)) for d in model])
    arms: Mapping[str, Documents] = {"": model} | ({"base_": base} if base is not None else {})
    out: dict[str, Figure] = {}
    for kind, chosen in (("new", under_new), ("shared", ~under_new)):
        if not chosen.any():
            continue
        out[f"bytes_under_{kind}_tokens"] = Figure(int(chosen.sum()), "bytes")
        for prefix, documents in arms.items():
            nats = float(np.concatenate([document.byte_nll for document in documents])[chosen].sum())
            out[f"{prefix}bits_under_{kind}_tokens"] = Figure(nats / (int(chosen.sum()) * math.log(2)), BITS)
    return out


def _chunks(documents: Documents) -> NDArray[np.float64]:
    return np.concatenate([chunk_sums(document.byte_nll) for document in documents])


def _chunk_sizes(documents: Documents) -> NDArray[np.float64]:
    return np.concatenate([chunk_sums(np.ones(document.spans.length)) for document in documents])


def _size(documents: Documents) -> int:
    return sum(document.spans.length for document in documents)


def _tokens(documents: Documents) -> int:
    return sum(len(document.nll) for document in documents)


def _figure(interval: Interval, unit: str, note: str = "") -> Figure:
    return Figure(interval.value, unit, low=interval.low, high=interval.high, note=note)


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf  # a hopeless model: the largest float is exp(709.8)
