"""Texts byte by byte: a sampler whose prompt may end anywhere, and several models that vote on each byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tokswap.bytewise.predict import END, NextByte, PredictsBytes
from tokswap.errors import TokswapError


def continue_bytes(
    model: PredictsBytes, prompt: bytes, *, most_bytes: int, temperature: float = 1.0, seed: int = 0
) -> bytes:
    """Return what follows a prompt, drawn byte by byte; temperature 0 takes the likeliest.

    The prompt may end inside a word or a character: `x = np.ara` goes on with `nge`, whatever token that is the end
    of. Ends at the end of the text or after `most_bytes`. Raises TokswapError for a temperature below 0.
    """
    if not temperature >= 0:
        raise TokswapError(f"the temperature is {temperature}", "give 0 or a number above")
    generator = np.random.default_rng(seed)
    out = b""
    while len(out) < most_bytes:
        chances = model.next_byte(prompt + out).probabilities
        if temperature == 0:
            drawn = int(chances.argmax())
        else:
            with np.errstate(divide="ignore"):
                logs = np.log(chances) / temperature
            weights = np.exp(logs - logs.max())
            drawn = int(generator.choice(END + 1, p=weights / weights.sum()))
        if drawn == END:
            break
        out += bytes([drawn])
    return out


class Ensemble:
    """Models with any tokenizers as one: at each byte the mean of what they say.

    `how` "mixture" is the weighted arithmetic mean of their distributions; "product" the weighted geometric mean,
    which all must agree with, made to sum to 1. `weights` are equal unless given. Raises TokswapError for weights
    that are no shares.
    """

    def __init__(
        self,
        models: Sequence[PredictsBytes],
        *,
        how: Literal["mixture", "product"] = "mixture",
        weights: Sequence[float] | None = None,
    ) -> None:
        given = np.full(len(models), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
        if not len(models) or given.shape != (len(models),) or not (given >= 0).all() or not given.sum() > 0:
            raise TokswapError(
                "an ensemble has no shares for its models", "give one weight a model, none below 0"
            )
        self.models = tuple(models)
        self.weights = given / given.sum()
        self.how = how

    def next_byte(self, prefix: bytes) -> NextByte:
        """Return the mean of what the models say follows `prefix`."""
        found = [model.next_byte(prefix) for model in self.models]
        chances = np.stack([its.probabilities for its in found])  # (models 257)
        lost = float(self.weights @ [its.lost for its in found])
        if self.how == "mixture":
            return NextByte(self.weights @ chances, lost)
        used = self.weights > 0
        with np.errstate(divide="ignore"):
            logs = self.weights[used] @ np.log(chances[used])
        if not np.isfinite(logs.max()):
            raise TokswapError(f"no byte after {prefix[-20:]!r} is possible for all models", "take a mixture")
        product = np.exp(logs - logs.max())
        return NextByte(product / product.sum(), lost)
