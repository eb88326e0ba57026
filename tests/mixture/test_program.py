"""The program against a full one: every row written down and handed to scipy's linprog."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog
from test_replay import counts_by_step, texts
from toy_languages import counted, language, merge_list, mix, text_of, train

from tokswap.errors import TokswapError
from tokswap.mixture import objective, program
from tokswap.mixture.events import Events
from tokswap.mixture.master import Master
from tokswap.mixture.program import Solution, solve
from tokswap.mixture.replay import replay
from tokswap.mixture.separation import SCALE, sweep


def full_rows(events: Events, first: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Step, pair and g of every row there is."""
    number = {tuple(pair): p for p, pair in enumerate(events.pairs.tolist())}
    step, pair, g = [], [], []
    for t, counts in enumerate(counts_by_step(events)):
        merge = events.merges[t]
        mine = counts.get(tuple(events.pairs[merge].tolist()))
        if mine is None or t < first:
            continue
        for other, row in counts.items():
            if number[other] != merge:
                step.append(t)
                pair.append(number[other])
                g.append((mine - row) * SCALE / events.totals)
    return np.array(step), np.array(pair), np.array(g)


def full_program(events: Events, first: int = 0) -> Any:
    step, pair, g = full_rows(events, first)
    rows, n = len(step), events.categories
    one = np.ones(rows)
    at = np.arange(rows)
    slacks = [
        sp.csr_array((one, (at, step)), shape=(rows, events.steps)),
        sp.csr_array((one, (at, pair)), shape=(rows, len(events.pairs))),
    ]
    table = -sp.hstack([sp.csr_array(g), *slacks], format="csr")
    cost = np.concatenate([np.zeros(n), np.ones(events.steps + len(events.pairs))])
    total = np.concatenate([np.ones(n), np.zeros(events.steps + len(events.pairs))])[None]
    return linprog(cost, A_ub=table, b_ub=np.zeros(rows), A_eq=total, b_eq=[1.0], method="highs")


def other_texts(n: int, tokens: int) -> dict[str, Counter[str]]:
    shared = language(99, 100)
    return {f"t{i}": text_of(language(i, 120) + shared, tokens, seed=50 + i) for i in range(n)}


def noisy(seed: int, *, n: int = 3, steps: int = 50) -> Events:
    """Merges of one sample of the languages, counts of another."""
    shares = np.random.default_rng(seed).dirichlet(np.ones(n)).tolist()
    trained = {name: text_of(list(text), 2000, seed) for name, text in texts(n).items()}
    return replay(train(mix(trained, shares), steps), counted(other_texts(n, 2000)), steps=steps)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("first", [0, 7])
def test_the_optimum_is_that_of_the_full_program(seed: int, first: int) -> None:
    events = noisy(seed)
    full = full_program(events, first)
    ours = solve(events, gap=1e-9, rows=1 + seed % 3, first=first)
    assert ours.objective == pytest.approx(full.fun, rel=1e-7, abs=1e-6)
    assert ours.lower_bound == pytest.approx(full.fun, rel=1e-7, abs=1e-6)
    assert ours.gap <= 1e-8
    assert np.allclose(ours.alpha, full.x[: events.categories], atol=1e-5)


@pytest.mark.parametrize("gap", [0.3, 0.05, 0.001])
def test_a_gap_is_kept_and_bounds_hold(gap: float) -> None:
    events = noisy(3)
    optimum = full_program(events).fun
    ours = solve(events, gap=gap)
    assert ours.lower_bound <= optimum * (1 + 1e-9) and optimum <= ours.objective * (1 + 1e-9)
    assert (ours.objective - optimum) / ours.objective <= gap
    assert ours.gap <= gap


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("first", [0, 7])
def test_matchings_and_the_level_method_alone_reach_the_optimum(
    seed: int, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a large program: the program over the rows is never solved."""
    monkeypatch.setattr(program, "finish", unreached)
    monkeypatch.setattr(program, "FINE", 1e-4)
    monkeypatch.setattr(objective, "FINEST", 1e-5)
    events = noisy(seed)
    optimum = full_program(events, first).fun
    ours = solve(events, gap=1e-4, first=first)
    assert ours.lower_bound <= optimum * (1 + 1e-9) and optimum <= ours.objective * (1 + 1e-9)
    assert ours.objective == pytest.approx(optimum, rel=1e-4) and ours.gap <= 1e-4


def unreached(*_: Any, **__: Any) -> Any:
    raise AssertionError("the program over the rows was solved")


@pytest.mark.parametrize("allowed", [1, 2, 5, 20])
def test_out_of_time_the_gap_is_stated_and_holds(allowed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    events = noisy(4)
    optimum = full_program(events).fun
    asked: list[float] = []

    def clock() -> float:
        asked.append(0.0)
        return float(len(asked) > allowed)  # the limit passes at one of the first questions

    monkeypatch.setattr(program, "monotonic", clock)
    ours = solve(events, gap=1e-7, seconds=0.5)
    assert len(asked) > allowed
    assert ours.lower_bound <= optimum * (1 + 1e-9) and optimum <= ours.objective * (1 + 1e-9)
    assert ours.gap == pytest.approx((ours.objective - ours.lower_bound) / ours.objective)
    assert ours.gap > 1e-7
    step, pair, g = full_rows(events)
    assert (g @ ours.alpha + ours.merge_slack[step] + ours.pair_slack[pair]).min() >= -1e-6


def test_the_solver_is_stopped_where_its_time_is_over() -> None:
    events = noisy(0)
    master = Master(events.categories, events.steps, len(events.pairs))
    step, pair, g = full_rows(events)
    master.add(step.astype(np.int32), pair.astype(np.int32), g)
    assert master.solve(0.0) is None
    for _ in range(2):  # time that earlier runs took doesn't count
        point = master.solve(60.0)
        assert point is not None and point.objective == pytest.approx(full_program(events).fun, rel=1e-7)


@pytest.mark.parametrize("gap", [0.01, 1e-6])
def test_the_answer_satisfies_every_row(gap: float) -> None:
    events = noisy(1)
    ours = solve(events, gap=gap)
    step, pair, g = full_rows(events)
    assert (g @ ours.alpha + ours.merge_slack[step] + ours.pair_slack[pair]).min() >= -1e-6
    assert ours.alpha.sum() == pytest.approx(1) and ours.alpha.min() >= 0
    assert ours.objective == pytest.approx(ours.merge_slack.sum() + ours.pair_slack.sum())


@pytest.mark.parametrize("sizes", [[2000, 1000, 500], [700, 700, 700], [3000, 300, 0]])
def test_exact_text_gives_the_mixture_back(sizes: list[int]) -> None:
    """The text that was trained on, to its last pair: ties between small counts leave no other mixture."""
    given = {name: text_of(list(text), 700, i) for i, (name, text) in enumerate(texts().items())}
    there = {
        name: text_of(list(text), size, 9) for (name, text), size in zip(given.items(), sizes, strict=True)
    }
    trained: Counter[str] = sum(there.values(), Counter())
    merges = train({word: float(count) for word, count in trained.items()}, 500)
    words = counted({name: text or given[name] for name, text in there.items()})
    ours = solve(replay(merges, words, steps=500), gap=0.0)
    pairs = np.array([sum((len(w) - 1) * c for w, c in text.items()) for text in there.values()])
    assert ours.objective == pytest.approx(0, abs=1e-6)
    assert np.abs(ours.alpha - pairs / pairs.sum()).max() < 1e-9


def test_the_solver_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    solve(noisy(0))
    assert capfd.readouterr() == ("", "")


def test_permuting_categories_permutes_the_answer() -> None:
    order = ["t2", "t0", "t1"]
    given = other_texts(3, 2000)
    merges = train(mix(texts(), [0.2, 0.5, 0.3]), 50)
    ours = solve(replay(merges, counted(given), steps=50), gap=1e-9)
    moved = solve(replay(merges, counted({name: given[name] for name in order}), steps=50), gap=1e-9)
    assert np.allclose(moved.alpha, ours.alpha[[2, 0, 1]], atol=1e-7)


def test_a_copy_of_a_category_shares_its_part() -> None:
    given = other_texts(2, 2000)
    merges = train(mix(texts(2), [0.3, 0.7]), 50)
    alone = solve(replay(merges, counted(given), steps=50), gap=1e-9)
    twice = solve(replay(merges, counted({**given, "again": given["t1"]}), steps=50), gap=1e-9)
    assert twice.alpha[1] + twice.alpha[2] == pytest.approx(alone.alpha[1], abs=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_a_sweep_finds_the_most_violated_rows_and_the_best_slacks(rows: int) -> None:
    events = noisy(2)
    draw = np.random.default_rng(rows)
    alpha = draw.dirichlet(np.ones(events.categories))
    pair_slack = np.where(draw.random(len(events.pairs)) < 0.3, draw.random(len(events.pairs)) * 1e4, 0.0)
    merge_slack = np.where(draw.random(events.steps) < 0.5, draw.random(events.steps) * 1e3, 0.0)
    found = sweep(
        events,
        alpha,
        pair_slack,
        merge_slack,
        used=np.arange(events.steps) % 5 > 0,
        rows=rows,
        tolerance=1e-7,
    )
    step, pair, g = full_rows(events)
    need = -(g @ alpha) - pair_slack[pair]
    for t in range(events.steps):
        here = (step == t) & (t % 5 > 0)
        assert found.slack[t] == pytest.approx(max(need[here].max(initial=0.0), 0.0), abs=1e-6)
        violated = np.sort(need[here & (need - merge_slack[step] > 1e-7)])[::-1][:rows]
        got = found.pair[found.step == t]
        assert len(set(got.tolist())) == len(got)
        assert np.allclose([need[here & (pair == p)][0] for p in got], violated, atol=1e-6)
    assert len(found.step) > 0


def test_spread_rows_are_violated_and_fewer_and_none_only_where_there_are_none() -> None:
    events = noisy(2)
    step, pair, g = full_rows(events)
    used = np.ones(events.steps, dtype=np.bool_)
    for scale in (0.0, 100.0, 1e4, 1e6):
        slacks = np.full(len(events.pairs), scale), np.zeros(events.steps)
        alpha = np.full(events.categories, 1 / events.categories)
        plain = sweep(events, alpha, *slacks, used=used, rows=3, tolerance=1e-7)
        spread = sweep(events, alpha, *slacks, used=used, rows=3, tolerance=1e-7, spread=1.25)
        assert bool(len(plain.step)) == bool(len(spread.step)) and len(spread.step) <= len(plain.step)
        worst: dict[int, float] = {}
        for t, p in zip(spread.step.tolist(), spread.pair.tolist(), strict=True):
            violation = -(g[(step == t) & (pair == p)][0] @ alpha) - scale
            assert violation > worst.get(p, 0.0)
            worst[p] = violation
    assert len(plain.step) == 0


def test_merges_that_no_text_holds_play_no_part() -> None:
    given = {"a": Counter({"abc": 5, "ab": 2}), "b": Counter({"bcd": 4})}
    merges = train({"abc": 3.0, "bcd": 2.0, "nop": 9.0}, 4)
    ours: Solution = solve(replay(merges, counted(given), steps=4), gap=0.0)
    absent = replay(merges, counted(given), steps=4).merges < 0
    assert absent.any() and not ours.merge_slack[absent].any()


def test_merges_whose_pairs_are_used_up_play_no_part() -> None:
    given = {"x": Counter({"abc": 3, "dd": 1}), "y": Counter({"abc": 1, "dd": 2})}
    ours = solve(replay(merge_list([(0, 1), (1, 2)]), counted(given), steps=2), gap=0.0)
    assert not ours.merge_frequency[1].any() and ours.merge_frequency[0].all()
    assert ours.merge_slack[1] == 0


def test_a_basis_that_fails_is_left_and_a_failure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    events = noisy(0)
    wanted = solve(events, gap=1e-6)
    answers = ["Unknown"]

    def status(self: Master) -> str:
        self._highs.run()
        return answers.pop() if answers else "Optimal"

    monkeypatch.setattr(Master, "_run", status)
    assert np.allclose(solve(events, gap=1e-6).alpha, wanted.alpha, atol=1e-6)
    assert not answers
    answers += ["Unknown", "Unknown"]
    with pytest.raises(TokswapError, match="stopped with 'Unknown' on"):
        solve(events, gap=1e-6)
