from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokswap.errors import TokswapError
from tokswap.evaluation.gate import Gate, check_gate, gate, parse_gate
from tokswap.report import Figure, Report

FRENCH = Report(
    "text", figures={"bits_per_byte": Figure(1.5, "bits/byte"), "ratio": Figure(1.3, "x", 1.25, 1.35)}
)
REPORT = Report(
    "evaluation",
    figures={
        "bits_per_byte": Figure(1.0, "bits/byte"),
        "ratio": Figure(1.08, "x"),
        "new_token_mass": Figure(0.2, "share"),
    },
    sections={"french": FRENCH},
)


@pytest.mark.parametrize(
    ("expression", "parsed"),
    [
        ("bpb>1.10x", Gate("bpb", 1.1, True)),
        ("bpb>1.2", Gate("bpb", 1.2, False)),
        (" bpb [ french ] > 2 x ", Gate("bpb", 2.0, True, "french")),
        ("bpb[code.py]>.5", Gate("bpb", 0.5, False, "code.py")),
        ("mass>0.3", Gate("mass", 0.3, False)),
        ("greedy>3x", Gate("greedy", 3.0, True)),
    ],
)
def test_parses(expression: str, parsed: Gate) -> None:
    assert parse_gate(expression) == parsed


@given(
    st.sampled_from(["bpb", "mass", "greedy"]),
    st.integers(0, 10**6),
    st.booleans(),
    st.none() | st.just("fr"),
)
def test_round_trip(metric: str, thousandths: int, multiple: bool, text: str | None) -> None:
    where = f"[{text}]" if text else ""
    written = f"{metric}{where}>{thousandths / 1000:.3f}{'x' if multiple else ''}"
    assert parse_gate(written) == Gate(metric, thousandths / 1000, multiple, text)


@pytest.mark.parametrize(
    "bad", ["", "bpb", "bpb>", "bpb<1", "bpb>1.2y", "bpb[]>1", "bpb>-1", "bpb>nan", "bpb>1e3", "1>bpb"]
)
def test_malformed(bad: str) -> None:
    with pytest.raises(TokswapError) as caught:
        parse_gate(bad)
    assert "bpb>1.10x" in caught.value.hint


def test_unknown_metric() -> None:
    with pytest.raises(TokswapError, match="perplexity") as caught:
        parse_gate("perplexity>2")
    assert "bpb, mass" in caught.value.what


@pytest.mark.parametrize(
    ("expression", "failed"),
    [
        ("bpb>1.10x", False),
        ("bpb>1.05x", True),
        ("bpb>1", False),
        ("bpb>0.99", True),
        ("bpb[french]>1.2x", True),
        ("bpb[french]>1.6", False),
        ("mass>0.19", True),
    ],
)
def test_decides(expression: str, failed: bool) -> None:
    assert gate(REPORT, expression)[0] is failed


def test_says_why() -> None:
    failed, sentence = gate(REPORT, "bpb[french]>1.2x")
    assert failed
    assert sentence == "1.3 (1.25 to 1.35) times the base's bits per byte on french: above the limit of 1.2"


def test_what_is_no_number_fails() -> None:
    report = Report("evaluation", figures={"bits_per_byte": Figure(float("nan"), "bits/byte")})
    assert gate(report, "bpb>100")[0]


def test_what_was_not_measured_is_an_error() -> None:
    with pytest.raises(TokswapError, match="which isn't scored") as caught:
        gate(REPORT, "bpb[frenhc]>1")
    assert "'french'" in caught.value.hint
    with pytest.raises(TokswapError, match="new_token_mass_ratio"):
        gate(REPORT, "mass>2x")


@pytest.mark.parametrize("expression", ["bpb[french]>1", "bpb>1.1x", "mass>0.3", "greedy[french]>2x"])
def test_what_can_be_decided_passes_the_check(expression: str) -> None:
    assert check_gate(expression, ["french"], compared=True) == parse_gate(expression)


@pytest.mark.parametrize("expression", ["bpb>1.1x", "mass>0.3", "greedy>0.3", "mass>2x"])
def test_what_needs_a_base_is_refused_without_one(expression: str) -> None:
    with pytest.raises(TokswapError, match="compares with a base") as caught:
        check_gate(expression, ["french"], compared=False)
    assert "--against" in caught.value.hint
    assert check_gate("bpb[french]>1.1", ["french"], compared=False).text == "french"
