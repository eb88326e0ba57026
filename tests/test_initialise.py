from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tokswap.align import Alignment, Origin, align
from tokswap.initialise import Embeddings, Initialised, initialise, place, silence
from tokswap.methods import Pieces, get_method, methods
from tokswap.vocab import Kind, Vocab, make_vocab

WIDTH, DONOR_WIDTH = 16, 12
SHARED, OLD, FRESH = 80, 20, 30  # tokens in both, only in the base, only in the new vocabulary
BASE_SPACE = [m.name for m in methods().values() if m.space == "base" and not (m.parallel or m.network)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def words(names: list[str], *specials: str, rows: int | None = None) -> Vocab:
    tokens = {i: (n, n.encode(), Kind.ORDINARY) for i, n in enumerate(names)}
    tokens |= {len(names) + i: (n, n.encode(), Kind.SPECIAL) for i, n in enumerate(specials)}
    return make_vocab(tokens, {}, rows)


BASE = words([f"s{i}" for i in range(SHARED)] + [f"o{i}" for i in range(OLD)], "<s>", rows=110)
NEW = words(
    [f"n{i}" for i in range(FRESH)] + [f"s{i}" for i in reversed(range(SHARED))], "<s>", "<x>", rows=120
)
ALIGNMENT = align(BASE, NEW)


def draw(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def base_rows(*, tied: bool = True, bias: bool = False, dtype: torch.dtype = torch.float32) -> Embeddings:
    return Embeddings(
        draw(110, WIDTH, 0).to(dtype),
        None if tied else draw(110, WIDTH, 1).to(dtype),
        draw(110, 1, 2)[:, 0].to(dtype) if bias else None,
    )


def donor_rows(*, tied: bool = True) -> Embeddings:
    return Embeddings(draw(120, DONOR_WIDTH, 3), None if tied else draw(120, DONOR_WIDTH, 4))


def spelling() -> Pieces:
    """New token i is spelt by base tokens i and i + 1, the last one by none."""
    counts = torch.tensor([0] + [2] * (FRESH - 1) + [0])
    ids = torch.tensor([i + j for i in range(FRESH - 1) for j in (0, 1)])
    return Pieces(ids, torch.ones_like(ids), counts.cumsum(0))


def run(
    base: Embeddings,
    donor: Embeddings | None = None,
    method: str = "subword",
    alignment: Alignment = ALIGNMENT,
    **parameters: Any,
) -> Initialised:
    return initialise(alignment, base, donor, BASE, spelling(), get_method(method), parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("method", "parameters"), [("subword", {}), ("omp", {"k": 6}), ("normal", {})])
def test_shared_rows_are_copied_bit_for_bit_in_their_dtype(
    method: str, parameters: Any, tied: bool, dtype: torch.dtype
) -> None:
    base = base_rows(tied=tied, bias=True, dtype=dtype)
    made = run(base, donor_rows(), method, **parameters)
    copied, source = ALIGNMENT.copied_ids, ALIGNMENT.source[ALIGNMENT.copied_ids]
    assert len(copied) == SHARED + 1
    pairs = [(made.rows.input, base.input), (made.rows.bias, base.bias)]
    pairs += [] if tied else [(made.rows.output, base.output)]
    for new, old in pairs:
        assert new is not None and old is not None
        assert new.dtype == dtype and len(new) == 120 and bool(new.isfinite().all())
        assert torch.equal(new[copied], old[source])
    assert made.rows.tied is tied


@pytest.mark.parametrize("method", BASE_SPACE)
def test_tied_and_untied_agree_on_one_matrix(method: str) -> None:
    one = base_rows()
    tied = run(one, method=method).rows
    untied = run(Embeddings(one.input, one.input.clone()), method=method).rows
    assert untied.output is not None
    assert torch.equal(tied.input, untied.input) and torch.equal(tied.input, untied.output)


@pytest.mark.parametrize(("method", "parameters"), [("omp", {"k": 6}), ("nearest", {}), ("map", {})])
def test_one_donor_space_serves_both_sides_as_if_each_were_alone(method: str, parameters: Any) -> None:
    base, donor = base_rows(tied=False), donor_rows()
    both = run(base, donor, method, **parameters).rows
    assert base.output is not None and both.output is not None
    torch.testing.assert_close(
        both.input, run(Embeddings(base.input), donor, method, **parameters).rows.input
    )
    torch.testing.assert_close(
        both.output, run(Embeddings(base.output), donor, method, **parameters).rows.input
    )


def test_an_untied_donor_gives_each_side_its_own_space() -> None:
    base, donor = base_rows(tied=False), donor_rows(tied=False)
    made = run(base, donor, "nearest").rows
    assert base.output is not None and donor.output is not None and made.output is not None
    torch.testing.assert_close(
        made.input, run(Embeddings(base.input), Embeddings(donor.input), "nearest").rows.input
    )
    torch.testing.assert_close(
        made.output, run(Embeddings(base.output), Embeddings(donor.output), "nearest").rows.input
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 0.0, 1e-6])
@pytest.mark.parametrize("side", ["base input", "base output", "donor input", "donor output"])
def test_rows_that_were_never_trained_are_no_anchors_and_are_counted(side: str, value: float) -> None:
    base, donor = base_rows(tied=False), donor_rows(tied=False)
    clean = run(base, donor, "omp", k=6)
    assert (clean.anchors, clean.anchors_dropped, clean.dead_targets) == (SHARED, 0, 0)
    shared = ALIGNMENT.anchor_ids[:5]
    owner, name = side.split()
    ids = ALIGNMENT.source[shared] if owner == "base" else shared
    getattr(base if owner == "base" else donor, name)[ids] = value
    made = run(base, donor, "omp", k=6)
    assert (made.anchors, made.anchors_dropped) == (SHARED - 5, 5)
    fresh = ALIGNMENT.new_ids
    assert made.rows.output is not None
    assert bool(made.rows.input[fresh].isfinite().all()) and bool(made.rows.output[fresh].isfinite().all())


@pytest.mark.parametrize("value", [torch.nan, 0.0])
@pytest.mark.parametrize("share", [3, FRESH - 1, FRESH])
def test_donor_rows_that_were_never_trained_give_the_mean_row(share: int, value: float) -> None:
    base, donor = base_rows(), donor_rows()
    donor.input[ALIGNMENT.new_ids[:share]] = value
    made = run(base, donor, "nearest")
    assert made.dead_targets == share
    ordinary = base.input[: SHARED + OLD].double().mean(0).float()
    assert torch.equal(made.rows.input[ALIGNMENT.new_ids[:share]], ordinary.expand(share, -1))
    whole = run(base, donor_rows(), "nearest").rows.input
    torch.testing.assert_close(made.rows.input[ALIGNMENT.new_ids[share:]], whole[ALIGNMENT.new_ids[share:]])


def test_targets_that_are_nearly_all_untrained_are_seen_as_such() -> None:
    donor = donor_rows()
    donor.input[ALIGNMENT.new_ids[1:]] *= 1e-5
    assert run(base_rows(), donor, "nearest").dead_targets == FRESH - 1


def test_a_target_beyond_the_donors_rows_gets_the_mean_row() -> None:
    alignment = align(BASE, words([*NEW.texts[:-2], "far"], rows=100), rows=111)
    donor = Embeddings(donor_rows().input[:100])
    made = initialise(
        alignment, base_rows(), donor, BASE, spelled_by_none(alignment), get_method("nearest"), {}
    )
    outside = int((alignment.new_ids >= 100).sum())
    assert outside == 1 and made.dead_targets == outside
    assert made.anchors_dropped == int((alignment.anchor_ids >= 100).sum()) == 10


def spelled_by_none(alignment: Alignment) -> Pieces:
    nothing = torch.zeros(0, dtype=torch.long)
    return Pieces(nothing, nothing, torch.zeros(len(alignment.new_ids) + 1, dtype=torch.long))


def test_untrained_pieces_are_left_out_of_the_mean() -> None:
    base = base_rows()
    expected = (base.input[2].clone(), run(base).rows.input[ALIGNMENT.new_ids[5]].clone())
    base.input[[0, 1]] = torch.nan
    rows = run(base).rows.input[ALIGNMENT.new_ids]
    assert bool(rows.isfinite().all())
    assert torch.equal(rows[1], expected[0]) and torch.equal(rows[5], expected[1])


def test_the_fallback_of_a_piece_is_no_anchor() -> None:
    """`<0x41>` beside `A`: text never yields it, so its row was never trained."""
    tokens = {0: ("A", b"A", Kind.ORDINARY), 1: ("<0x41>", b"A", Kind.BYTE), 2: ("b", b"b", Kind.ORDINARY)}
    base = make_vocab(tokens, {}, None)
    new = make_vocab({**tokens, 3: ("n", b"n", Kind.ORDINARY)}, {}, None)
    alignment = align(base, new)
    rows = draw(3, WIDTH, 7)
    made = initialise(
        alignment,
        Embeddings(rows),
        Embeddings(draw(4, 8, 8)),
        base,
        spelled_by_none(alignment),
        get_method("nearest"),
        {"k": 9},
    )
    assert (made.anchors, made.anchors_dropped) == (2, 0)
    assert torch.equal(made.rows.input[:3], rows)


def test_composed_rows_are_means_in_fp32() -> None:
    alignment = align(BASE, NEW, overrides={"<x>": ["s1", "o2", "<s>"], "n3": ["o1"]})
    base = base_rows(dtype=torch.bfloat16, bias=True)
    counts = torch.tensor([0] * FRESH)
    nothing = torch.zeros(0, dtype=torch.long)
    made = initialise(alignment, base, None, BASE, Pieces(nothing, nothing, counts), get_method("mean"), {})
    assert base.bias is not None and made.rows.bias is not None
    parts = [1, SHARED + 2, SHARED + OLD]
    assert torch.equal(made.rows.input[FRESH + SHARED + 1], base.input[parts].float().mean(0).bfloat16())
    assert torch.equal(made.rows.bias[FRESH + SHARED + 1], base.bias[parts].float().mean().bfloat16())
    assert torch.equal(made.rows.input[3], base.input[SHARED + 1])


def test_biases_follow_the_first_piece() -> None:
    base = base_rows(bias=True)
    bias = run(base).rows.bias
    assert bias is not None and base.bias is not None
    assert torch.equal(bias[: FRESH - 1], base.bias[: FRESH - 1])
    centre = base.bias[: SHARED + OLD].double().mean().float()
    assert float(bias[FRESH - 1]) == pytest.approx(float(centre))  # no piece spells it


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("tied", "bias"), [(True, False), (False, False), (False, True), (True, True)])
@pytest.mark.parametrize("method", ["mean", "subword", "normal"])
def test_silent_rows_never_win(method: str, tied: bool, bias: bool, dtype: torch.dtype) -> None:
    made = run(base_rows(tied=tied, bias=bias, dtype=dtype), method=method).rows
    silent = ALIGNMENT.silent_ids
    assert len(silent) == 9 and made.output_rows[silent].unique(dim=0).shape[0] == 1
    states = torch.cat(
        [draw(3000, WIDTH, 9) * 10, made.output_rows[silent[:1]].float(), -made.output_rows[:50].float()]
    )
    logits = states @ made.output_rows.float().T
    if made.bias is not None:
        logits += made.bias.float()
    assert not np.isin(logits.argmax(1).numpy(), silent).any()
    probability = torch.softmax(logits.double(), 1)[:, silent]
    assert float(probability.max()) <= 1.02 / (120 - len(silent))  # bf16 rounds the mean


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.booleans(), min_size=4, max_size=20).filter(lambda s: s.count(False) > 1), st.integers(0, 999)
)
def test_a_mean_row_is_never_above_the_best(silent: list[bool], seed: int) -> None:
    origin = np.where(silent, Origin.SILENT, Origin.NEW).astype(np.uint8)
    alignment = Alignment(np.full(len(silent), -1), origin, base_rows=1)
    rows = draw(len(silent), 6, seed)
    rows[torch.tensor(silent)] = 0
    silence(alignment, rows)
    logits = draw(64, 6, seed + 1) @ rows.T
    best = logits[:, ~torch.tensor(silent)].max(1).values
    assert (logits[:, torch.tensor(silent)] < best[:, None]).all()


def test_a_model_on_its_own_tokenizer_keeps_every_row() -> None:
    base = base_rows(tied=False, bias=True, dtype=torch.bfloat16)
    assert base.output is not None and base.bias is not None
    base.input[105] = torch.nan  # a padded row that holds nonsense stays as it is, too
    alignment = align(BASE, BASE)
    made = initialise(alignment, base, None, BASE, spelled_by_none(alignment), get_method("subword"), {}).rows
    assert made.output is not None and made.bias is not None
    assert torch.equal(made.input.view(torch.int16), base.input.view(torch.int16))
    assert torch.equal(made.output, base.output) and torch.equal(made.bias, base.bias)


def test_place_puts_every_part_at_its_ids() -> None:
    new = draw(FRESH, WIDTH, 11)
    out = place(ALIGNMENT, base_rows().input, new)
    assert torch.equal(out[ALIGNMENT.new_ids], new)
    assert torch.equal(out[FRESH], base_rows().input[SHARED - 1])


def test_the_seed_decides_the_draws() -> None:
    def drawn(seed: int) -> Tensor:
        pieces, method = spelling(), get_method("normal")
        return initialise(ALIGNMENT, base_rows(), None, BASE, pieces, method, {}, seed=seed).rows.input

    assert torch.equal(drawn(3), drawn(3)) and not torch.equal(drawn(3), drawn(4))


def test_tables_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        Embeddings(torch.zeros(3, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="bias"):
        Embeddings(torch.zeros(3, 2), bias=torch.zeros(2))
