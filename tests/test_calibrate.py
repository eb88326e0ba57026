from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from tokswap import calibrate, calibration
from tokswap.calibrate import (
    HARM,
    PRIOR_DEVIATION,
    Head,
    find_shift,
    find_shifts,
    head_of,
    log_mass,
    shift_rows,
    token_groups,
    worth_shifting,
)
from tokswap.initialise import Embeddings
from tokswap.states import States
from tokswap.vocab import Kind, make_vocab

WIDTH, ROWS, STATES = 24, 90, 300
GROUPS = [torch.arange(0, 30), torch.arange(30, 40)]
OTHERS = torch.arange(40, ROWS)
HEADS = [Head(), Head(scale=0.25), Head(cap=30.0), Head(scale=2.0, cap=5.0)]
LINEAR = [head for head in HEADS if head.cap is None]


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def states() -> Tensor:
    """Final states point roughly one way, as a model's do."""
    return draw(WIDTH, seed=0) * 1.5 + draw(STATES, WIDTH, seed=1)


def table() -> Tensor:
    return 0.3 * draw(ROWS, WIDTH, seed=2)


def targets() -> Tensor:
    """Next tokens: one in eight of the first group, one in twenty of the second."""
    at = torch.arange(STATES)
    return torch.where(at % 8 == 0, at % 30, torch.where(at % 20 == 1, 30 + at % 10, 40 + at % 50))


def hits() -> Tensor:
    return torch.stack([torch.isin(targets(), group) for group in GROUPS])


def probabilities(rows: Tensor, bias: Tensor | None, head: Head) -> Tensor:
    """Float64[n V]: the plain softmax over all rows."""
    raw = states().double() @ rows.double().T + (0 if bias is None else bias.double())
    return torch.softmax(head(raw), 1)


def log_groups(rows: Tensor, bias: Tensor | None, head: Head) -> tuple[Tensor, Tensor]:
    groups = torch.stack([log_mass(states(), rows, bias, ids, head) for ids in GROUPS])
    return groups, log_mass(states(), rows, bias, OTHERS, head)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("room", [1, 5000, 10**9])
def test_masses_are_those_of_the_softmax(head: Head, with_bias: bool, room: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(calibrate, "LOGIT_BYTES", room)
    bias = draw(ROWS, seed=3) if with_bias else None
    groups, rest = log_groups(table(), bias, head)
    found = torch.softmax(torch.cat([groups, rest[None]]).double(), 0)
    whole = probabilities(table(), bias, head)
    expected = torch.stack([whole[:, ids].sum(1) for ids in (*GROUPS, OTHERS)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.99])
def test_the_shift_has_the_least_cross_entropy(share: float) -> None:
    groups, rest = log_groups(table(), None, Head())
    hit = torch.arange(STATES) < share * STATES
    mean = states().double().mean(0)
    along = states().double() @ mean / mean.square().sum()

    def loss(c: float) -> float:
        odds = (groups[0] - rest).double() - c * along
        fit = binary_cross_entropy_with_logits(odds, hit.double(), reduction="sum")
        return float(fit) + c**2 / (2 * PRIOR_DEVIATION**2)

    best = minimize_scalar(loss, bounds=(-20, 20), method="bounded", options={"xatol": 1e-8})
    assert find_shift(states(), groups[0], rest, hit) == pytest.approx(best.x, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head", LINEAR)
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_masses_after_are_those_of_the_shifted_rows(
    head: Head, with_bias: bool, dtype: torch.dtype
) -> None:
    bias = draw(ROWS, seed=3) if with_bias else None
    rows = table().to(dtype)
    before = probabilities(rows, bias, head)
    shifts = find_shifts(
        states(), *log_groups(rows, bias, head), hits(), torch.zeros(STATES, dtype=torch.long)
    )
    for ids, shift in zip(GROUPS, shifts, strict=True):
        shift_rows(rows, ids, states(), shift.c, head)
    after = probabilities(rows, bias, head)
    tolerance = 1e-4 if dtype == torch.float32 else 2e-3
    for ids, shift, hit in zip(GROUPS, shifts, hits(), strict=True):
        assert shift.share == pytest.approx(float(hit.double().mean()))
        assert shift.mass_before == pytest.approx(float(before[:, ids].sum(1).mean()), abs=1e-5)
        assert shift.mass_after == pytest.approx(float(after[:, ids].sum(1).mean()), abs=tolerance)
        assert abs(shift.mass_after - shift.share) < abs(shift.mass_before - shift.share)


def test_a_group_alone_is_solved_as_by_find_shift() -> None:
    groups, rest = log_groups(table(), None, Head())
    one = find_shifts(states(), groups[:1], rest, hits()[:1], torch.zeros(STATES, dtype=torch.long))
    assert one[0].c == pytest.approx(find_shift(states(), groups[0], rest, hits()[0]), abs=1e-6)


def test_several_groups_settle_together() -> None:
    groups, rest = log_groups(table(), None, Head())
    whole = torch.zeros(STATES, dtype=torch.long)
    shifts = find_shifts(states(), groups, rest, hits(), whole, [3.0, 3.0])
    mean = states().double().mean(0)
    along = states().double() @ mean / mean.square().sum()
    moved = groups.double() - torch.tensor([s.c for s in shifts])[:, None] * along
    again = find_shifts(states(), moved, rest, hits(), whole, [3.0, 3.0])
    for shift, more in zip(shifts, again, strict=True):
        assert more.mass_before == pytest.approx(shift.mass_after, abs=1e-9)
        assert abs(more.c) < 0.02 * abs(shift.c) + 1e-3  # the prior pulls anew, by next to nothing


def test_no_text_pays_for_another() -> None:
    """One text has the group's tokens and one has not: what the second asks for the first can't afford."""
    groups, rest = log_groups(table(), None, Head())
    texts = (torch.arange(STATES) >= STATES // 2).long()
    hit = (texts == 0)[None] & (torch.arange(STATES) % 3 > 0)
    (kept,) = find_shifts(states(), groups[:1], rest, hit, texts)
    free = find_shift(states(), groups[0], rest, hit[0])
    mean = states().double().mean(0)
    along = states().double() @ mean / mean.square().sum()
    counts = one_hot(texts).double()

    def costs(c: float) -> Tensor:
        odds = (groups[0] - rest).double() - c * along
        return (
            binary_cross_entropy_with_logits(odds, hit[0].double(), reduction="none") @ counts / counts.sum(0)
        )

    assert (costs(free) > costs(0.0) + HARM).any()
    assert (costs(kept.c) <= costs(0.0) + HARM + 1e-9).all()
    assert 0 < kept.c / free < 1
    assert (
        costs(kept.c * 1.02 + (0.01 if free > 0 else -0.01)) > costs(0.0) + HARM
    ).any()  # as far as it may go


@pytest.mark.parametrize("head", HEADS)
def test_a_shift_lowers_the_logit_at_the_mean_state_by_c(head: Head) -> None:
    rows = table()
    mean = states().mean(0)
    plain = Head(scale=head.scale)
    before = plain(rows @ mean)
    shift_rows(rows, GROUPS[0], states(), 2.5, head)
    lowered = before - plain(rows @ mean)
    torch.testing.assert_close(lowered[GROUPS[0]], torch.full((30,), 2.5), rtol=1e-4, atol=1e-4)
    assert not lowered[30:].any()


def test_under_a_soft_cap_repeated_shifts_settle() -> None:
    """A cap dampens a shift, so that one is too little; what is left to shift must vanish."""
    rows, head = 3 * table(), Head(cap=30.0)
    whole, left = torch.zeros(STATES, dtype=torch.long), []
    for _ in range(12):
        shifts = find_shifts(states(), *log_groups(rows, None, head), hits(), whole)
        left.append(max(abs(s.c) for s in shifts))
        for ids, shift in zip(GROUPS, shifts, strict=True):
            shift_rows(rows, ids, states(), shift.c, head)
    assert left[-1] < 0.1 * left[0]


@pytest.mark.parametrize("cap", [None, 30.0])
def test_what_is_reported_is_what_the_rows_do(cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "EVIDENCE", 1e9)  # groups alone
    monkeypatch.setattr(calibration, "PRIOR_DEVIATION", 3.0)  # 300 states are little against the real one
    names = [b"w%d" % i if i < 30 else b" " * i for i in range(ROWS)]
    tokens = {i: (name.decode(), name, Kind.ORDINARY) for i, name in enumerate(names)}
    plan: Any = SimpleNamespace(
        alignment=SimpleNamespace(new_ids=np.arange(40), rows=ROWS),
        new_vocab=make_vocab(tokens, {}, None),
        base=SimpleNamespace(config={"final_logit_softcapping": cap}),
    )
    head, rows = Head(cap=cap), 2 * table()
    before = probabilities(rows, None, head)
    data = States(states(), targets(), torch.zeros(STATES, dtype=torch.long), torch.arange(STATES))
    shifts = calibration._shift_groups(plan, Embeddings(rows), data)
    after = probabilities(rows, None, head)
    for name, ids in zip(("ascii", "space"), GROUPS, strict=True):
        assert shifts[name].mass_before == pytest.approx(float(before[:, ids].sum(1).mean()), abs=1e-5)
        assert shifts[name].mass_after == pytest.approx(float(after[:, ids].sum(1).mean()), abs=1e-3)
        assert shifts[name].mass_after == pytest.approx(shifts[name].share, abs=5e-3)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}),
        ("gemma2", {"final_logit_softcapping": 3.0, "head_dim": 16, "query_pre_attn_scalar": 16}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 4.0}),
        ("phi", {"num_key_value_heads": 2}),
    ],
)
def test_the_head_is_the_models_own(kind: str, more: dict[str, Any]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "vocab_size": 50, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "initializer_range": 0.5, "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**sizes, **more})).eval()
    layer = model.get_output_embeddings()
    caught: list[Tensor] = []
    layer.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    with torch.no_grad():
        if layer.bias is not None:
            layer.bias.normal_()
        logits = model(input_ids=torch.arange(20)[None]).logits[0].double()
        found = head_of(model.config.to_dict())
        masses = log_mass(caught[0][0], layer.weight, layer.bias, torch.arange(7, 20), found)
    torch.testing.assert_close(masses.double(), logits[:, 7:20].logsumexp(1), rtol=1e-4, atol=1e-4)
    assert (found == Head()) is (kind in ("llama", "phi"))


def test_the_head_of_a_wrapped_model_is_its_text_models() -> None:
    assert head_of({"text_config": {"final_logit_softcapping": 30.0}, "model_type": "x"}) == Head(cap=30.0)
    assert head_of({"final_logit_softcapping": None, "text_config": None}) == Head()


def test_groups_are_told_by_their_bytes() -> None:
    kinds = {
        "space": [b" ", b"\n\n", b"\t"], "ascii": [b"a", b" the", b"("],
        "2_bytes": ["é".encode(), " naï".encode(), b"a\xc3"],
        "3_bytes": ["水".encode(), b"\xe4\xbd"], "4_bytes": ["🙂".encode()], "tail": [b"\x80", b"\xbf\xbf"],
    }  # fmt: skip
    tokens = [token for members in kinds.values() for token in members]
    found = token_groups(tokens, range(100, 100 + len(tokens)))
    assert {name: [tokens[i - 100] for i in ids] for name, ids in found.items()} == kinds
    assert list(found) == sorted(found)


def test_nothing_to_calibrate_with() -> None:
    assert not worth_shifting(torch.zeros(0, 4)) and not worth_shifting(torch.zeros(3, 4))
    assert worth_shifting(torch.ones(1, 4))


def test_a_magnet_is_shifted_by_itself() -> None:
    """A token that every state would draw and the text never has loses its pull; its neighbours keep their rows."""
    tokens = {i: (f"w{i}", b"w%d" % i, Kind.ORDINARY) for i in range(ROWS)}
    plan: Any = SimpleNamespace(
        alignment=SimpleNamespace(new_ids=np.arange(30), rows=ROWS),
        new_vocab=make_vocab(tokens, {}, None),
        base=SimpleNamespace(config={}),
    )
    rows = table()
    mean = states().mean(0)
    rows[7] += 4 * mean / mean.square().sum()  # four nats more at the mean state
    before = probabilities(rows, None, Head())
    text = torch.where(targets() == 7, 8, targets())
    kept = rows.clone()
    data = States(states(), text, torch.zeros(STATES, dtype=torch.long), torch.arange(STATES))
    shifts = calibration._shift_groups(plan, Embeddings(rows), data)
    after = probabilities(rows, None, Head())
    assert calibration.OWN in shifts
    assert after[:, 7].mean() < 0.5 * before[:, 7].mean()
    torch.testing.assert_close(rows[30:], kept[30:], rtol=0, atol=0)
    assert shifts[calibration.OWN].mass_after == pytest.approx(
        float(after[:, sorted(_own(kept, text))].sum(1).mean()), abs=1e-3
    )


def _own(rows: Tensor, text: Tensor) -> set[int]:
    """Plainly: new tokens that are drawn or stand in the text at least EVIDENCE times."""
    drawn = probabilities(rows, None, Head()).sum(0)
    return {i for i in range(30) if max(float(drawn[i]), int((text == i).sum())) >= calibration.EVIDENCE}
