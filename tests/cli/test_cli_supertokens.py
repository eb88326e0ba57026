"""`tokswap supertokens` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "texts").mkdir()
    for name in "ab":
        lines = [f"At the end of the harbour wall, {name * i} boats: tie up.\n" for i in range(1, 40)]
        (tmp_path / "texts" / f"{name}.txt").write_text("".join(lines))
    return tmp_path / "texts"


def test_what_is_written_can_be_compared_and_moved_onto(
    cli: Cli, base: Path, texts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tokenizer.json"
    ran = cli(
        "supertokens", "train", "--text", texts, "--vocab-size", 315, "--transition", 290, "--out", out,
        "--base", base, "--held-out", texts / "a.txt", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    document = ran.document
    assert document["figures"]["tokens"]["value"] == len(json.loads(out.read_text())["model"]["vocab"]) == 315
    assert document["figures"]["superwords"]["value"] > 10
    held_out = document["sections"]["texts"]["sections"]["a"]["figures"]
    assert held_out["ordinary_gain"]["value"] > 1.1 and held_out["base_gain"]["value"] > 1.1
    assert held_out["bytes_per_token"]["value"] == pytest.approx(
        held_out["ordinary_bytes_per_token"]["value"] * held_out["ordinary_gain"]["value"]
    )
    assert 0 < held_out["ordinary_borders_kept"]["value"] < 1
    compared = cli("compare", out, base, "--text", texts / "a.txt", "--json").document
    assert (
        compared["sections"]["texts"]["sections"]["a"]["figures"]["a_bytes_per_token"]
        == held_out["bytes_per_token"]
    )
    moved = tmp_path / "moved"
    run = (
        "transplant",
        "--base",
        base,
        "--donor",
        out,
        "--out",
        moved,
        "--method",
        "subword",
        "--no-evaluate",
    )
    assert cli(*run, "--calibrate", "none").code == 0
    verified = cli("verify", moved, "--against", base, "--json").document
    failed = {
        n: s["facts"]["sentence"]
        for n, s in verified["sections"].items()
        if s["facts"]["outcome"] == "failed"
    }
    assert not failed


def test_it_says_what_it_found(cli: Cli, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer.json"
    ran = cli(
        "supertokens", "train", "--text", texts, "--vocab-size", 5000, "--transition", 280, "--out", out
    )
    assert ran.code == 0 and "beside ordinary BPE of the same size" in ran.out
    assert "no other pair stands in it twice" in ran.err and "the harbour" in ran.out


def test_a_tokenizer_in_use_goes_on_and_its_model_keeps_its_rows(
    cli: Cli, base: Path, texts: Path, tmp_path: Path
) -> None:
    out, moved = tmp_path / "tokenizer.json", tmp_path / "moved"
    run = ("supertokens", "extend", "--base", base, "--text", texts, "--add", 12, "--out", out)
    ran = cli(*run, "--held-out", texts / "b.txt", "--json")
    assert ran.code == 0, ran.err
    figures = ran.document["figures"]
    held_out = ran.document["sections"]["texts"]["sections"]["b"]["figures"]
    assert figures["added"]["value"] == 12 and held_out["base_gain"]["value"] > 1.1
    curve = ran.document["facts"]["curve"]
    assert curve == sorted(curve) and curve[-1][1] == pytest.approx(figures["saved"]["value"], abs=1e-4)
    assert cli(*run).code == 2
    assert "What they save of the text" in cli(*run, "--overwrite").out
    how = ("--method", "subword", "--calibrate", "none", "--no-evaluate", "--json")
    document = cli("transplant", "--base", base, "--donor", out, "--out", moved, *how).document
    assert document["figures"]["new"]["value"] == 12
    verified = cli("verify", moved, "--against", base, "--json").document
    assert verified["facts"]["sound"], verified


def test_chunks_come_with_a_warning(cli: Cli, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer.json"
    run = (
        "supertokens",
        "train",
        "--text",
        texts,
        "--vocab-size",
        300,
        "--out",
        out,
        "--held-out",
        texts / "a.txt",
    )
    ran = cli(*run, "--style", "chunks", "--transition", 280)
    assert ran.code == 0 and "chunks begin and end inside words" in ran.err and "max words" not in ran.out
    assert len(json.loads(out.read_text())["model"]["vocab"]) == 300


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "no text was given"),
        (("--text", "TEXTS"), "no output file was given"),
        (("--text", "TEXTS", "--out", "t.json", "--style", "chunk"), "no style 'chunk'"),
        (("--text", "TEXTS", "--out", "missing/t.json"), "doesn't exist"),
        (("--text", "TEXTS", "--out", "t.json", "--transition", "40000"), "a transition at 40,000"),
    ],
)
def test_what_can_be_mended_is_said(options: tuple[str, ...], words: str, cli: Cli, texts: Path) -> None:
    ran = cli("supertokens", "train", *(str(texts) if o == "TEXTS" else o for o in options))
    assert ran.code == 2 and words in ran.err and "hint: " in ran.err
    assert not Path("t.json").exists()


def test_an_older_file_stays_unless_it_may_go(cli: Cli, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer.json"
    out.write_text("mine")
    run = ("supertokens", "train", "--text", texts, "--vocab-size", 300, "--transition", 280, "--out", out)
    ran = cli(*run)
    assert ran.code == 2 and "is there already" in ran.err and out.read_text() == "mine"
    assert cli(*run, "--overwrite").code == 0 and json.loads(out.read_text())


def test_a_tokenizer_and_its_configuration_have_a_folder_of_their_own(
    cli: Cli, texts: Path, tmp_path: Path
) -> None:
    run = ("supertokens", "train", "--text", texts, "--vocab-size", 300, "--style", "chunks", "--overwrite")
    (tmp_path / "tokenizer_config.json").write_text("another's")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    for out, words in (
        (tmp_path / "t.json", "is there already"),
        (tmp_path / "tokenizer_config.json", "a folder of its own"),
        (tmp_path / "model" / "tokenizer.json", "a folder of its own"),
    ):
        ran = cli(*run, "--out", out)
        assert ran.code == 2 and words in ran.err, ran.err
    assert (tmp_path / "tokenizer_config.json").read_text() == "another's"
    ran = cli(
        "supertokens",
        "train",
        "--text",
        texts,
        "--vocab-size",
        10**12,
        "--out",
        tmp_path / "model" / "t.json",
    )
    assert ran.code == 2 and "no tokenizer of 1,000,000,000,000 tokens" in ran.err
