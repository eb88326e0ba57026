"""Two tokenizers side by side, on tokenizers whose answers are known."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, lower_casing, sentencepiece

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.comparison import compare
from tokswap.display import tables_of
from tokswap.evaluation.texts import Text
from tokswap.inspection import family, inspect_checkpoint
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import NASTY_STRINGS, digit_scheme, lost_strings, unreachable
from tokswap.vocab import read_vocab

TEXTS = {"t": Text("t", ("the wall was built", "naïve 水路\n"))}


def opened(folder: Path, tokenizer: dict[str, Any]) -> Checkpoint:
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    return open_checkpoint(folder)


def engine_and_vocab(tokenizer: dict[str, Any]) -> tuple[Any, Any]:
    return load_tokenizer(tokenizer), read_vocab(tokenizer, {})


def test_shared_tokens_go_by_bytes_both_ways(tmp_path: Path) -> None:
    a, b = opened(tmp_path / "a", byte_level()), opened(tmp_path / "b", sentencepiece())
    report = compare(a, b, TEXTS)
    there = report.figures
    back = compare(b, a, TEXTS).figures
    bytes_of = [set(read_vocab(t, {}).tokens) - {b"<s>"} for t in (byte_level(), sentencepiece())]
    only = {side: len(bytes_of[i] - bytes_of[1 - i]) for i, side in enumerate("ab")}
    assert there["only_in_a"].value == only["a"] == back["only_in_b"].value
    assert there["only_in_b"].value == only["b"] == back["only_in_a"].value
    assert there["shared_by_role"].value + there["shared_by_bytes"].value >= len(bytes_of[0] & bytes_of[1])
    assert report.facts["special_roles"]["bos"] == ["<s>", "<s>"]
    assert len(tables_of(report)) == 4 + 1


def test_a_tokenizer_against_itself(tmp_path: Path) -> None:
    a, b = (opened(tmp_path / name, byte_level()) for name in "ab")
    report = compare(a, b, TEXTS)
    assert report.facts["identical"] and report.figures["only_in_b"].value == 0
    figures = report.sections["texts"].sections["t"].figures
    assert figures["ratio"].value == 1
    assert figures["a_bytes_per_token"].value == pytest.approx(TEXTS["t"].bytes / figures["a_tokens"].value)
    assert figures["a_tokens_per_word"].value == pytest.approx(figures["a_tokens"].value / 6)


def test_lossless_and_lossy() -> None:
    assert lost_strings(load_tokenizer(byte_level())) == []
    lost = lost_strings(load_tokenizer(lower_casing()))
    assert "ＦＵＬＬ ｗｉｄｔｈ" in lost and "can't don 't , ." not in lost
    assert len(set(NASTY_STRINGS)) == len(NASTY_STRINGS)


def with_digits(pattern: str | None, *merges: str) -> dict[str, Any]:
    """A byte-level tokenizer that cuts at `pattern` first and has tokens for the numbers named."""
    tokenizer = copy.deepcopy(byte_level(0))
    vocab = tokenizer["model"]["vocab"]
    for number in merges:
        for end in range(2, len(number) + 1):
            if number[:end] not in vocab:
                vocab[number[:end]] = len(vocab)
                tokenizer["model"]["merges"].append([number[: end - 1], number[end - 1]])
    if pattern:
        tokenizer["model"]["ignore_merges"] = True  # as in Llama 3: a number that is a token is that token
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
    return tokenizer


EVERY_THREE = (
    [str(n) for n in range(100, 1000)] + [f"{n:03}" for n in range(100)] + [f"{n:02}" for n in range(100)]
)


@pytest.mark.parametrize(
    ("tokenizer", "scheme"),
    [
        (byte_level(0), "single digits"),
        (with_digits("[0-9]", "12"), "single digits"),
        (with_digits("[0-9]{1,3}", *EVERY_THREE), "groups of 3, from the left"),
        (
            with_digits(r"[0-9]{1,3}(?=(?:[0-9]{3})*(?:[^0-9]|$))", *EVERY_THREE),
            "groups of 3, from the right",
        ),
        (with_digits(None, "1000", "99"), "arbitrary, up to 4 digits in a token"),
    ],
)
def test_how_numbers_are_cut(tokenizer: dict[str, Any], scheme: str) -> None:
    assert digit_scheme(*engine_and_vocab(tokenizer)) == scheme


def test_tokens_out_of_reach() -> None:
    assert unreachable(*engine_and_vocab(byte_level())).unreachable == ()
    tokenizer = byte_level(0)
    dead = len(tokenizer["model"]["vocab"])
    tokenizer["model"]["vocab"]["wall"] = dead  # no merge leads to it
    found = unreachable(*engine_and_vocab(tokenizer))
    assert found.unreachable == (dead,)
    assert found.fragments == 128  # the bytes that are no UTF-8 by themselves


def test_tokens_inside_words_are_in_reach() -> None:
    """A tokenizer that puts a space before a text cuts no text to `the`, but the one after a line break."""
    engine, vocab = engine_and_vocab(sentencepiece())
    gone = [vocab.texts[vocab.position[i]] for i in unreachable(engine, vocab).unreachable]
    assert "the" not in gone and "▁the" not in gone


def test_inspection(tmp_path: Path) -> None:
    report = inspect_checkpoint(opened(tmp_path / "a", sentencepiece()), text="the\x1b wall")
    assert report.facts["tokenizer"] == "SentencePiece BPE with byte fallback" == family(sentencepiece())
    assert report.figures["fallback_bytes"].value == 256
    pieces = [piece["piece"] for piece in report.sections["cut"].facts["pieces"]]
    assert pieces == [" the", "\\x1b", " wall"]
    assert "tokenizer without weights" in report.warnings[0]
    assert len(tables_of(report)) == 4


def test_holes_padding_and_ids_without_rows(tmp_path: Path) -> None:
    tokenizer = byte_level(0)
    top = len(tokenizer["model"]["vocab"]) - 1
    tokenizer["model"]["vocab"] = {
        t: i if i < top else top + 5 for t, i in tokenizer["model"]["vocab"].items()
    }
    folder = tmp_path / "a"
    checkpoint = opened(folder, tokenizer)
    assert inspect_checkpoint(checkpoint).figures["holes"].value == 5
    (folder / "config.json").write_text(json.dumps({"vocab_size": top + 20}))
    assert inspect_checkpoint(open_checkpoint(folder)).figures["padding"].value == 14
    (folder / "config.json").write_text(json.dumps({"vocab_size": top + 2}))
    figures = inspect_checkpoint(open_checkpoint(folder)).figures
    assert figures["without_row"].value == 1 and figures["holes"].value == 2


@pytest.mark.real
def test_real_tokenizers() -> None:
    import tokswap

    report = tokswap.compare("smollm2", "gemma3")
    assert report.figures["shared_by_bytes"].value == 46_145
    assert report.sections["a"].facts["numbers"] == "single digits" == report.sections["b"].facts["numbers"]
    assert report.sections["a"].figures["unreachable"].value == 0
