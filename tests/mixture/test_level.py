"""What a large program is solved by: matchings against the Hungarian method, cuts and levels against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment, linprog, minimize
from test_program import full_rows, noisy

from tokswap.mixture import folds
from tokswap.mixture.cuts import Cuts, project
from tokswap.mixture.known import KnownRows
from tokswap.mixture.level import Minimum, Value, minimise
from tokswap.mixture.matching import match
from tokswap.mixture.program import solve


def sparse_weights(seed: int, steps: int, pairs: int) -> np.ndarray:
    """A table (T, P) of weights, of which some are negative and most are 0: no row."""
    draw = np.random.default_rng(seed)
    return np.where(draw.random((steps, pairs)) < 0.3, draw.normal(1.0, 1.0, (steps, pairs)), 0.0)


@pytest.mark.parametrize("epsilon", [0.1, 1e-3, 1e-7])
@pytest.mark.parametrize(("steps", "pairs"), [(12, 30), (30, 12), (25, 25), (40, 1)])
def test_a_matching_is_the_heaviest(steps: int, pairs: int, epsilon: float) -> None:
    for seed in range(5):
        table = sparse_weights(seed, steps, pairs)
        step, pair = np.nonzero(table)
        starts = np.searchsorted(step, np.arange(steps + 1))
        lacks = table[step, pair]
        found = match(starts, pair.astype(np.int32), lacks, pairs, epsilon)
        most = np.maximum(table, 0.0)
        heaviest = most[linear_sum_assignment(most, maximize=True)].sum()
        assert len(set(step[found.rows])) == len(set(pair[found.rows])) == len(found.rows)
        assert found.weight == pytest.approx(lacks[found.rows].sum())
        assert heaviest - epsilon * len(found.rows) - 1e-9 <= found.weight <= heaviest + 1e-9
        slacks = found.merge_slack.sum() + found.pair_slack.sum()
        assert heaviest - 1e-9 <= slacks <= found.weight + epsilon * len(found.rows) + 1e-9
        assert (found.merge_slack[step] + found.pair_slack[pair] - lacks).min() >= -1e-12
        assert min(found.merge_slack.min(), found.pair_slack.min()) >= 0


def test_nothing_is_matched_where_nothing_is_lacking() -> None:
    starts = np.array([0, 2, 3, 3])
    found = match(starts, np.array([0, 1, 0], dtype=np.int32), np.array([-1.0, 0.0, -2.0]), 2, 0.1)
    assert not len(found.rows) and found.weight == 0
    assert not found.merge_slack.any() and not found.pair_slack.any()


def greatest_of(seed: int, n: int, pieces: int) -> np.ndarray:
    """Slopes (K, n) of a function that is the greatest of linear ones and nowhere negative on mixtures."""
    return np.abs(np.random.default_rng(seed).normal(0.0, 1.0, (pieces, n)))


def least_of(slopes: np.ndarray) -> float:
    n = slopes.shape[1]
    table = np.hstack([slopes, -np.ones((len(slopes), 1))])
    total = np.append(np.ones(n), 0.0)[None]
    return float(linprog(np.eye(n + 1)[n], table, np.zeros(len(slopes)), total, [1.0]).fun)


@pytest.mark.parametrize(("n", "pieces"), [(2, 5), (6, 40), (25, 200)])
def test_a_level_method_proves_its_gap(n: int, pieces: int) -> None:
    slopes = greatest_of(n, n, pieces)
    least = least_of(slopes)
    for gap in (0.2, 0.01, 1e-5):
        seen: list[tuple[float, float]] = []

        def evaluate(alpha: np.ndarray, _: Minimum) -> Value:
            values = slopes @ alpha
            at = int(values.argmax())
            return Value(float(values[at]), slopes[at], float(values[at]))

        def note(found: Minimum, seen: list[tuple[float, float]] = seen) -> bool:
            seen.append((found.lower, found.upper))
            return False

        found = minimise(evaluate, np.full(n, 1 / n), gap, stop=note)
        assert found.gap <= gap and found.lower <= least * (1 + 1e-9) <= found.upper * (1 + 1e-8)
        assert found.upper == pytest.approx((slopes @ found.alpha).max())
        assert all(low <= least * (1 + 1e-9) and least <= high * (1 + 1e-9) for low, high in seen)
        assert len(seen) == found.evaluations < 40 + 20 * n


def test_values_that_are_not_looked_for_are_no_bound() -> None:
    """Half of the mixtures have a value from below only, as those that are not swept."""
    slopes = greatest_of(3, 4, 30)
    calls: list[int] = []

    def evaluate(alpha: np.ndarray, _: Minimum) -> Value:
        calls.append(1)
        values = slopes @ alpha
        at = int(values.argmax())
        return Value(float(values[at]), slopes[at], np.inf if len(calls) % 2 else float(values[at]))

    found = minimise(evaluate, np.full(4, 0.25), 1e-4)
    assert found.gap <= 1e-4 and found.upper == pytest.approx(least_of(slopes), rel=1e-4)


def test_a_minimum_of_nothing_is_found_and_ends() -> None:
    found = minimise(lambda alpha, _: Value(0.0, np.zeros(3), 0.0), np.full(3, 1 / 3), 0.0)
    assert found.gap == 0 and found.evaluations == 1


def test_the_nearest_mixture_under_a_level() -> None:
    slopes = greatest_of(5, 5, 20)
    centre = np.random.default_rng(0).dirichlet(np.ones(5))
    cuts = Cuts(5)
    for slope in slopes:
        cuts.add(centre, float(slope @ centre), slope)
    level = 0.5 * (least_of(slopes) + float((slopes @ centre).max()))
    near = cuts.nearest(centre, level)
    assert near.sum() == pytest.approx(1) and near.min() >= 0 and cuts.value(near) <= level + 1e-6
    expected = minimize(
        lambda alpha: ((alpha - centre) ** 2).sum(),
        centre,
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints=[
            {"type": "eq", "fun": lambda alpha: alpha.sum() - 1},
            {"type": "ineq", "fun": lambda alpha: level - slopes @ alpha},
        ],
        options={"ftol": 1e-12},
    )
    assert np.allclose(near, expected.x, atol=1e-4)


def test_a_level_that_no_mixture_is_under_has_none_and_the_cuts_lead_on() -> None:
    centre = np.array([0.5, 0.5])
    assert project(centre, np.array([[1.0, 1.0]]), np.array([0.5])) is None
    cuts = Cuts(2)
    cuts.add(centre, 1.0, np.array([2.0, 0.0]))
    there = cuts.nearest(centre, -1.0)
    assert there[0] < 0.5 and there.sum() == pytest.approx(1)


def test_known_rows_are_those_of_the_program() -> None:
    events = noisy(5)
    step, pair, g = full_rows(events)
    some = np.random.default_rng(0).permutation(len(step))[:200]
    known = KnownRows(events)
    for part in (some[:120], some[60:], some[:10]):
        known.add(step[part].astype(np.int32), pair[part].astype(np.int32))
    order = some[np.lexsort((pair[some], step[some]))]
    assert (known.step == step[order]).all() and (known.pair == pair[order]).all()
    alpha = np.array([0.2, 0.5, 0.3])
    assert np.allclose(known.lacks(alpha), -(g[order] @ alpha))
    assert np.allclose(known.coefficients(np.arange(200)), g[order])
    rows = np.array([3, 70, 199])
    assert np.allclose(known.slope(rows), -g[order][rows].sum(0))
    greatest = [max(0.0, *(-(g[order] @ alpha))[step[order] == t]) for t in np.unique(step[order])]
    assert np.allclose(known.greatest(known.lacks(alpha)), greatest)
    half = known.part(known.step % 2 == 0)
    kept = step[order] % 2 == 0
    assert np.allclose(half.lacks(alpha), known.lacks(alpha)[kept]) and (half.step % 2 == 0).all()
    matched, whole = (one.match(one.lacks(alpha), 1e-3) for one in (half, known))
    assert 0 < matched.weight <= whole.weight + 1e-3 * len(whole.rows)


def test_large_folds_are_those_of_the_program_over_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    known = solve(noisy(2, steps=200), gap=0.01).known
    exact = folds.solve_folds(known)
    monkeypatch.setattr(folds, "MOST_ENTRIES", 0)
    near = folds.solve_folds(known)

    def value(fold: int, alpha: np.ndarray) -> float:
        rows = known.part(known.step % folds.FOLDS == fold)
        return rows.match(rows.lacks(alpha), 1e-4).weight

    for fold in range(folds.FOLDS):
        least, found = value(fold, exact[fold]), value(fold, near[fold])
        assert least - 0.01 <= found <= least * (1 + folds.GAP) + 0.01
