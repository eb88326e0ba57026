"""Texts and numbers as they are shown: nothing a terminal would obey, and every figure readable."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokswap.display import Table, amount, escape, one_line, safe, safe_json, tables_of, words
from tokswap.display.markdown import markdown
from tokswap.display.text import duration, rounded, short_name, with_interval
from tokswap.report import Figure, Report

ANY_TEXT = st.text(st.characters())  # surrogates too


@given(st.one_of(st.binary(), ANY_TEXT))
def test_escaped_tokens_are_printable(token: bytes | str) -> None:
    assert escape(token).isprintable()


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_different_bytes_look_different(a: bytes, b: bytes) -> None:
    assert (escape(a) == escape(b)) == (a == b)


@given(ANY_TEXT)
def test_lines_stay_lines(text: str) -> None:
    assert one_line(text).isprintable()
    assert all(c == "\n" or c.isprintable() for c in safe(text))


@given(st.recursive(ANY_TEXT, lambda inner: st.dictionaries(ANY_TEXT, inner) | st.lists(inner), max_leaves=8))
def test_safe_json_is_the_same_data(data: object) -> None:
    document = safe_json(json.dumps(data, ensure_ascii=False, indent=2))
    assert json.loads(document) == data
    assert all(c == "\n" or c.isprintable() for c in document)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (262_144, "rows", "262,144"),
        (0, "bytes", "0 bytes"),
        (999, "bytes", "999 bytes"),
        (999_960_000, "bytes", "1 GB"),
        (145e9, "bytes", "145 GB"),
        (3e17, "bytes", "300,000 TB"),
        (1.03612, "bits/byte", "1.036"),
        (0.0612, "share", "6.1 %"),
        (4.254, "bytes/token", "4.25"),
        (float("nan"), "x", "no number"),
        (7.25, "seconds", "7.2 s"),
        (59.6, "seconds", "1 min 0 s"),
        (8105.4, "seconds", "2 h 15 min"),
    ],
)
def test_amounts(value: float, unit: str, shown: str) -> None:
    assert amount(Figure(value, unit)) == shown


def test_small_forms() -> None:
    assert [rounded(Figure(n, "parameters")) for n in (7, 131_783_296, 999_999_999)] == ["7", "132 M", "1 B"]
    assert amount(None) == "–" and duration(45) == "45 s"
    assert with_interval(Figure(1.0, "x", 0.9, 1.1)) == "1.000 (0.900 to 1.100)"
    assert words({"k": 64, "t": None, "on": True}) == "k = 64, t = –, on = yes"
    assert short_name("models/a/ (from x)") == "a" and short_name("org/name@abc") == "name@abc"


def test_tables_are_rectangular() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        Table("t", ("a", "b"), (("1",),))


def test_a_kind_without_a_layout_shows_all_it_has() -> None:
    report = Report("new kind", {"a_fact": 1}, {"b": Figure(2, "rows")}, {"s": Report("inner", {"c": "d"})})
    assert [row for table in tables_of(report) for row in table.rows] == [
        ("a fact", "1"),
        ("b", "2"),
        ("c", "d"),
    ]


def test_markdown_holds_the_tables_and_no_markup_of_theirs() -> None:
    evil = "a|b <b> *x* [l](u) `c`\n# d"
    report = Report("evaluation_of_all", {"fact": evil}, {"bits": Figure(1.5, "bits/byte")}, warnings=(evil,))
    text = markdown(report)
    assert text.startswith("# Evaluation of all\n") and "| bits | 1.500 |" in text
    assert "| fact | a\\|b \\<b\\> \\*x\\* \\[l\\](u) \\`c\\`\\\\n\\# d |" in text
    assert len([line for line in text.splitlines() if line.startswith("#")]) == 2


def test_a_report_comes_back_from_its_json() -> None:
    inner = Report("text", {"n": [1, "x"]}, {"bits": Figure(1.5, "bits/byte", 1.0, 2.0, "note")})
    report = Report("evaluation", {"model": "m"}, {"n": Figure(3, "tokens")}, {"t": inner}, ("careful",))
    assert Report.from_dict(json.loads(report.to_json())) == report
    lost = Report.from_dict(Report("x", {}, {"f": Figure(float("inf"), "x")}).to_dict())
    assert math.isnan(lost.figures["f"].value)
    with pytest.raises(KeyError):
        Report.from_dict({"kind": "x"})
