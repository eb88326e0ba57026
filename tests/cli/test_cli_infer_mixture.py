"""`infer-mixture` from files to answer: a tokenizer trained here on a known mixture, and what can't be used."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

Cli = Callable[..., Any]
MERGES = 400
SHARES = {"ones": 0.7, "twos": 0.3}
LETTERS = {"ones": "abcdefgh", "twos": "efghijkl"}


def text(name: str, size: int, seed: int) -> str:
    """Lines of words that are some letters of a language in a row, the first ones the most frequent."""
    rule = random.Random(name)
    words = ["".join(rule.choices(LETTERS[name], k=rule.randint(2, 9))) for _ in range(400)]
    draw = random.Random(seed)
    rates = [1 / (rank + 2) for rank in range(len(words))]
    lines: list[str] = []
    while sum(map(len, lines)) < size:
        lines.append(" ".join(draw.choices(words, rates, k=12)) + "\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokenizer.json, and texts that it was not trained on."""
    folder = tmp_path_factory.mktemp("mixture")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False)
    trained = [text(name, int(share * 300_000), seed=1) for name, share in SHARES.items()]
    tokenizer.train_from_iterator(trained, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name in SHARES:
        (folder / name).mkdir()
        (folder / name / "text.txt").write_text(text(name, 150_000, seed=2))
    (folder / "categories.yaml").write_text("ones: ones\ntwos: [twos/text.txt]\n")
    return folder


def named(files: Path) -> list[str]:
    return [part for name in SHARES for part in ("--category", f"{name}={files / name}")]


def test_a_known_mixture_comes_back(cli: Cli, files: Path) -> None:
    ran = cli("infer-mixture", files / "tokenizer.json", *named(files), "--json")
    assert ran.code == 0
    for name, share in SHARES.items():
        found = ran.document["sections"][name]["figures"]["byte_share"]
        assert abs(found["value"] - share) < 0.03
        assert found["low"] <= found["value"] <= found["high"]
    assert ran.document["figures"]["gap"]["value"] <= 0.01


def test_the_answer_is_a_table_and_a_page(cli: Cli, files: Path, tmp_path: Path) -> None:
    page = tmp_path / "mixture.html"
    ran = cli("infer-mixture", files / "tokenizer.json", *named(files), "--report", page)
    assert ran.code == 0 and "Running HiGHS" not in ran.out
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines if "█" in line] == ["ones", "twos"]
    assert "<svg" in page.read_text() and "was trained on" in page.read_text()


def test_a_file_of_categories_says_the_same(cli: Cli, files: Path) -> None:
    shares = [
        {name: one["figures"]["byte_share"] for name, one in ran.document["sections"].items()}
        for ran in (
            cli("infer-mixture", files / "tokenizer.json", *named(files), "--json"),
            cli(
                "infer-mixture", files / "tokenizer.json", "--categories", files / "categories.yaml", "--json"
            ),
        )
    ]
    assert shares[0] == shares[1]


def test_more_merges_than_there_are_is_said_and_all_are_taken(cli: Cli, files: Path) -> None:
    ran = cli("infer-mixture", files / "tokenizer.json", *named(files), "--merges", "9999", "--json")
    assert ran.code == 0 and "warning: 9,999 merges were asked for and there are 400 to look at" in ran.err
    assert ran.document["figures"]["merges"]["value"] == MERGES


def test_out_of_time_the_gap_that_is_proved_is_said(cli: Cli, files: Path) -> None:
    ran = cli("infer-mixture", files / "tokenizer.json", *named(files), "--time-limit", "1e-9", "--json")
    figures = ran.document["figures"]
    assert ran.code == 0 and figures["gap"]["value"] > 0.01
    assert f"stopped at a gap of {100 * figures['gap']['value']:.2g} %, 1 % was wanted" in ran.err
    assert figures["gap"]["value"] == pytest.approx(
        1 - figures["lower_bound"]["value"] / figures["objective"]["value"]
    )


def test_a_smaller_gap_lies_within_a_larger_one(cli: Cli, files: Path) -> None:
    bounds: list[tuple[float, float]] = []
    for gap in ("0.3", "0.00001"):
        ran = cli("infer-mixture", files / "tokenizer.json", *named(files), "--gap", gap, "--json")
        figures = ran.document["figures"]
        assert ran.code == 0 and figures["gap"]["value"] <= float(gap)
        bounds.append((figures["lower_bound"]["value"], figures["objective"]["value"]))
    assert bounds[0][0] <= bounds[1][0] <= bounds[1][1] <= bounds[0][1]


def wordpiece(files: Path) -> Path:
    data = json.loads((files / "tokenizer.json").read_text())
    data["model"] = {
        "type": "WordPiece",
        "vocab": {"[UNK]": 0, "a": 1},
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    path = files / "wordpiece.json"
    path.write_text(json.dumps(data))
    return path


def test_what_can_not_be_used_is_named(cli: Cli, files: Path, tmp_path: Path) -> None:
    tokenizer = files / "tokenizer.json"
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "latin1.txt").write_bytes("déjà vu\n".encode("latin-1") * 100)
    (tmp_path / "bad.yaml").write_text("ones: 3\n")
    two = named(files)
    cases = {
        "needs 2 to 1,000 categories, not 1": [tokenizer, *two[:2]],
        "not 0": [tokenizer],
        "'ones' is no category": [tokenizer, "--category", "ones"],
        "WordPiece": [wordpiece(files), *two],
        "nowhere": [tokenizer, *two, "--category", "x=nowhere/"],
        "empty": [tokenizer, *two, "--category", f"x={tmp_path / 'empty.txt'}"],
        "latin1.txt": [tokenizer, *two, "--category", f"x={tmp_path / 'latin1.txt'}"],
        "'ones' has no path": [tokenizer, "--categories", tmp_path / "bad.yaml"],
        "--skip-merges takes a number or auto, not 'many'": [tokenizer, *two, "--skip-merges", "many"],
        "0 are looked at": [tokenizer, *two, "--merges", "0"],
        "no gap of 2 can be proved": [tokenizer, *two, "--gap", "2"],
        "0 minutes are no time": [tokenizer, *two, "--time-limit", "0"],
    }
    for words, arguments in cases.items():
        ran = cli("infer-mixture", *arguments)
        assert ran.code == 2, words
        assert words in ran.err and "hint: " in ran.err and not ran.out, ran.err
