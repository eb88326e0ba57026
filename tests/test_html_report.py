"""The page of a report: complete, self-contained, and inert whatever its texts hold."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tokswap import html_report
from tokswap.errors import TokswapError
from tokswap.html_report import render_html, write_html
from tokswap.report import Figure, Report

EVIL = "<script>alert(1)</script>\x1b[31m\u202e\"'&"
BITS = "bits/byte"


def score(model: float, base: float, **more: Figure) -> dict[str, Figure]:
    return {
        "bits_per_byte": Figure(model, BITS, model - 0.1, model + 0.1),
        "base_bits_per_byte": Figure(base, BITS, base - 0.1, base + 0.1),
        "ratio": Figure(model / base, "x", 1.0, 1.2),
        "bytes_per_token": Figure(4.2, "bytes/token"),
        "base_bytes_per_token": Figure(4.5, "bytes/token"),
    } | more


def evaluation() -> Report:
    facts = {"model": "out", "against": "base", "sample": EVIL, "sample_prompt": "So", "base_sample": "x"}
    texts = {
        "english": Report("text", figures=score(1.1, 1.0)),
        EVIL: Report("text", figures=score(1.3, 1.2)),
    }
    return Report("evaluation", facts, score(1.2, 1.1, new_token_mass=Figure(0.1, "share")), texts, (EVIL,))


def plan(kind: str = "plan") -> Report:
    facts = {
        "base": f"base {EVIL}",
        "donor": "models/donor (from somewhere)",
        "out": None,
        "method": "omp",
        "parameters": {"k": 8},
        "why_this_method": "asked for",
        "calibration": "auto",
        "tied": True,
        "device": "cpu",
        "start_token": EVIL,
        "start_token_is_added": True,
        "special_tokens": {EVIL: None, "<s>": "<bos>"},
    }
    counts = ("copied_same_bytes", "copied_same_role", "copied_by_override", "new", "silent", "unused")
    figures = {name: Figure(10 * i, "rows") for i, name in enumerate(counts)}
    figures |= {"base_rows": Figure(200, "rows"), "new_rows": Figure(150, "rows")}
    figures |= {name: Figure(10**9, "parameters") for name in ("base_parameters", "new_parameters")}
    figures |= {"bytes_to_write": Figure(2 * 10**9, "bytes"), "estimated_time": Figure(90.0, "seconds")}
    return Report(kind, facts, figures)


def transplant() -> Report:
    done = plan("transplant")
    facts = {**done.facts, "calibration": {"kind": "shift", "nats": {"ascii": 2.0}, "reason": "asked for"}}
    shift = {"shift_ascii": Figure(2.0, "nats"), "mass_ascii_before": Figure(0.2, "probability")}
    return Report("transplant", facts, {**done.figures, **shift}, {"evaluation": evaluation()})


def comparison() -> Report:
    text = {
        f"{side}_{what}": Figure(2.0, "x") for side in "ab" for what in ("bytes_per_token", "tokens_per_word")
    }
    efficiency = Report("tokenizer", {}, {"renyi_efficiency": Figure(0.5, "share", note=EVIL)})
    metrics = Report("text", sections={EVIL: efficiency, "b": efficiency})
    side = Report("tokenizer", {"source": "a", "numbers": "single digits", "lost_strings": [EVIL]})
    return Report(
        "comparison",
        {"a": EVIL, "b": "b", "special_roles": {"bos": [EVIL, None]}, "only_in_a": [EVIL], "only_in_b": []},
        {name: Figure(3, "tokens") for name in ("shared_by_bytes", "only_in_a", "only_in_b")},
        {
            "a": side,
            "b": side,
            "texts": Report("texts", sections={EVIL: Report("text", {}, text | {"ratio": Figure(1.0, "x")})}),
            "metrics": Report("tokenizers", {"tokenizers": [EVIL, "b"]}, {}, {EVIL: metrics}),
        },
    )


def leaderboard() -> Report:
    facts = {"pair": EVIL, "row": EVIL, "base": "b", "donor": EVIL, "method": "omp", "parameters": {"k": 8}}
    more = {
        "segmentation_bits_per_byte": Figure(1.1, BITS),
        "segmentation_difference": Figure(0.05, BITS),
        "greedy_text_repetition": Figure(0.5, "share"),
    }
    measured = Report(
        "evaluation",
        dict.fromkeys(("window_bytes", "stride_bytes", "interval", "device", "dtype", "note", "bytes"), "x"),
        score(1.2, 1.0, **more),
        {"english": Report("text", figures=score(1.2, 1.0))},
    )
    done = Report(
        "cell", facts | {"state": "done"}, {"seconds": Figure(3.0, "seconds")}, {"evaluation": measured}
    )
    failed = Report("cell", facts | {"state": "failed", "reason": EVIL})
    settings = {"pairs": {EVIL: {"base": "b", "donor": "d"}}, "settings": {"threads": 1}, "machine": "m"}
    return Report(
        "leaderboard", settings | {"tokswap": "1"}, {"done": Figure(1, "cells")}, {"a": done, "b": failed}
    )


def mixture() -> Report:
    shares = ("pair_share", "efficiency_share", "classification_share", "uniform_share")
    figures = {name: Figure(0.5, "share") for name in shares}
    figures |= {"byte_share": Figure(0.4, "share", 0.3, 0.5), "text": Figure(10**6, "bytes")}
    facts = {
        "tokenizer": EVIL,
        "notes": [EVIL],
        "intervals": EVIL,
        "unexplained": [{"merge": 7, "token": EVIL, "slack": 1.5, "frequency": 2.0}],
        "slack_by_script": {EVIL: 1.5},
        "missing": [EVIL],
        "missing_by_script": {"latin": 1},
    }
    run = {"slack": Figure(0.1, "share"), "objective": Figure(2.0, "pairs per million")}
    categories = {name: Report("category", figures=figures) for name in (EVIL, "english")}
    return Report("mixture", facts, run, categories, (EVIL,))


REPORTS = {"plan": plan, "transplant": transplant, "evaluation": evaluation, "comparison": comparison}
REPORTS["mixture"] = mixture
REPORTS["leaderboard"] = leaderboard
REPORTS["unknown"] = lambda: Report(EVIL, {EVIL: EVIL}, {"n": Figure(float("nan"), "things")})


class Page(HTMLParser):
    """Collects what a browser would fetch or run, and whether tags are balanced."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [
            str(value)
            for name, value in attrs
            if name in ("src", "href", "xlink:href", "srcset", "action") and not str(value).startswith("#")
        ]
        self.fetched += [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.mark.parametrize("kind", REPORTS)
def test_inert_and_self_contained(kind: str) -> None:
    text = render_html(REPORTS[kind]())
    page = Page(text)
    assert page.open == [] and page.fetched == []
    assert not page.tags & {"script", "iframe", "img", "link", "object", "embed"}
    assert "@import" not in text and "url(http" not in text
    assert not [c for c in page.words if c != "\n" and not c.isprintable()]
    assert "alert(1)" in page.words and "width=device-width" in text and "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("kind", REPORTS)
def test_the_same_report_gives_the_same_page(kind: str) -> None:
    assert render_html(REPORTS[kind]()) == render_html(REPORTS[kind]())


def test_headline_plot_tables_and_warnings() -> None:
    text = render_html(transplant())
    page = Page(text)
    assert "svg" in page.tags and "currentColor" in text and "Bar plot" in text
    for words in (
        "1.200",
        "new over base",
        "english",
        "shifted: asked for",
        "2.00",
        "20.0 %",
        "Greedy sample",
        "all texts",
    ):
        assert words in page.words
    assert 'class="warning"' in text
    assert "donor" in page.words and re.search("<title>.*on the tokenizer of donor</title>", text)


def test_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write_html(plan(), path)
    before = path.read_text()
    assert path.stat().st_mode & 0o444

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TokswapError, match="No space left"):
        write_html(evaluation(), path)
    assert path.read_text() == before and list(tmp_path.iterdir()) == [path]


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(html_report, "NEEDED", ("jinja2", "no_such_library"))
    with pytest.raises(TokswapError) as caught:
        write_html(plan(), tmp_path / "r.html")
    assert "no_such_library" in caught.value.what and "tokswap[report]" in caught.value.hint


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere" / "r.html"):
        with pytest.raises(TokswapError):
            write_html(plan(), path)


def test_a_leaderboard_begins_with_its_best_rows_and_shares_are_per_cent_on_the_axis() -> None:
    report = leaderboard()
    cell = report.sections["a"]
    measured = cell.sections["evaluation"]
    shares = {"new_token_mass": Figure(0.04, "share"), "new_token_share": Figure(0.08, "share")}
    measured = replace(measured, figures={**measured.figures, **shares})
    cell = replace(cell, facts={**cell.facts, "row": "mine"}, sections={"evaluation": measured})
    text = render_html(replace(report, sections={**report.sections, "a": cell}))
    assert "1.200 ×" in Page(text).words and "mine on" in Page(text).words
    ticks = re.findall(r">([\d.]+ %)</text>", text)
    assert "0.0 %" in ticks and len(ticks) > 3, "two values, and the axis"
