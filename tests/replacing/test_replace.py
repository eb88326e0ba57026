"""Tokens in the places of others: what stays is what it was, and text without those that went is no longer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizer_families as families
import torch
import transformers as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_models import checkpoint
from transplants import gemma3n, saved

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.errors import TokswapError
from tokswap.replacing.choose import Replaced, replace_tokens
from tokswap.tokenization import load_tokenizer
from tokswap.trimming.keep import closure
from tokswap.trimming.needs import needs_of
from tokswap.vocab import read_vocab, vocab_of

TEXT = "Note: the lighthouse keeper's 1234 boats. The lighthouse stood on the harbour wall.\n" * 30
FAMILIES = {
    "byte_level": families.byte_level,
    "sentencepiece": families.sentencepiece,
    "whole_first": lambda: families.byte_level(ignore_merges=True),
}
WORDS = {"byte_level": 1, "sentencepiece": 2, "whole_first": 3}
QUIET: dict[str, Any] = {"evaluate": False, "calibrate": "none"}
ADD = 20


@cache
def replaced(family: str) -> tuple[dict[str, Any], Replaced, Any, Any]:
    """Return the tokenizer, what came of it, and the engines before and after."""
    tokenizer = FAMILIES[family]()
    vocab = read_vocab(tokenizer, {})
    engine = load_tokenizer(tokenizer)
    counts = np.bincount(engine.encode(TEXT, add_special_tokens=False).ids, minlength=vocab.max_id + 1)
    found = replace_tokens(
        tokenizer, vocab, counts, (), [TEXT], ADD, max_words=WORDS[family], most_bytes=10**6
    )
    return tokenizer, found, engine, load_tokenizer(found.tokenizer)


TEXTS = (
    st.lists(
        st.sampled_from([*TEXT.split(), *" ".join(families.CORPUS).split(), "\n", "light", "水", "5"]),
        max_size=12,
    ).map(" ".join)
    | st.text(st.sampled_from(sorted(set(TEXT + "".join(families.CORPUS)))), max_size=30)
    | st.text(max_size=12)
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=80, deadline=None)
@given(text=TEXTS)
def test_text_that_used_no_removed_token_is_never_longer(family: str, text: str) -> None:
    _, found, before, after = replaced(family)
    old, new = (engine.encode(text, add_special_tokens=False).ids for engine in (before, after))
    assert after.decode(new) == before.decode(old)
    assume(not set(old) & set(found.ids))
    assert len(new) <= len(old)
    assert old_pieces(family, new) == old


def old_pieces(family: str, new: list[int]) -> list[int]:
    """Take new tokens apart, as their merges put them together."""
    tokenizer, found, _, _ = replaced(family)
    ids, merges = found.tokenizer["model"]["vocab"], found.tokenizer["model"]["merges"]
    first = sum(a in ids and b in ids and a + b in ids for a, b in tokenizer["model"]["merges"])
    halves = {ids[a + b]: (ids[a], ids[b]) for a, b in merges[first:]}
    out: list[int] = []
    left = new[::-1]
    while left:
        token_id = left.pop()
        if token_id in found.ids:
            left += halves[token_id][::-1]
        else:
            out.append(token_id)
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_what_goes_is_useless_and_what_comes_saves_what_is_said(family: str) -> None:
    tokenizer, found, before, after = replaced(family)
    old, new = (engine.encode(TEXT, add_special_tokens=False).ids for engine in (before, after))
    assert len(old) - len(new) == found.found.saved.sum() > 0 and found.found.tokens == len(old)
    assert not closure(old, needs_of(tokenizer)) & set(found.ids)
    assert len(found.ids) == ADD <= found.removable
    vocab, then = read_vocab(tokenizer, {}), read_vocab(found.tokenizer, {})
    assert then.ids.tolist() == vocab.ids.tolist() and then.roles == vocab.roles
    stay = [i for i in vocab.ids.tolist() if i not in found.ids]
    assert [then.texts[then.position[i]] for i in stay] == [vocab.texts[vocab.position[i]] for i in stay]
    assert not {vocab.bytes_of(i) for i in found.ids} & {then.bytes_of(i) for i in found.ids}
    assert not any(len(vocab.bytes_of(i)) == 1 or vocab.is_special(i) for i in found.ids)
    assert set(new) & set(found.ids)
    most = max(len(then.bytes_of(i).split()) for i in found.ids)
    assert most == 1 if WORDS[family] == 1 else 1 < most <= WORDS[family]


def text_file(folder: Path) -> Path:
    (folder / "text.txt").write_text(TEXT)
    return folder / "text.txt"


def base_folder(folder: Path, **how: Any) -> Path:
    base = checkpoint(folder, families.with_start(families.byte_level(), "<s>"), rows=420, **how)
    (base.folder / "merges.txt").write_text("the old ones")
    return base.folder


@pytest.mark.parametrize("tied", [True, False])
def test_only_the_rows_of_new_tokens_change(tied: bool, tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base", tie_word_embeddings=tied)
    out = tmp_path / "out"
    report = tokswap.replace_tokens(
        base, [text_file(tmp_path)], add=ADD, out=out, evaluate=False, calibrate="shift"
    )
    before, after = open_checkpoint(base), open_checkpoint(out)
    manifest = json.loads((out / "tokswap.json").read_text())
    ids = manifest["replacement"]["ids"]
    assert len(ids) == ADD == report.figures["replaced"].value
    stay = sorted(set(range(420)) - set(ids))
    for name in before.tensors:
        old, new = before.read(name), after.read(name)
        if name in (before.input_name, before.output_name):
            assert torch.equal(old[stay], new[stay]) and not (old[ids] == new[ids]).all(1).any()
        else:
            assert torch.equal(old, new)
    same = {path.name for path in base.glob("*.json")} - {"tokenizer.json"}
    assert {"config.json", "generation_config.json", "tokenizer_config.json"} <= same
    assert all((out / name).read_bytes() == (base / name).read_bytes() for name in same)
    assert not (out / "merges.txt").exists()
    verified = tokswap.verify(out, against=base)
    failed = {name for name, one in verified.sections.items() if one.facts["outcome"] == "failed"}
    assert failed <= {"padded_rows"}  # an untrained base's own padding may win
    assert verified.sections["shared_rows"].facts["outcome"] == "passed"


def test_transformers_reads_and_writes_with_it(tmp_path: Path) -> None:
    base, out = base_folder(tmp_path / "base"), tmp_path / "out"
    tokswap.replace_tokens(base, [text_file(tmp_path)], add=ADD, out=out, **QUIET)
    tokenizer = tf.AutoTokenizer.from_pretrained(out)
    ids = tokenizer(TEXT).input_ids
    assert ids == load_tokenizer(open_checkpoint(out).tokenizer).encode(TEXT).ids and ids[0] == 0
    model = tf.AutoModelForCausalLM.from_pretrained(out).eval()
    assert model(torch.tensor([ids[:50]])).logits.shape == (1, 50, 420)


def test_the_way_back_is_the_base_and_the_same_run_writes_the_same(tmp_path: Path) -> None:
    base, text = base_folder(tmp_path / "base"), text_file(tmp_path)
    for name in ("one", "two"):
        tokswap.replace_tokens(base, [text], add=ADD, out=tmp_path / name, **QUIET)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    tokswap.restore(tmp_path / "one", base=base, out=tmp_path / "back")
    again, before = open_checkpoint(tmp_path / "back"), open_checkpoint(base)
    assert again.tokenizer == before.tokenizer
    assert all(torch.equal(again.read(name), before.read(name)) for name in before.tensors)


def test_held_out_text_is_measured_and_what_it_lost_is_said(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    lost = tmp_path / "lost.txt"
    lost.write_text("".join(families.CORPUS))
    fresh = tmp_path / "fresh.txt"
    fresh.write_text(TEXT[:200])
    report = tokswap.replace_tokens(
        base, [text_file(tmp_path)], add=ADD, out=tmp_path / "out", evaluation_texts=[str(lost), str(fresh)]
    )
    sections = report.sections["texts"].sections
    assert sections["lost"].figures["removed"].value > 0 == sections["fresh"].figures["removed"].value
    assert sections["lost"].figures["base_gain"].value < 1 < sections["fresh"].figures["base_gain"].value
    assert any("longer than before" in warning and "lost" in warning for warning in report.warnings)
    measured = report.sections["evaluation"]
    assert {"bits_per_byte", "base_bits_per_byte"} <= measured.figures.keys()


def test_per_layer_tables_keep_their_other_rows(tmp_path: Path) -> None:
    base = saved(gemma3n(304), tmp_path / "base", families.byte_level(304))
    (tmp_path / "text.txt").write_text("Zz Qq xyz\n" * 30)
    tokswap.replace_tokens(base, [tmp_path / "text.txt"], add=4, out=tmp_path / "out", **QUIET)
    old, new = open_checkpoint(base), open_checkpoint(tmp_path / "out")
    ids = json.loads((tmp_path / "out" / "tokswap.json").read_text())["replacement"]["ids"]
    stay = sorted(set(range(new.rows)) - set(ids))
    for name in (old.input_name, *old.per_layer_names):
        assert torch.equal(new.read(name)[stay], old.read(name)[stay])
    assert vocab_of(new).rows == vocab_of(old).rows


@pytest.mark.parametrize(
    ("family", "add", "words"),
    [
        (families.byte_level, 5000, "5,000 tokens can't be replaced"),
        (families.byte_level, 0, "0 tokens can't be replaced"),
        (families.wordpiece, 5, "only BPE"),
        (families.unigram, 5, "only BPE"),
    ],
)
def test_what_cannot_be_replaced_is_refused(family: Any, add: int, words: str, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", family(), rows=450)
    with pytest.raises(TokswapError, match=words):
        tokswap.replace_tokens(base.folder, [text_file(tmp_path)], add=add, out=tmp_path / "out", **QUIET)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"untie": True},
        {"pad_to_multiple_of": 64},
        {"method": "hypernet"},
        {"hypernet": "auto"},
        {"draft": True},
    ],
    ids=str,
)
def test_fields_that_decide_nothing_are_refused_at_once(fields: dict[str, Any], tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    with pytest.raises(TokswapError, match=r"decides nothing|can't make the rows"):
        tokswap.replace_tokens(base, [text_file(tmp_path)], add=5, dry_run=True, **fields)


def test_a_method_that_needs_another_model_is_refused(tmp_path: Path) -> None:
    base = base_folder(tmp_path / "base")
    with pytest.raises(TokswapError, match="needs the donor's embeddings"):
        tokswap.replace_tokens(
            base, [text_file(tmp_path)], add=5, out=tmp_path / "out", method="omp", **QUIET
        )
    report = tokswap.replace_tokens(
        base,
        [text_file(tmp_path)],
        add=5,
        out=tmp_path / "out",
        method="kriging",
        auxiliary="ngrams",
        **QUIET,
    )
    assert report.facts["method"] == "kriging"
