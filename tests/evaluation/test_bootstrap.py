from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from tokswap.evaluation.bootstrap import bits_interval, chunk_sums, paired_interval


def sample(chunks: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sizes = np.full(chunks, 256.0)
    sizes[-1] = 100
    base = random.gamma(20, 9, chunks) * sizes / 256
    return base * random.normal(1.1, 0.05, chunks), base, sizes


def test_chunks_keep_the_sum() -> None:
    values = np.arange(600.0)
    assert chunk_sums(values, 256).tolist() == [values[:256].sum(), values[256:512].sum(), values[512:].sum()]


def test_values_are_ratios_of_sums() -> None:
    nats, base, sizes = sample(40)
    bits = nats.sum() / sizes.sum() / math.log(2)
    assert bits_interval(nats, sizes).value == pytest.approx(bits)
    paired = paired_interval(nats, base, sizes)
    assert paired.ratio.value == pytest.approx(nats.sum() / base.sum())
    assert paired.difference.value == pytest.approx((nats.sum() - base.sum()) / sizes.sum() / math.log(2))


def test_agrees_with_scipy() -> None:
    nats, base, sizes = sample(60)
    options = {"paired": True, "method": "percentile", "n_resamples": 20000, "vectorized": True, "rng": 1}
    mine = paired_interval(nats, base, sizes, resamples=20000)

    def ratio(a, b, axis):
        return a.sum(axis) / b.sum(axis)

    for ours, data in (
        (mine.ratio, (nats, base)),
        (bits_interval(nats, sizes, resamples=20000), (nats, sizes)),
    ):
        theirs = scipy.stats.bootstrap(data, ratio, **options).confidence_interval
        scale = 1 if data[1] is base else math.log(2)
        width = theirs.high - theirs.low
        assert abs(ours.low * scale - theirs.low) < 0.04 * width
        assert abs(ours.high * scale - theirs.high) < 0.04 * width


def test_covers_the_truth_about_95_times_in_100() -> None:
    inside = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        base = random.gamma(20, 9, 60)
        nats = base * random.normal(1.1, 0.05, 60)
        found = paired_interval(nats, base, np.full(60, 256.0), seed=seed, resamples=500).ratio
        inside += found.low <= 1.1 <= found.high
    assert 0.90 <= inside / 400 <= 0.98


def test_pairing_makes_the_interval_narrow() -> None:
    nats, base, sizes = sample(60)
    single = bits_interval(nats, sizes)
    paired = paired_interval(nats, base, sizes).difference
    assert paired.high - paired.low < 0.4 * (single.high - single.low)


def test_same_seed_same_interval_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokswap.evaluation import bootstrap

    nats, base, sizes = sample(30)
    whole = paired_interval(nats, base, sizes, seed=3)
    assert paired_interval(nats, base, sizes, seed=3) == whole
    assert paired_interval(nats, base, sizes, seed=4) != whole
    monkeypatch.setattr(bootstrap, "BLOCK_COUNTS", 30 * 7)
    assert paired_interval(nats, base, sizes, seed=3).ratio.low == pytest.approx(whole.ratio.low)


def test_one_arm_against_itself_and_one_chunk() -> None:
    nats, _, sizes = sample(30)
    paired = paired_interval(nats, nats, sizes)
    assert (paired.ratio.value, paired.ratio.low, paired.ratio.high) == (1, 1, 1)
    assert (paired.difference.value, paired.difference.low, paired.difference.high) == (0, 0, 0)
    one = bits_interval(np.array([5.0]), np.array([7.0]))
    assert one.low == pytest.approx(one.value) and one.high == pytest.approx(one.value)
