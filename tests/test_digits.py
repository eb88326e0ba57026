"""Numbers that two tokenizers cut differently, and a donor's tokenizer made to cut them as the base's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_compare import EVERY_THREE, byte_level, engine_and_vocab, sentencepiece, with_digits
from test_pipeline import llama, moved, saved, table_of, with_tokenizer

import tokswap
from tokswap.digits import differing_share, out_of_use, with_digits_of
from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import digit_scheme
from tokswap.vocab import read_vocab

SINGLE = with_digits("[0-9]", "12")
THREES = with_digits("[0-9]{1,3}", *EVERY_THREE)
FROM_RIGHT = with_digits(r"[0-9]{1,3}(?=(?:[0-9]{3})*(?:[^0-9]|$))", *EVERY_THREE)
FREE = with_digits(None, "1000", "99")
FREE_WITH_ALL = with_digits(None, *EVERY_THREE)
FREE_WITH_ALL["model"]["ignore_merges"] = True


def following(base: dict[str, Any], donor: dict[str, Any]) -> dict[str, Any]:
    return with_digits_of(engine_and_vocab(base), donor, read_vocab(donor, {}), "the donor")


@pytest.mark.parametrize(
    ("base", "donor"),
    [
        (SINGLE, THREES), (SINGLE, FREE), (SINGLE, FROM_RIGHT), (THREES, FREE_WITH_ALL), (FROM_RIGHT, FREE_WITH_ALL),
        (byte_level(0), FREE), (SINGLE, SINGLE), (FROM_RIGHT, THREES),
    ],
)  # fmt: skip
def test_the_donor_follows_where_it_can(base: dict[str, Any], donor: dict[str, Any]) -> None:
    changed = following(base, donor)
    engine, vocab = engine_and_vocab(changed)
    assert digit_scheme(engine, vocab) == digit_scheme(*engine_and_vocab(base))
    assert changed["model"] == donor["model"] and changed["added_tokens"] == donor["added_tokens"]
    for number in range(1000):
        for text in (str(number), f"x{number:03}y", f" {number}\n"):
            ids = engine.encode(text).ids
            assert b"".join(vocab.bytes_of(i) for i in ids).decode() == text
    numbers = [Text("t", ("0 7 12 345 6789 and 1234567",))]
    assert differing_share((engine, vocab), engine_and_vocab(base), numbers)[0] == 0
    words = "the wall was built by people\n    return values"
    assert engine.encode(words).ids == load_tokenizer(donor).encode(words).ids


@pytest.mark.parametrize(
    ("base", "donor", "sentence"),
    [(FREE, SINGLE, "no rule"), (THREES, SINGLE, "can't"), (THREES, FREE, "can't"), (FREE, FREE, "no rule")],
)  # fmt: skip
def test_what_can_not_be_right_is_refused(base: dict[str, Any], donor: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TokswapError, match=rf"--keep-digits base.*{sentence}") as caught:
        following(base, donor)
    assert "leave --keep-digits out" in caught.value.hint


def test_a_donor_that_would_add_spaces_is_refused() -> None:
    donor = {**FREE, "pre_tokenizer": {**FREE["pre_tokenizer"], "add_prefix_space": True}}
    with pytest.raises(TokswapError, match="no longer gives"):
        following(SINGLE, donor)


def test_the_affected_share_counts_bytes_of_numbers_cut_differently() -> None:
    texts = [Text("a", ("12 and 345 and 7",)), Text("b", ("1234é",))]
    differing, total = differing_share(engine_and_vocab(SINGLE), engine_and_vocab(THREES), texts)
    assert (differing, total) == (2 + 3 + 4, 16 + 6)
    assert differing_share(engine_and_vocab(THREES), engine_and_vocab(FROM_RIGHT), texts)[0] == 4
    assert differing_share(engine_and_vocab(SINGLE), engine_and_vocab(byte_level(0)), texts)[0] == 0


def test_tokens_out_of_use_are_those_that_numbers_no_longer_yield() -> None:
    changed, vocab = following(SINGLE, THREES), read_vocab(THREES, {})
    gone = out_of_use(changed, vocab, range(vocab.rows)).tolist()
    assert sorted(vocab.bytes_of(i).decode() for i in gone) == sorted(EVERY_THREE)
    assert not len(out_of_use(THREES, vocab, range(vocab.rows)))


def test_a_transplant_warns_and_keeps_the_bases_digits_on_demand(tmp_path: Path) -> None:
    base = saved(llama(rows=258), tmp_path / "base", SINGLE)
    donor = with_tokenizer(tmp_path / "donor", THREES)
    text = tmp_path / "numbers.txt"
    text.write_text("1234 is a number.\n")
    how: dict[str, Any] = {"evaluation_texts": [str(text)], "dry_run": True}
    plan = tokswap.transplant(base, donor, **how)
    (warning,) = (w for w in plan.warnings if "numbers are cut differently" in w)
    assert "single digits" in warning and "groups of 3, from the left" in warning and "22.2 %" in warning
    kept = tokswap.transplant(base, donor, keep_digits="base", **how)
    assert not any("numbers" in w for w in kept.warnings)
    assert kept.figures["silent"].value - plan.figures["silent"].value == plan.figures["new"].value
    out = moved(base, donor, tmp_path / "out", keep_digits="base")
    engine, rows = load_tokenizer(tokswap_json(out)), table_of(out, "embed_tokens.weight")
    assert engine.encode("345").tokens == ["3", "4", "5"]
    silent = [engine.token_to_id(n) for n in ("345", "45", "999")]
    assert torch.equal(rows[silent], rows[silent[:1]].expand(3, -1))


def tokswap_json(folder: Path) -> dict[str, Any]:
    import json

    return json.loads((folder / "tokenizer.json").read_text())


def test_one_tokenizer_twice_has_nothing_to_warn_of(tmp_path: Path) -> None:
    base = saved(llama(rows=258), tmp_path / "base", SINGLE)
    plan = tokswap.transplant(base, base, dry_run=True, keep_digits="base")
    assert not any("numbers" in w for w in plan.warnings)


def test_a_sentencepiece_donor_keeps_its_texts_or_is_refused() -> None:
    donor = sentencepiece()
    try:
        changed = following(THREES, donor)
    except TokswapError as error:
        assert "--keep-digits base" in error.what
    else:
        assert digit_scheme(*engine_and_vocab(changed)) == "groups of 3, from the left"
