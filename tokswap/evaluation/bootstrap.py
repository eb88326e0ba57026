"""Intervals for bits per byte by resampling chunks of bytes (Efron and Tibshirani 1993; Koehn 2004 for pairs)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 256
"""Bytes of one chunk: long enough that neighbours are nearly independent, short enough to have dozens of them."""

RESAMPLES = 2000
"""Resamples: the ends of a 95 % interval then move by a few per cent of its width from seed to seed."""

BLOCK_COUNTS = 4_000_000
"""Counts drawn at once (32 MB), whatever the number of chunks."""


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """What two arms differ by over the same bytes: `ratio` = arm / base and `difference` = arm - base."""

    ratio: Interval
    difference: Interval


def chunk_sums(values: NDArray[np.float64], chunk: int = CHUNK_BYTES) -> NDArray[np.float64]:
    """Sum a document's values of bytes, Float[length], over chunks; the last one may be shorter."""
    return np.add.reduceat(values, np.arange(0, len(values), chunk))


def bits_interval(
    nats: NDArray[np.float64], sizes: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return bits per byte, a ratio of sums, over chunks of `nats` Float[n] and `sizes` bytes Float[n]."""
    sums = _resampled(np.stack([nats, sizes]), seed, resamples)
    return _interval(_bits(nats.sum(), sizes.sum()), _bits(sums[0], sums[1]))


def share_interval(
    parts: NDArray[np.float64], sizes: NDArray[np.float64], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return a share, the sum of `parts` Float[n] over that of `sizes` Float[n], over chunks."""
    sums = _resampled(np.stack([parts, sizes]), seed, resamples)
    # Where few chunks count at all, a resample may hold none of them: it says nothing.
    held = sums[1] > 0
    return _interval(parts.sum() / sizes.sum(), sums[0][held] / sums[1][held])


def paired_interval(
    nats: NDArray[np.float64],
    base_nats: NDArray[np.float64],
    sizes: NDArray[np.float64],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Paired:
    """Return how two arms' bits per byte differ; both are resampled by the same chunks."""
    sums = _resampled(np.stack([nats, base_nats, sizes]), seed, resamples)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = _interval(np.divide(nats.sum(), base_nats.sum()), sums[0] / sums[1])
    change = nats - base_nats
    return Paired(ratio, _interval(_bits(change.sum(), sizes.sum()), _bits(sums[0] - sums[1], sums[2])))


def _bits(nats: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    return nats / (sizes * math.log(2))


def _resampled(columns: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Return sums Float[columns resamples] over as many chunks, drawn with replacement."""
    generator = np.random.default_rng(seed)
    chunks = columns.shape[1]
    step = max(1, BLOCK_COUNTS // chunks)
    shares = np.full(chunks, 1 / chunks)
    parts = [
        columns @ generator.multinomial(chunks, shares, size=min(step, resamples - done)).T
        for done in range(0, resamples, step)
    ]
    return np.concatenate(parts, axis=1)


def _interval(value: NDArray[np.float64] | float, resampled: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
