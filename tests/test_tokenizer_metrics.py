"""Figures of tokenizers on texts, against answers worked out by hand and by scipy."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, sentencepiece

import tokswap
from tokswap.display import tables_of
from tokswap.evaluation.texts import Text
from tokswap.reading import open_reader
from tokswap.tokenizer_metrics import renyi_efficiency, text_metrics, whole_words

COUNTS = st.lists(st.integers(0, 50), min_size=2, max_size=40).filter(lambda c: sum(n > 0 for n in c) > 1)


@settings(deadline=None)
@given(COUNTS)
def test_order_one_is_shannons_and_higher_orders_are_lower(counts: list[int]) -> None:
    array = np.asarray(counts)
    assert renyi_efficiency(array, len(array), 1) == pytest.approx(entropy(counts) / np.log(len(counts)))
    found = [renyi_efficiency(array, len(array), alpha) for alpha in (1, 1.5, 2.5, 9)]
    assert all(one >= other - 1e-12 for one, other in pairwise(found))
    assert found[0] <= 1 + 1e-12


def test_the_bound_is_reached_by_equal_use() -> None:
    assert renyi_efficiency(np.full(64, 3), 64) == pytest.approx(1)
    assert renyi_efficiency(np.asarray([1, 1, 0, 0]), 4) == pytest.approx(0.5)
    assert renyi_efficiency(np.asarray([5, 0]), 2) == 0


def test_a_word_is_whole_where_no_token_ends_inside_it() -> None:
    document = b" the wall"
    cuts = {
        (4, 9): [True, True],
        (2, 4, 9): [False, True],
        (9,): [True, True],
        (5, 9): [True, True],
        (4, 8, 9): [True, False],
    }
    for ends, expected in cuts.items():
        assert whole_words(document, np.asarray(ends)).tolist() == expected
    assert whole_words(b"  ", np.asarray([2])).tolist() == []


def test_figures_of_a_text_of_known_cuts() -> None:
    """`▁the ▁wall`: two words, two tokens, once each; one more word of nine letters."""
    found = text_metrics(open_reader(sentencepiece()), Text("t", ("the wall", "abcabcabc")))
    assert found["tokens"].value == 2 + 10
    assert found["fertility"].value == pytest.approx(12 / 3)
    assert found["whole_words"].value == pytest.approx(2 / 3)
    shares = np.asarray([1, 1, 1, 3, 3, 3]) / 12
    size = len(open_reader(sentencepiece()).vocab)
    assert found["renyi_efficiency"].value == pytest.approx(np.log((shares**2.5).sum()) / -1.5 / np.log(size))


def written(folder: Path, tokenizer: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_several_tokenizers_on_several_texts(tmp_path: Path) -> None:
    names = {"a": byte_level(), "b": sentencepiece(), "c": byte_level(0)}
    folders = [written(tmp_path / name, tokenizer) for name, tokenizer in names.items()]
    for name, text in (("en", "the wall\n"), ("fr", "le mur, le mur\n")):
        (tmp_path / f"{name}.txt").write_text(text)
    texts = [tmp_path / "en.txt", tmp_path / "fr.txt"]
    report = tokswap.compare(*folders, texts=texts, parallel="en")
    assert report.facts["tokenizers"] == ["a", "b", "c"]
    of_bytes = {name: by.sections["c"].figures for name, by in report.sections.items()}
    assert of_bytes["en"]["premium"].value == 1
    assert of_bytes["fr"]["premium"].value == pytest.approx(15 / 9)
    (table,) = tables_of(report)
    assert [row[:2] for row in table.rows] == [(text, name) for text in ("en", "fr") for name in "abc"]
    assert table.columns[-1] == "parity" and table.rows[5][-1] == "1.667" == f"{15 / 9:.3f}"
    two = tokswap.compare(*folders[:2], texts=texts)
    figures = two.sections["metrics"].sections["fr"].sections["a"].figures
    assert figures["tokens"] == report.sections["fr"].sections["a"].figures["tokens"]
    with pytest.raises(tokswap.TokswapError, match="there is no text 'de'"):
        tokswap.compare(*folders, texts=texts, parallel="de")
