"""Whole trims of tiny models of every tokenizer family, and what is left of their texts and hidden states."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tokenizer_families as families
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import checkpoint
from transplants import SMALL, gemma3n, saved

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.errors import TokswapError
from tokswap.tokenization import load_tokenizer
from tokswap.trimming.keep import choose_kept
from tokswap.trimming.needs import needs_of
from tokswap.trimming.protected import groups_of, protected_ids
from tokswap.trimming.tokenizer import trimmed_tokenizer
from tokswap.vocab import read_vocab, vocab_of

FAMILIES = {
    "byte_level": families.byte_level,
    "sentencepiece": families.sentencepiece,
    "unigram": families.unigram,
    "wordpiece": families.wordpiece,
    "suffixed": families.suffixed,
}
PROSE = "The harbour wall was built by the people who needed somewhere to tie up. œufs 水路\n"
QUIET: dict[str, Any] = {"evaluate": False}


@cache
def trimmed(family: str) -> tuple[Any, Any, dict[int, int]]:
    """Return the engines before and after, and old id → new."""
    import numpy as np

    tokenizer = FAMILIES[family]()
    vocab = read_vocab(tokenizer, {})
    engine = load_tokenizer(tokenizer)
    counts = np.bincount(engine.encode(PROSE, add_special_tokens=False).ids, minlength=vocab.max_id + 1)
    kept = choose_kept(counts, protected_ids(vocab, tokenizer, (), ""), needs_of(tokenizer), groups_of(vocab))
    table = {old: new for new, old in enumerate(kept.ids.tolist())}
    assert len(table) < len(vocab)
    return engine, load_tokenizer(trimmed_tokenizer(tokenizer, table)), table


def ids(engine: Any, text: str) -> list[int]:
    return engine.encode(text, add_special_tokens=False).ids


TEXTS = st.one_of(
    st.lists(st.sampled_from([*PROSE.split(), " ", "\n", "a", "was built", "harbours"]), max_size=12).map(
        " ".join
    ),
    st.text(st.sampled_from(sorted(set("".join(families.CORPUS)))), max_size=30),
    st.text(max_size=12),
)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=40, deadline=None)
@given(text=TEXTS)
def test_texts_of_kept_tokens_are_cut_as_before_and_no_text_is_lost(family: str, text: str) -> None:
    before, after, table = trimmed(family)
    old, new = ids(before, text), ids(after, text)
    if table.keys() >= set(old):
        assert new == [table[i] for i in old]
    if before.decode(old) == text:
        assert after.decode(new) == text


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_that_decided_is_cut_as_before(family: str) -> None:
    before, after, table = trimmed(family)
    assert ids(after, PROSE) == [table[i] for i in ids(before, PROSE)]


def prose(folder: Path) -> Path:
    (folder / "prose.txt").write_text(PROSE * 40)
    return folder / "prose.txt"


def hidden(folder: Path, token_ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    model = tf.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        out = model(torch.tensor([token_ids]), output_hidden_states=True)
    return torch.stack(out.hidden_states), out.logits[0]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("keep_ids", [False, True])
def test_hidden_states_are_the_bases_bit_for_bit(tied: bool, keep_ids: bool, tmp_path: Path) -> None:
    tokenizer = families.with_start(families.byte_level(), "<s>")
    base = checkpoint(tmp_path / "base", tokenizer, rows=420, tie_word_embeddings=tied)
    report = tokswap.trim(
        base.folder, [prose(tmp_path)], out=tmp_path / "out", keep_ids=keep_ids, coverage=1, **QUIET
    )
    out = open_checkpoint(tmp_path / "out")
    old, new = (load_tokenizer(c.tokenizer).encode(PROSE).ids for c in (base, out))
    assert len(old) == len(new) and (old == new) == keep_ids
    states, logits = hidden(base.folder, old)
    states_after, logits_after = hidden(tmp_path / "out", new)
    assert torch.equal(states, states_after)
    assert torch.allclose(logits[:, sorted(set(old))], logits_after[:, sorted(set(new))], atol=1e-5)
    tables = 1 if tied else 2
    assert report.figures["parameters_saved"].value == tables * 32 * (420 - out.rows)
    verified = tokswap.verify(tmp_path / "out", against=base.folder)
    assert verified.facts["sound"], {n: s.facts["sentence"] for n, s in verified.sections.items()}
    assert verified.sections["shared_rows"].facts["outcome"] == "passed"


def test_kept_ids_leave_holes_that_never_win(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", families.byte_level(), rows=400)
    tokswap.trim(base.folder, [prose(tmp_path)], out=tmp_path / "out", keep_ids=True, coverage=1, **QUIET)
    vocab = vocab_of(open_checkpoint(tmp_path / "out"))
    assert len(vocab) < vocab.rows == vocab.max_id + 1
    _, logits = hidden(tmp_path / "out", ids(load_tokenizer(base.tokenizer), PROSE))
    holes = sorted(set(range(vocab.rows)) - set(vocab.ids.tolist()))
    assert not set(logits.argmax(1).tolist()) & set(holes)


def test_the_way_back_is_the_base(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", families.byte_level(), rows=400)
    tokswap.trim(base.folder, [prose(tmp_path)], out=tmp_path / "out", keep=300, **QUIET)
    assert open_checkpoint(tmp_path / "out").rows == 300
    tokswap.restore(tmp_path / "out", base=base.folder, out=tmp_path / "back")
    again = open_checkpoint(tmp_path / "back")
    assert again.tokenizer == base.tokenizer
    assert all(torch.equal(again.read(name), base.read(name)) for name in base.tensors)


def test_configurations_and_what_stands_around_a_text_get_the_new_numbers(tmp_path: Path) -> None:
    """A BERT: its separator, its padding, its head's bias, and a reserved token that goes."""
    tokenizer = families.wordpiece()
    words = tokenizer["model"]["vocab"]
    for name in ("[unused7]", "[SEP]", "[PAD]"):
        words[name] = len(words)
        tokenizer["added_tokens"].append(families.added(words[name], name))
    tokenizer["post_processor"] = {
        "type": "BertProcessing", "sep": ["[SEP]", words["[SEP]"]], "cls": ["[CLS]", words["[CLS]"]],
    }  # fmt: skip
    small = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"} | {
        "vocab_size": len(words), "pad_token_id": words["[PAD]"], "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    torch.manual_seed(0)
    model = tf.BertForMaskedLM(tf.BertConfig(**small)).eval()
    torch.nn.init.normal_(model.cls.predictions.bias)
    base = saved(model, tmp_path / "base", tokenizer)
    named = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "unk")}
    (base / "tokenizer_config.json").write_text(json.dumps(named))
    tokswap.trim(base, [prose(tmp_path)], out=tmp_path / "out", **QUIET)
    out = open_checkpoint(tmp_path / "out")
    new = out.tokenizer["model"]["vocab"]
    assert "[unused7]" not in new and out.config["pad_token_id"] == new["[PAD]"] != words["[PAD]"]
    before, after = (load_tokenizer(t).encode("The wall") for t in (tokenizer, out.tokenizer))
    assert (
        before.tokens == after.tokens and after.tokens[:2] == ["[CLS]", "The"] and after.tokens[-1] == "[SEP]"
    )
    assert after.ids == [new[t] for t in after.tokens]
    read = tf.BertForMaskedLM.from_pretrained(tmp_path / "out").eval()
    one, other = (
        m.bert(torch.tensor([e.ids])).last_hidden_state for m, e in ((model, before), (read, after))
    )
    assert torch.equal(one, other)
    assert read.cls.predictions.bias[new["The"]] == model.cls.predictions.bias[words["The"]]


def test_per_layer_tables_lose_the_same_rows(tmp_path: Path) -> None:
    base = saved(gemma3n(304), tmp_path / "base", families.byte_level(304))
    tokswap.trim(base, [prose(tmp_path)], out=tmp_path / "out", **QUIET)
    old, new = open_checkpoint(base), open_checkpoint(tmp_path / "out")
    back = [vocab_of(old).id_of_text[text] for text in vocab_of(new).texts]
    for name in (old.input_name, *old.per_layer_names):
        assert torch.equal(new.read(name), old.read(name)[back])
    assert new.config["vocab_size_per_layer_input"] == new.rows == len(back) < 304


def test_positions_that_count_from_the_padding_keep_it(tmp_path: Path) -> None:
    tokenizer = families.byte_level(specials=("<s>", "<unused0>", "<pad>", "</s>"))
    small = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"} | {
        "pad_token_id": 2,
        "vocab_size": 400,
    }
    base = saved(tf.RobertaForMaskedLM(tf.RobertaConfig(**small)), tmp_path / "base", tokenizer)
    (base / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    with pytest.raises(TokswapError, match="counts positions from its padding id 2"):
        tokswap.trim(base, [prose(tmp_path)], out=tmp_path / "out", **QUIET)
    tokswap.trim(base, [prose(tmp_path)], out=tmp_path / "out", keep_ids=True, **QUIET)
    assert open_checkpoint(tmp_path / "out").config["pad_token_id"] == 2


def test_unigram_ids_have_no_gaps(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", families.unigram(), rows=160)
    with pytest.raises(TokswapError, match="places in its list"):
        tokswap.trim(base.folder, [prose(tmp_path)], out=tmp_path / "out", keep_ids=True, **QUIET)
    assert not (tmp_path / "out").exists()


def test_more_tokens_than_there_are_cannot_be_kept(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", families.byte_level(), rows=400)
    with pytest.raises(TokswapError, match="can't be kept: the vocabulary has"):
        tokswap.trim(base.folder, [prose(tmp_path)], out=tmp_path / "out", keep=10**6, **QUIET)
    assert not (tmp_path / "out").exists()
