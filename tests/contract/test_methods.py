"""What every method promises, checked for all of the registry: a new method needs no line here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from method_tasks import ANCHORS, DONOR_ROWS, TARGETS, WIDTH, make_task
from torch import Tensor

from tokswap.errors import TokswapError
from tokswap.methods import Method, Pieces, Task, get_method, methods

EVERY = pytest.mark.parametrize("method", methods().values(), ids=list(methods()))
DONORS = [m for m in methods().values() if m.space == "donor"]
DONOR_SPACE = pytest.mark.parametrize("method", DONORS, ids=[m.name for m in DONORS])


def in_order(task: Task, order: Tensor) -> Task:
    """The same targets in another order."""
    rows = [task.pieces.ids[a:b] for a, b in zip(task.pieces.starts, task.pieces.starts[1:], strict=False)]
    lengths = [
        task.pieces.lengths[a:b] for a, b in zip(task.pieces.starts, task.pieces.starts[1:], strict=False)
    ]
    counts = torch.tensor([0, *(len(rows[i]) for i in order)])
    pieces = Pieces(
        torch.cat([rows[i] for i in order]), torch.cat([lengths[i] for i in order]), counts.cumsum(0)
    )
    return replace(task, targets=task.targets[order], pieces=pieces)


def renamed(task: Task, to: Tensor) -> Task:
    """The same tokens under other donor ids: id i becomes to[i]."""
    assert task.donor is not None
    donor = torch.zeros(int(to.max()) + 1, task.donor.shape[1], dtype=task.donor.dtype)
    donor[to] = task.donor
    anchors = torch.stack([task.anchors[:, 0], to[task.anchors[:, 1]]], dim=1)
    assert task.links is not None
    links = replace(task.links, new=to[task.links.new])
    return replace(task, donor=donor, anchors=anchors, links=links, targets=to[task.targets])


def is_random(method: Method) -> bool:
    return not torch.equal(method(make_task()), method(replace(make_task(), seed=1)))


@EVERY
def test_gives_one_finite_fp32_row_a_target(method: Method) -> None:
    rows = method(make_task())
    assert rows.shape == (TARGETS, WIDTH) and rows.dtype == torch.float32 and bool(rows.isfinite().all())


@EVERY
def test_the_same_seed_gives_the_same_bits(method: Method) -> None:
    first, task = method(make_task()), make_task()
    torch.manual_seed(99)  # the global generator is nobody's business
    assert torch.equal(method(task), first)
    state = torch.get_rng_state()
    method(task)
    assert torch.equal(torch.get_rng_state(), state)


@EVERY
def test_leaves_its_inputs_as_they_were(method: Method) -> None:
    task, untouched = make_task(), make_task()
    method(task)
    for name in ("base", "donor", "targets", "anchors", "usable"):
        assert torch.equal(torch.nan_to_num(getattr(task, name)), torch.nan_to_num(getattr(untouched, name)))
    assert torch.equal(task.pieces.ids, untouched.pieces.ids)


@EVERY
def test_permuting_the_targets_permutes_the_rows(method: Method) -> None:
    order = torch.randperm(TARGETS, generator=torch.Generator().manual_seed(5))
    rows = method(make_task())
    torch.testing.assert_close(method(in_order(make_task(), order)), rows[order], rtol=0, atol=1e-6)


@EVERY
def test_renaming_the_donors_ids_changes_nothing(method: Method) -> None:
    task = make_task()
    higher = torch.arange(DONOR_ROWS) + 7
    to = (
        higher
        if is_random(method)
        else torch.randperm(DONOR_ROWS, generator=torch.Generator().manual_seed(6))
    )
    torch.testing.assert_close(method(renamed(task, to)), method(task), rtol=0, atol=1e-6)


@EVERY
def test_the_order_of_the_anchors_changes_nothing(method: Method) -> None:
    task = make_task()
    moved = replace(task, anchors=task.anchors.flip(0))
    torch.testing.assert_close(method(moved), method(task), rtol=1e-5, atol=1e-5)


@EVERY
@pytest.mark.parametrize("budget", [1, 200_000])
def test_the_budget_changes_nothing(method: Method, budget: int) -> None:
    task = make_task()
    torch.testing.assert_close(method(replace(task, budget=budget)), method(task), rtol=1e-5, atol=1e-5)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tables_are_computed_in_fp32(method: Method, dtype: torch.dtype) -> None:
    task = make_task()
    assert task.donor is not None
    half = replace(task, base=task.base.to(dtype), donor=task.donor.to(dtype))
    whole = replace(task, base=half.base.float(), donor=task.donor.to(dtype).float())
    rows = method(half)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, method(whole), rtol=1e-6, atol=1e-6)


@EVERY
def test_no_new_tokens_no_rows(method: Method) -> None:
    assert method(make_task(targets=0)).shape == (0, WIDTH)


@EVERY
def test_one_matrix_gives_one_answer_on_every_side(method: Method) -> None:
    """Tied and untied agree, unless a parameter says otherwise."""
    tied = method(make_task())
    for side in ("input", "output"):
        assert torch.equal(method(replace(make_task(), side=side)), tied)  # type: ignore[arg-type]


@DONOR_SPACE
def test_columns_side_by_side_are_those_one_by_one(method: Method) -> None:
    """Input and output under one donor space are solved together: that must be the same as apart."""
    task, other = make_task(), make_task(seed=1).base
    both = method(replace(task, base=torch.cat([task.base, other], dim=1)))
    apart = torch.cat([method(task), method(replace(task, base=other))], dim=1)
    torch.testing.assert_close(both, apart, rtol=1e-5, atol=1e-5)


@EVERY
def test_without_a_donor_the_donors_space_is_refused_and_the_base_does(method: Method) -> None:
    alone = replace(make_task(), donor=None)
    if method.space == "donor":
        with pytest.raises(TokswapError, match=method.name) as caught:
            method(alone)
        assert "subword" in caught.value.hint
    else:
        assert torch.equal(method(alone), method(make_task()))


@EVERY
@pytest.mark.parametrize("anchors", [0, 1, 3])
def test_few_anchors_are_enough_or_refused_by_name(method: Method, anchors: int) -> None:
    try:
        rows = method(make_task(anchors=anchors))
    except TokswapError as error:
        assert method.space == "donor" and method.name in error.what and error.hint
    else:
        assert bool(rows.isfinite().all()) and rows.shape == (TARGETS, WIDTH)


@EVERY
def test_progress_ends_at_the_last_target(method: Method) -> None:
    seen: list[tuple[int, int]] = []
    method(replace(make_task(), budget=1, on_progress=lambda done, total: seen.append((done, total))))
    assert all(total == TARGETS for _, total in seen)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert not seen or seen[-1][0] == TARGETS


@EVERY
def test_describes_itself(method: Method) -> None:
    assert method.summary.endswith(".") and method.paper
    assert set(method.annotations) >= set(method.defaults)
    assert get_method(method.name) is method


@pytest.mark.parametrize(
    ("name", "parameters", "error"),
    [("omp", {}, 1e-5), ("nearest", {"k": 1}, 1e-6), ("map", {"ridge": 0.0}, 1e-4)],
)
def test_a_donor_that_is_the_base_gives_the_base_rows_back(name: str, parameters: Any, error: float) -> None:
    task = make_task()
    base = task.base.nan_to_num(1.0)
    same = replace(
        task,
        base=base,
        donor=base.clone(),
        anchors=torch.arange(ANCHORS)[:, None].expand(-1, 2),
        targets=torch.arange(20),
    )
    torch.testing.assert_close(get_method(name)(same, **parameters), base[:20], rtol=error, atol=error)


def test_omp_says_how_many_shared_tokens_it_needs() -> None:
    with pytest.raises(TokswapError, match="k = 64 needs as many shared tokens, and there are 63") as caught:
        get_method("omp")(make_task(anchors=63))
    assert "k=8" in caught.value.hint and "subword" in caught.value.hint
    assert get_method("omp")(make_task(anchors=64)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("omp", {"k": 0}), ("omp", {"k": 4, "tolerance": -1.0}), ("nearest", {"k": 0}),
        ("nearest", {"temperature": 0.0}), ("map", {"ridge": -0.1}), ("subword", {"weights": "decay", "decay": 2.0}),
    ],
)  # fmt: skip
def test_senseless_parameters_are_refused(name: str, parameters: Any) -> None:
    with pytest.raises(TokswapError, match=name):
        get_method(name)(make_task(), **parameters)


def test_unknown_methods_are_answered_with_the_nearest() -> None:
    with pytest.raises(TokswapError) as caught:
        get_method("subwrod")
    assert "subword" in caught.value.hint
    with pytest.raises(TokswapError) as caught:
        get_method("os.system")
    assert "omp" in caught.value.hint
