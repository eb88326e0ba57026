"""What is said of a solution: conversions against hand counts, and reports of tokenizers whose mixture is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from test_replay import texts
from toy_languages import counted, language, merged, mix, text_of, train

from tokswap.display import tables_of
from tokswap.display.mixture import bar, by_share
from tokswap.display.text import escape
from tokswap.errors import TokswapError
from tokswap.mixture.answers import by_classification, byte_shares, script_of, tokens_after
from tokswap.mixture.folds import FOLDS, solve_folds, standard_error
from tokswap.mixture.infer import infer
from tokswap.mixture.program import solve
from tokswap.mixture.replay import replay
from tokswap.mixture.types import MergeList, WordCounts
from tokswap.report import Figure, Report

SHARES = [0.2, 0.5, 0.3]
STEPS = 120


def known(n: int = 3) -> tuple[MergeList, WordCounts, np.ndarray]:
    """Merges of one sample of languages, counts of another, and the shares of bytes they were learnt from."""
    learnt_from = texts(n)
    merges = train(mix(learnt_from, SHARES[:n]), STEPS)
    sizes = counted(learnt_from)
    pairs = np.array([len(word) - 1 for word in sizes.words]) @ sizes.counts.toarray()
    truth = np.array(SHARES[:n]) * sizes.text_bytes / pairs
    shared = language(99, 100)
    others = {f"t{i}": text_of(language(i, 120) + shared, 3000, seed=70 + i) for i in range(n)}
    return merges, counted(others), truth / truth.sum()


def shares_of(report: Report) -> list[float]:
    return [section.figures["byte_share"].value for section in report.sections.values()]


def test_shares_of_bytes_by_hand() -> None:
    # Half of the pairs each; a pair stands for 2 bytes in one category and for 6 in the other.
    assert byte_shares(np.array([0.5, 0.5]), np.array([10, 5]), np.array([20, 30])).tolist() == [0.25, 0.75]
    rows = byte_shares(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([10, 5]), np.array([20, 30]))
    assert rows.tolist() == [[0.25, 0.75], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("token", "script"),
    [
        (" the", "latin"),
        ("при", "cyrillic"),
        ("的", "cjk"),
        ("ー", "katakana-hiragana"),
        ("\n\n", "white space"),
        (" 123", "digits"),
        ("===", "signs"),
    ],
)
def test_scripts(token: str, script: str) -> None:
    assert script_of(token.encode()) == script


def test_half_a_character_has_no_script() -> None:
    assert script_of("при".encode()[:3]) == "bytes"


def test_tokens_are_those_of_the_merged_text() -> None:
    merges, words, _ = known()
    cut = [merges.symbols(word) for word in words.words]
    for pair, result in zip(merges.pairs[: STEPS - 1].tolist(), merges.results.tolist(), strict=False):
        cut = [merged(word, tuple(pair), result) for word in cut]
    expected = np.array([len(word) for word in cut]) @ words.counts.toarray()
    assert (tokens_after(replay(merges, words, steps=STEPS), words) == expected).all()


def test_merges_count_for_the_category_that_holds_them_most() -> None:
    frequency = np.array([[5.0, 1.0], [2.0, 3.0], [0.0, 0.0], [1.0, 9.0]])
    assert by_classification(frequency).tolist() == pytest.approx([1 / 3, 2 / 3])


def test_a_known_mixture_is_found_and_better_than_the_baselines() -> None:
    merges, words, truth = known()
    report = infer("toy", merges, words)

    def error(name: str) -> float:
        found = [section.figures[name].value for section in report.sections.values()]
        return float(((np.array(found) - truth) ** 2).mean())

    assert error("byte_share") < 0.001
    assert error("byte_share") < min(
        map(error, ("efficiency_share", "classification_share", "uniform_share"))
    )
    assert sum(shares_of(report)) == pytest.approx(1)
    for section in report.sections.values():
        figure = section.figures["byte_share"]
        assert figure.low is not None and figure.high is not None
        assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_folds_lie_around_the_whole() -> None:
    merges, words, _ = known()
    solved = solve(replay(merges, words, steps=STEPS), gap=1e-6)
    folds = solve_folds(solved.master)
    assert folds.shape == (FOLDS, 3) and np.allclose(folds.sum(1), 1)
    assert np.abs(folds.mean(0) - solved.alpha).max() < 0.1
    assert (standard_error(folds) > 0).all()
    assert standard_error(folds)[0] == pytest.approx(np.std(folds[:, 0], ddof=1) / FOLDS**0.5)


def test_a_missing_category_shows_in_the_slack() -> None:
    letters = str.maketrans("abcdefghijklmnop", "абвгдежзийклмноп")
    given = texts()
    russian = Counter({word.translate(letters): count for word, count in given["t2"].items()})
    merges = train(mix({**given, "t2": russian}, [0.35, 0.25, 0.4]), STEPS)
    all_there = infer("toy", merges, counted({**given, "t2": russian}))
    one_gone = infer("toy", merges, counted({"t0": given["t0"], "t1": given["t1"]}))
    assert not [words for words in all_there.warnings if "missing" in words]
    assert one_gone.figures["missing"].value > 10
    assert next(iter(one_gone.facts["missing_by_script"])) == "cyrillic"


def test_merges_that_are_skipped_explain_nothing() -> None:
    merges, words, _ = known()
    foreign = replace(merges, skip=20)
    report = infer("toy", foreign, words)
    assert report.figures["merges"].value == STEPS - 20
    assert all(one["merge"] >= 20 for one in report.facts["unexplained"])


def test_fallbacks_are_stated() -> None:
    merges, words, _ = known()
    assert any("there are 120 to look at" in w for w in infer("toy", merges, words, steps=10_000).warnings)
    assert any("120 merges say little" in w for w in infer("toy", merges, words).warnings)
    prefix = replace(merges, shared_prefix=("gpt2", 50))
    assert any("first 50 merges are those of gpt2" in w for w in infer("toy", prefix, words).warnings)


def test_what_can_not_be_inferred() -> None:
    merges, words, _ = known()
    with pytest.raises(TokswapError, match="are skipped, and 0 are looked at"):
        infer("toy", replace(merges, skip=20), words, steps=0)
    nothing = counted({"a": Counter({"pp": 1}), "b": Counter({"pop": 1})})
    with pytest.raises(TokswapError, match="no text holds any"):
        infer("toy", train({"abc": 1.0}, 2), nothing)


def test_tables_name_every_category_with_its_bar() -> None:
    merges, words, _ = known()
    report = infer("toy", merges, words)
    table = tables_of(report)[0]
    assert [row[0] for row in table.rows] == [name for name, _ in by_share(report)]
    assert {row[0] for row in table.rows} == {"t0", "t1", "t2"}
    assert max(len(row[1]) for row in table.rows) == 30


def test_bars_end_at_the_interval() -> None:
    assert bar(Figure(0.5, "share", 0.4, 0.6), 0.6) == "█" * 20 + "▓" * 5 + "░" * 5
    assert bar(Figure(0.0, "share", 0.0, 0.1), 1.0) == "░" * 3
    assert bar(Figure(0.5, "share"), 0.5) == "█" * 30


def test_shares_from_hardly_any_merge_are_warned_of() -> None:
    merges, _, _ = known()
    first = "".join(merges.texts[symbol] for symbol in merges.pairs[0])
    report = infer("toy", merges, counted({"a": Counter({first: 5}), "b": Counter({first: 3})}))
    assert report.figures["missing"].value == STEPS - 1
    assert any(f"the texts hold 1 of {STEPS} merges" in warning for warning in report.warnings)


def test_tokens_are_escaped_once() -> None:
    merges, words, _ = known()
    report = infer("toy", merges, words)
    facts = {**report.facts, "missing": [escape(";\n")], "notes": ["such as " + escape(" a\n")]}
    rows = dict(tables_of(replace(report, facts=facts))[-1].rows)
    assert rows["merges in no text, as"] == r"“;\n”" and rows["note"] == r"such as  a\n"
