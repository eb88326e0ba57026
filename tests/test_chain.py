"""The chain rule, held against a plain transcription: every token, every state, every piece, in fp64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from calibrated_plans import TEXT, tiny_plan

from tokswap.calibrate import Head
from tokswap.chain import Targets as ChainTargets
from tokswap.chain import find_chains, logarithmic_mean, make_problem, regress
from tokswap.chaining import read_chains
from tokswap.evaluation.language_model import load_language_model
from tokswap.evaluation.texts import Text
from tokswap.judging import ONE_IN, RUN_BYTES
from tokswap.methods import Pieces
from tokswap.pieces import spell
from tokswap.tokenization import load_tokenizer


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_plan(tmp_path_factory.mktemp("chain"))


def ragged(rows: list[list[int]]) -> Pieces:
    flat = torch.tensor([i for row in rows for i in row])
    starts = torch.tensor([0, *np.cumsum([len(row) for row in rows]).tolist()])
    return Pieces(flat, torch.ones_like(flat), starts)


def test_chains_are_all_places_where_the_beginning_stands() -> None:
    generator = np.random.default_rng(0)
    ids, follows = generator.integers(0, 3, 200), generator.random(200) > 0.1
    rows = [generator.integers(0, 3, size).tolist() for size in (0, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6)]
    found = find_chains(ids, follows, ragged(rows))
    pairs = set(
        zip(*(part.tolist() for part in (found.token, found.first, found.last, found.piece)), strict=True)
    )
    plain = {
        (token, first, first + len(row) - 1, row[-1])
        for token, row in enumerate(rows)
        if len(row) > 1
        for first in range(len(ids) - len(row) + 1)
        if ids[first : first + len(row) - 1].tolist() == row[:-1]
        and follows[first + 1 : first + len(row)].all()
    }
    assert pairs == plain and len(found.token) == len(plain) > 50


def test_what_the_base_says_of_new_tokens_is_its_own_products(plan: Any) -> None:
    """The model is asked plainly, in fp64, about every new token at every state that is not held out."""
    lm = load_language_model(plan.base.folder, known_ids=plan.base_vocab.ids, dtype="float32")
    reading = read_chains(plan, lm, [Text("a", (TEXT,))])
    encoding = load_tokenizer(plan.base.tokenizer).encode(TEXT, add_special_tokens=False)
    ids, vocab = encoding.ids, plan.base_vocab
    at = np.cumsum([0, *(len(vocab.bytes_of(i)) for i in ids)])[:-1]
    seen = (at // RUN_BYTES) % ONE_IN != ONE_IN - 1
    with torch.no_grad():
        logits = lm.model(torch.tensor([[vocab.start_id, *ids]])).logits[0, :-1].double()
    logits[:, [i for i in range(logits.shape[1]) if i not in set(vocab.ids.tolist())]] = -torch.inf
    log_p = logits.log_softmax(1)
    number = {place: count for count, place in enumerate(np.flatnonzero(seen).tolist())}
    tokens = [plan.new_vocab.bytes_of(int(i)) for i in plan.alignment.new_ids]
    pieces = spell(plan.base.tokenizer, vocab, tokens)
    plain: dict[tuple[int, int], float] = {}
    for token in range(len(tokens)):
        row = pieces.ids[pieces.starts[token] : pieces.starts[token + 1]].tolist()
        for first in range(len(ids) - len(row) + 1):
            run = range(first, first + len(row))
            if len(row) > 1 and ids[first : run[-1]] == row[:-1] and seen[run].all():
                plain[token, number[first]] = sum(
                    float(log_p[state, piece]) for state, piece in zip(run, row, strict=True)
                )
    found = {
        (int(t), int(s)): float(p)
        for t, s, p in zip(reading.targets.token, reading.targets.state, reading.targets.log_p, strict=True)
    }
    assert found.keys() == plain.keys() and len(plain) > 200
    assert max(abs(found[pair] - plain[pair]) for pair in plain) < 1e-3
    torch.testing.assert_close(
        reading.targets.log_z.double(), logits[torch.from_numpy(seen)].logsumexp(1), atol=1e-3, rtol=1e-4
    )


def test_the_weight_makes_the_gradient_that_of_the_cross_entropy() -> None:
    log_p, log_q = torch.linspace(-9, -0.1, 40), torch.linspace(-0.1, -9, 40).roll(3)
    weight = logarithmic_mean(log_p, log_q)
    torch.testing.assert_close(weight * (log_p - log_q), log_p.exp() - log_q.exp(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(logarithmic_mean(log_p, log_p), log_p.exp())
    assert bool((weight > 0).all())


@pytest.mark.parametrize("head", [Head(), Head(scale=0.5), Head(cap=5.0)])
@pytest.mark.parametrize("states", [6, 60])
def test_rows_move_as_in_plain_weighted_ridge(head: Head, states: int) -> None:
    """Fewer and more states than dimensions: the two systems are one problem."""
    width, deviation = 16, 0.7
    g = torch.Generator().manual_seed(0)
    hidden, rows = torch.randn(states, width, generator=g), 0.4 * torch.randn(3, width, generator=g)
    token = torch.tensor([0, 2]).repeat_interleave(states)
    targets = ChainTargets(
        token,
        torch.arange(states).repeat(2),
        -3 * torch.rand(2 * states, generator=g),
        3 + torch.rand(states, generator=g),
    )
    found, moves = regress(make_problem(targets, hidden, rows, None, head), deviation)
    assert found.tolist() == [0, 2]  # the text says nothing of token 1
    h = hidden.double()
    moment = h.T @ h / states
    metric = moment + moment.trace() / width * torch.eye(width, dtype=torch.float64)
    precision = (h @ torch.linalg.solve(metric, h.T)).diagonal().mean() / deviation**2
    for place, row in enumerate(found.tolist()):
        raw = (h @ rows[row].double()).requires_grad_()
        logits = raw * head.scale if head.cap is None else head.cap * torch.tanh(raw * head.scale / head.cap)
        (slope,) = torch.autograd.grad(logits.sum(), raw)
        log_p = targets.log_p[token == row].double()
        log_q = (logits - targets.log_z.double()).detach()
        weight = (log_p.exp() - log_q.clamp_max(0).exp()) / (log_p - log_q.clamp_max(0))
        scaled = h * (slope * weight.sqrt())[:, None]
        wanted = weight.sqrt() * (log_p - log_q)
        plain = torch.linalg.solve(scaled.T @ scaled + precision * metric, scaled.T @ wanted)
        torch.testing.assert_close(moves[place].double(), plain, atol=1e-4, rtol=1e-3)


def test_a_row_learns_the_chains_probability() -> None:
    """States enough and a prior that lets go: the row's probability is the chain's, also where it was too strong."""
    g = torch.Generator().manual_seed(1)
    hidden = torch.randn(800, 8, generator=g)
    truth = torch.randn(8, generator=g)
    log_z = torch.full((800,), 4.0)
    targets = ChainTargets(torch.zeros(800, dtype=torch.long), torch.arange(800), hidden @ truth - 4, log_z)
    start = (truth + torch.randn(8, generator=g))[None]
    rows = start.clone()
    for _ in range(8):  # a step of the regression is a step of Newton's method
        _, step = regress(make_problem(targets, hidden, rows, None, Head()), 30.0)
        rows = rows + step
    assert float((rows[0] - truth).norm()) < 0.05 * float((start[0] - truth).norm())
