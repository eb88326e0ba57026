"""The refit of output rows, held against plain autograd and against what must hold whatever the data."""

import pytest
import torch

from tokswap import refit
from tokswap.calibrate import Head
from tokswap.refit import Evidence, Move, Regression, Table, losses, make_basis, moved, no_move, solve

ROWS, WIDTH, STATES = 60, 8, 400
PLAIN = Head()
MANY = 4000  # states enough to learn from, not only to compute with


def problem(
    head: Head = PLAIN, *, bias: bool = False, count: int = STATES, seed: int = 0
) -> tuple[Evidence, Table, torch.Tensor]:
    """States whose next tokens were drawn from true rows; the table has other rows for the ids that may move."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(ROWS, WIDTH, generator=generator)
    states = torch.randn(count, WIDTH, generator=generator) + 0.5
    offsets = 0.3 * torch.randn(ROWS, generator=generator) if bias else None
    raw = states @ truth.T + (0 if offsets is None else offsets)
    targets = torch.multinomial(head(raw.clone()).softmax(1), 1, generator=generator)[:, 0]
    rows = truth.clone()
    ids = torch.arange(20, ROWS)
    rows[ids] += 0.8 * torch.randn(1, WIDTH, generator=generator)  # what a shared map can mend
    known = torch.arange(ROWS)
    evidence = Evidence(states, targets, torch.zeros(count, dtype=torch.long))
    return evidence, Table(rows, offsets, ids, known, head), truth


HEADS = [PLAIN, Head(scale=0.5), Head(cap=5.0), Head(scale=2.0, cap=8.0)]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("bias", [False, True])
def test_the_loss_of_no_move_is_plain_cross_entropy(head: Head, bias: bool) -> None:
    evidence, table, _ = problem(head, bias=bias)
    basis = make_basis(evidence, table)
    raw = evidence.states @ table.rows.T + (0 if table.bias is None else table.bias)
    plain = torch.nn.functional.cross_entropy(head(raw), evidence.targets, reduction="none")
    torch.testing.assert_close(
        Regression(evidence, table, basis).loss(no_move(basis)), plain, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(losses(evidence, table), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_the_loss_of_a_move_is_that_of_the_moved_rows(head: Head) -> None:
    evidence, table, _ = problem(head)
    basis = make_basis(evidence, table)
    move = Move(*(0.05 * torch.randn(part.shape) for part in (no_move(basis).shared, no_move(basis).own)))
    rows = table.rows.clone()
    rows[table.ids] += moved(basis, move)
    after = Table(rows, None, table.ids, table.known, head)
    torch.testing.assert_close(
        Regression(evidence, table, basis).loss(move), losses(evidence, after), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("head", HEADS)
def test_the_gradient_is_that_of_autograd(head: Head) -> None:
    evidence, table, _ = problem(head)
    basis = make_basis(evidence, table)
    shared = (0.05 * torch.randn_like(no_move(basis).shared)).requires_grad_()
    own = (0.05 * torch.randn_like(no_move(basis).own)).requires_grad_()
    step = basis.features @ (basis.spread @ shared).T
    step = step.index_add(0, basis.candidates[basis.own], (basis.spread @ own).T)
    raw = evidence.states @ table.rows.index_add(0, table.ids, step).T * head.scale
    logits = raw if head.cap is None else head.cap * torch.tanh(raw / head.cap)
    torch.nn.functional.cross_entropy(logits, evidence.targets, reduction="sum").backward()
    with torch.no_grad():
        _, found = Regression(evidence, table, basis).gradient(Move(shared.detach(), own.detach()))
    torch.testing.assert_close(found.shared, shared.grad, atol=2e-2, rtol=1e-3)
    torch.testing.assert_close(found.own, own.grad, atol=2e-2, rtol=1e-3)


def test_a_fit_mends_what_a_map_can_mend() -> None:
    evidence, table, truth = problem(count=MANY)
    test_states = torch.randn(2000, WIDTH, generator=torch.Generator().manual_seed(9)) + 0.5
    basis = make_basis(evidence, table)
    rows = table.rows.clone()
    rows[table.ids] += moved(basis, solve(Regression(evidence, table, basis), precision=30.0))

    def divergence(its: torch.Tensor) -> float:
        want = (test_states @ truth.T).log_softmax(1)
        return float((want.exp() * (want - (test_states @ its.T).log_softmax(1))).sum(1).mean())

    assert divergence(rows) < 0.6 * divergence(table.rows)


def test_a_huge_precision_moves_nothing_and_rows_that_may_not_move_do_not() -> None:
    evidence, table, _ = problem()
    basis = make_basis(evidence, table)
    still = moved(basis, solve(Regression(evidence, table, basis), precision=1e9))
    assert float(still.abs().max()) < 1e-3
    assert still.shape == (len(table.ids), WIDTH)


def test_a_warm_start_ends_where_a_cold_one_does() -> None:
    evidence, table, _ = problem(count=MANY)
    regression = Regression(evidence, table, make_basis(evidence, table))
    cold = solve(regression, 10.0, steps=200)
    warm = solve(regression, 10.0, solve(regression, 100.0), steps=200)
    assert float((regression.loss(cold) - regression.loss(warm)).abs().max()) < 5e-3


def test_sampled_candidates_stand_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence, table, _ = problem()
    # Equal rows: any sample of them has exactly their mass.
    table.rows[table.ids] = table.rows[table.ids[0]].clone()
    seen = len(torch.unique(evidence.targets[evidence.targets >= 20]))
    monkeypatch.setattr(refit, "CANDIDATES", seen)
    monkeypatch.setattr(refit, "SAMPLE", 3)
    basis = make_basis(evidence, table)
    assert len(basis.candidates) <= seen + 3
    plain = torch.nn.functional.cross_entropy(
        evidence.states @ table.rows.T, evidence.targets, reduction="none"
    )
    torch.testing.assert_close(
        Regression(evidence, table, basis).loss(no_move(basis)), plain, atol=1e-4, rtol=1e-4
    )


def test_the_same_evidence_gives_the_same_bits() -> None:
    evidence, table, _ = problem()

    def once() -> torch.Tensor:
        basis = make_basis(evidence, table)
        return moved(basis, solve(Regression(evidence, table, basis), precision=3.0))

    assert torch.equal(once(), once())
