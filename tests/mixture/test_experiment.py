"""Controlled experiments on small texts: what is trained on, what is counted, and what is said of it."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel
from toy_languages import language

from tokswap.display import tables_of
from tokswap.errors import TokswapError
from tokswap.mixture.documents import pages, read_documents, word_counts
from tokswap.mixture.experiment import Experiment, make_experiment, run_experiment
from tokswap.mixture.trial import Setting, run_trial, train
from tokswap.report import Report

PAGE = 400


def lines(seed: int, count: int) -> str:
    """Text in a made-up language: words by Zipf's law, six a line."""
    draw, words = random.Random(seed), language(seed, 200)
    weights = [1 / (rank + 1) for rank in range(len(words))]
    return "".join(" ".join(draw.choices(words, weights, k=6)) + "\n" for _ in range(count))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for seed in range(4):
        (folder / f"t{seed}.txt").write_text(lines(seed, 900))
    return folder


def fields(folder: Path, **changes: Any) -> dict[str, Any]:
    own = {
        "kind": "mixture-experiment",
        "categories": {f"t{i}": str(folder / f"t{i}.txt") for i in range(4)},
        "draw": 3,
        "trials": 3,
        "merges": [50, 150],
        "train_bytes": 40_000,
        "count_bytes": 12_000,
        "page_bytes": PAGE,
    }
    return own | changes


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return run_experiment(make_experiment(fields(folder)))


def test_pages_hold_every_line_and_end_with_one() -> None:
    blocks = ["a" * 150 + "\nbb\n", "c\n" * 60, "end"]
    found = list(pages(blocks, 100))
    assert "".join(found) == "".join(blocks)
    assert all(page.endswith("\n") and len(page) >= 100 for page in found[:-1])


def test_words_of_documents_add_up_to_those_of_their_text(folder: Path) -> None:
    paths = {f"t{i}": [folder / f"t{i}.txt"] for i in range(2)}
    read = read_documents(paths, page_bytes=PAGE, most_bytes=5_000)
    assert all(5_000 <= one.sizes.sum() < 5_000 + 2 * PAGE for one in read.values())
    chosen = {name: (one, np.array([3, 0, 5])) for name, one in read.items()}
    number = {"in no text": 0}
    word_counts({"t0": (read["t0"], np.array([1, 3]))}, number)  # counted before: not again
    counted = word_counts(chosen, number)
    cut = ByteLevel(add_prefix_space=False)
    for i, (one, at) in enumerate(chosen.values()):
        expected = Counter(word for k in at for word, _ in cut.pre_tokenize_str(one.texts[k]))
        column = counted.counts.toarray()[:, i]
        assert {w: int(c) for w, c in zip(counted.words, column, strict=True) if c} == expected
        assert counted.text_bytes[i] == sum(len(one.texts[k].encode()) for k in at)
    assert list(counted.words) == sorted(counted.words)


def test_known_mixtures_are_found_better_than_by_guesses(report: Report) -> None:
    assert list(report.sections) == ["50", "150"]
    figures = report.sections["150"].figures
    assert figures["byte_share_error"].value < figures["uniform_share_error"].value - 0.5
    assert figures["shares"].value == 9 and 0 <= figures["coverage"].value <= 1
    trials = report.facts["trials"]
    assert [trial["seed"] for trial in trials] == [0, 1, 2]
    assert all(sum(trial["truth"]) == pytest.approx(1) for trial in trials)


def test_figures_are_those_of_the_trials(report: Report) -> None:
    errors: list[float] = []
    inside: list[bool] = []
    for trial in report.facts["trials"]:
        found, truth = trial["found"][150], np.array(trial["truth"])
        errors.append(float(np.log10(np.mean((truth - found["shares"]["byte_share"]) ** 2))))
        inside += ((truth >= found["low"]) & (truth <= found["high"])).tolist()
    figures = report.sections["150"].figures
    assert figures["byte_share_error"].value == pytest.approx(np.mean(errors))
    assert figures["byte_share_spread"].value == pytest.approx(np.std(errors, ddof=1))
    assert figures["coverage"].value == pytest.approx(np.mean(inside))


def test_the_same_seed_gives_the_same_trial(folder: Path, report: Report) -> None:
    again = run_experiment(make_experiment(fields(folder, trials=1, seed=1)))
    one, two = again.facts["trials"][0], report.facts["trials"][1]
    assert one["categories"] == two["categories"] and one["truth"] == two["truth"]
    assert one["found"][150]["shares"] == two["found"][150]["shares"]


@pytest.mark.parametrize("overlap", [False, True])
def test_counted_pages_are_others_unless_they_overlap(
    folder: Path, overlap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {f"t{i}": [folder / f"t{i}.txt"] for i in range(3)}
    read = read_documents(paths, page_bytes=PAGE, most_bytes=30_000)
    seen: list[str] = []
    held: list[str] = []
    monkeypatch.setattr("tokswap.mixture.trial.train", lambda texts, n: seen.extend(texts) or train(texts, n))
    monkeypatch.setattr(
        "tokswap.mixture.trial.word_counts",
        lambda chosen, all_words: (
            held.extend(one.texts[k] for one, at in chosen.values() for k in at)
            or word_counts(chosen, all_words)
        ),
    )
    trial = run_trial(read, read, {}, Setting(2, (60,), 8_000, 4_000, overlap), 5)
    assert bool(set(seen) & set(held)) == overlap
    assert all(4_000 <= size < 4_000 + 2 * PAGE for size in trial.text_bytes)


def test_text_of_another_source_can_be_counted(folder: Path, tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"t{seed}.txt").write_text(lines(seed, 300).replace("a", "q"))
    other = {f"t{i}": str(tmp_path / f"t{i}.txt") for i in range(4)}
    shifted = run_experiment(make_experiment(fields(folder, trials=2, counted=other)))
    same = run_experiment(make_experiment(fields(folder, trials=2)))
    errors = [one.sections["150"].figures["byte_share_error"].value for one in (shifted, same)]
    assert errors[0] > errors[1]


def test_numbers_of_merges_that_no_text_gives_are_left_out(folder: Path) -> None:
    found = run_experiment(make_experiment(fields(folder, trials=2, merges=[50, 100_000], train_bytes=5_000)))
    assert list(found.sections) == ["50"]
    assert any("larger numbers that some lack are left out" in warning for warning in found.warnings)


def test_the_table_has_a_row_a_number_of_merges(report: Report) -> None:
    (table,) = tables_of(report)
    assert [row[0] for row in table.rows] == ["50", "150"] and "3 mixtures of 3" in table.title
    assert table.rows[1][1].startswith("−")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"draw": 9}, "9 of 4 categories"),
        ({"merges": [0]}, "from 1 to"),
        ({"merges": [10**9]}, "from 1 to"),
        ({"merges": []}, "merges: "),
        ({"trails": 3}, "did you mean 'trials'"),
        ({"counted": {"t0": "x"}}, "names must be those of categories"),
        ({"train_bytes": -1, "seed": -1}, "seed: "),
    ],
)
def test_experiments_that_are_not_right(folder: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TokswapError, match="the experiment is not right") as error:
        make_experiment(fields(folder, **changes))
    assert words in error.value.what


def test_a_category_of_one_page_is_no_experiment(folder: Path) -> None:
    with pytest.raises(TokswapError, match="less than two documents"):
        run_experiment(make_experiment(fields(folder, page_bytes=1_000_000)))


def test_texts_that_come_with_tokswap_are_the_default() -> None:
    paths = Experiment(kind="mixture-experiment").paths
    assert len(paths) >= 5 and all(path.is_file() for (path,) in paths.values())
