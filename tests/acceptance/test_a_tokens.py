"""A10 to A14, A18 to A23 and A26: tokens, roles, templates, and what text becomes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from test_a_rows import config_of, special, token_id
from test_verification import failures, outcome, sentence
from tiny_models import byte_level, lower_casing, sentencepiece
from tokenizer_families import byte_level as trained_byte_level
from tokenizer_families import unigram, with_start
from transplants import llama, moved, saved, table_of, with_tokenizer

import tokswap
from tokswap.align import Origin, align
from tokswap.checkpoint import open_checkpoint
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import encode, unreachable
from tokswap.vocab import read_vocab, vocab_of


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return saved(llama(), tmp_path / "base", byte_level())


def dry_run(base: Path, donor: Path) -> list[str]:
    return list(tokswap.transplant(base, donor, method="subword", dry_run=True).all_warnings())


def test_a10_one_token_whatever_its_spelling() -> None:
    letters = byte_level()
    for text in ("Ġhello", "Ċ", "ĠĠĠĠ"):
        letters["model"]["vocab"].setdefault(text, len(letters["model"]["vocab"]))
    pieces = sentencepiece()
    for text in ("▁hello", "\n", "▁▁▁▁"):
        pieces["model"]["vocab"][text] = len(pieces["model"]["vocab"])
    old, new = read_vocab(letters, {}), read_vocab(pieces, {})
    found = align(old, new)
    for theirs, ours in (("▁hello", "Ġhello"), ("\n", "Ċ"), ("▁▁▁▁", "ĠĠĠĠ")):
        assert found.source[new.id_of_text[theirs]] == old.id_of_text[ours]
    del pieces["model"]["vocab"]["\n"]
    lone = read_vocab(pieces, {})
    assert align(old, lone).source[lone.id_of_text["<0x0A>"]] == old.id_of_text["Ċ"]


def test_a11_the_piece_wins_and_broken_utf8_is_never_merged() -> None:
    vocab = read_vocab(sentencepiece(), {})
    found = align(read_vocab(byte_level(), {}), vocab)
    piece, fallback = vocab.id_of_text["a"], vocab.id_of_text["<0x61>"]
    assert found.origin[piece] == Origin.SAME_BYTES and found.origin[fallback] == Origin.SILENT
    assert align(vocab, vocab).source[fallback] == fallback  # its own row on its own tokenizer
    old = read_vocab(byte_level(), {})
    highs = [vocab.id_of_text[f"<0x{b:02X}>"] for b in range(0x80, 0x100)]
    assert len({int(found.source[i]) for i in highs}) == len(highs)
    assert all(old.bytes_of(int(found.source[i])) == vocab.bytes_of(i) for i in highs)


def test_a12_special_tokens_get_distinct_rows_and_padding_steals_none(base: Path, tmp_path: Path) -> None:
    texts = ("<|a|>", "<|b|>", "<|im_end|>")
    model = saved(llama(), tmp_path / "chat", special(byte_level(), *texts))
    donor = with_tokenizer(tmp_path / "donor", special(sentencepiece(), *reversed(texts)))
    config = {"bos_token": "<s>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}
    (donor / "tokenizer_config.json").write_text(json.dumps(config))
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    out = moved(model, donor, tmp_path / "out")
    before, after = table_of(model, "embed_tokens.weight"), table_of(out, "embed_tokens.weight")
    for text in (*texts, "<s>"):
        assert torch.equal(after[token_id(out, text)], before[token_id(model, text)])
    assert config_of(out)["pad_token_id"] == config_of(out)["eos_token_id"] == token_id(out, "<|im_end|>")


def test_a13_every_end_of_the_new_template_stops_and_none_of_the_old(base: Path, tmp_path: Path) -> None:
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 77], "temperature": 0.6}))
    donor = with_tokenizer(tmp_path / "donor", special(sentencepiece(), "<|im_end|>", "<|endoftext|>"))
    (donor / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "<|endoftext|>"})
    )
    out = moved(base, donor, tmp_path / "out")
    generation = json.loads((out / "generation_config.json").read_text())
    ends = [token_id(out, text) for text in ("<|endoftext|>", "<|im_end|>")]
    assert generation["eos_token_id"] == ends and generation["temperature"] == 0.6
    model = tf.AutoModelForCausalLM.from_pretrained(out)
    with torch.no_grad():  # a model whose every state says <|im_end|>
        model.get_output_embeddings().weight.zero_()
        model.lm_head = torch.nn.Linear(32, model.config.vocab_size)
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()[ends[1]] = 9
    written = model.generate(torch.tensor([[0, 5]]), max_new_tokens=20, do_sample=False)
    assert written[0].tolist() == [0, 5, ends[1]]


def test_a14_no_file_of_the_old_tokenizer_stays(base: Path, tmp_path: Path) -> None:
    stale = ("tokenizer.model", "added_tokens.json", "special_tokens_map.json", "vocab.json", "merges.txt")
    for name in (*stale, "chat_template.jinja"):
        (base / name).write_text("{}")
    out = moved(base, with_tokenizer(tmp_path / "donor", sentencepiece()), tmp_path / "out")
    assert not {path.name for path in out.iterdir()} & {*stale, "chat_template.jinja"}
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    assert outcome(tokswap.verify(out, against=base), "stale_files") == "passed"


def test_a18_pieces_there_twice_are_refused_before_anything_is_written(base: Path, tmp_path: Path) -> None:
    twice = unigram()
    twice["model"]["vocab"].append(list(twice["model"]["vocab"][5]))
    donor = with_tokenizer(tmp_path / "donor", twice)
    with pytest.raises(tokswap.TokswapError, match="are there twice"):
        moved(base, donor, tmp_path / "out")
    assert not list(tmp_path.glob("*out*"))


def test_a18_a_pattern_that_llama_cpp_lacks_is_warned_of(base: Path, tmp_path: Path) -> None:
    known = with_tokenizer(tmp_path / "known", trained_byte_level(specials=("<s>",)))
    assert not any("llama.cpp" in warning for warning in dry_run(base, known))
    own = trained_byte_level(specials=("<s>",))
    split = {"type": "Split", "pattern": {"Regex": r"\w"}, "behavior": "Isolated", "invert": False}
    own["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, own["pre_tokenizer"]]}
    assert any("llama.cpp" in warning for warning in dry_run(base, with_tokenizer(tmp_path / "own", own)))


def test_a19_every_id_is_reachable_or_listed_and_no_merge_dangles(base: Path, tmp_path: Path) -> None:
    tokenizer = sentencepiece()
    tokenizer["model"]["vocab"]["nowhere near"] = len(tokenizer["model"]["vocab"])
    out = moved(base, with_tokenizer(tmp_path / "donor", tokenizer), tmp_path / "out", pad_to_multiple_of=64)
    written = json.loads((out / "tokenizer.json").read_text())
    vocab = vocab_of(open_checkpoint(out))
    reach = unreachable(load_tokenizer(written), vocab)
    assert vocab.id_of_text["nowhere near"] in reach.unreachable
    doctor = tokswap.doctor(out)
    assert "nowhere near" in sentence(doctor, "reach") or len(reach.unreachable) > 5
    assert outcome(doctor, "merges") == "passed"


@pytest.mark.parametrize("tokenizer", [byte_level, sentencepiece, trained_byte_level])
def test_a20_numbers_come_back(tokenizer: Any) -> None:
    engine = load_tokenizer(tokenizer())
    numbers = [str(n) for n in range(1000)]
    back = [engine.decode(ids, skip_special_tokens=False) for ids in encode(engine, numbers)]
    assert [text.strip() for text in back] == numbers


def test_a20_other_cuts_of_numbers_are_warned_of_with_their_share(tmp_path: Path) -> None:
    def digits(**step: Any) -> dict[str, Any]:
        tokenizer = byte_level()
        vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
        for a in "0123456789":
            for b in "0123456789":
                if a + b not in vocab:
                    vocab[a + b] = len(vocab)
                    merges.append([a, b])
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [step, tokenizer["pre_tokenizer"]]}
        return tokenizer

    single = digits(type="Digits", individual_digits=True)
    pairs = digits(type="Split", pattern={"Regex": r"\p{N}{1,2}"}, behavior="Isolated", invert=False)
    base = saved(llama(rows=400), tmp_path / "base", single)
    warnings = dry_run(base, with_tokenizer(tmp_path / "donor", pairs))
    (said,) = [warning for warning in warnings if "numbers are cut differently" in warning]
    assert "base: single digits; the new tokenizer: groups of 2, from the left" in said
    assert "% of the evaluation text" in said
    assert not any("numbers are cut" in warning for warning in dry_run(base, base))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a21_broken_donor_rows_are_no_anchors_and_are_counted(
    value: float, base: Path, tmp_path: Path
) -> None:
    donor = saved(llama(), tmp_path / "donor", sentencepiece())
    state = load_file(donor / "model.safetensors")
    letters = [token_id(donor, c) for c in "abc"]
    state["model.embed_tokens.weight"][letters] = value
    save_file(state, donor / "model.safetensors", metadata={"format": "pt"})
    how: dict[str, Any] = {"method": "omp", "parameters": {"k": 4}, "calibrate": "none", "evaluate": False}
    report = tokswap.transplant(base, donor, out=tmp_path / "out", **how)
    assert report.figures["anchors_dropped"].value == len(letters)
    assert not failures(tokswap.verify(tmp_path / "out", against=base))


@pytest.mark.parametrize("base_starts", [False, True])
@pytest.mark.parametrize("donor_starts", [False, True])
def test_a22_whether_a_text_has_a_start_token_is_the_bases_habit(
    base_starts: bool, donor_starts: bool, tmp_path: Path
) -> None:
    old, new = byte_level(), sentencepiece()
    base = saved(llama(), tmp_path / "base", with_start(old, "<s>") if base_starts else old)
    donor = with_tokenizer(tmp_path / "donor", with_start(new, "<s>") if donor_starts else new)
    out = moved(base, donor, tmp_path / "out")
    ids = tf.AutoTokenizer.from_pretrained(out)("the wall").input_ids
    assert (ids[0] == token_id(out, "<s>")) == base_starts
    assert json.loads((out / "tokenizer_config.json").read_text())["add_bos_token"] == base_starts


def test_a23_holes_stay_holes_and_other_normalisers_are_warned_of(base: Path, tmp_path: Path) -> None:
    tokenizer = sentencepiece()
    top = max(tokenizer["model"]["vocab"].values())
    tokenizer["model"]["vocab"]["far"] = top + 11
    assert tokenizer["model"]["unk_token"] is None
    out = moved(base, with_tokenizer(tmp_path / "donor", tokenizer), tmp_path / "out")
    rows = table_of(out, "embed_tokens.weight")
    vocab = vocab_of(open_checkpoint(out))
    holes = np.setdiff1d(np.arange(len(rows)), vocab.ids)
    assert len(rows) == top + 12 and holes.tolist() == list(range(top + 1, top + 11))
    assert not failures(tokswap.verify(out, against=base))
    lower = with_tokenizer(tmp_path / "lower", lower_casing())
    (said,) = [w for w in dry_run(base, lower) if "normalise" in w]
    assert said == "the tokenizers normalise text differently: not at all, then NFKC, Lowercase"
    low = read_vocab(lower_casing(), {})
    assert align(read_vocab(byte_level(), {}), low).source[low.id_of_text["a"]] >= 0


def test_a26_the_chat_template_speaks_the_new_tokens(base: Path, tmp_path: Path) -> None:
    (base / "chat_template.jinja").write_text("{% for m in messages %}<|old|>{{ m.content }}{% endfor %}")
    donor = with_tokenizer(tmp_path / "donor", special(sentencepiece(), "<|turn|>", "<|im_end|>"))
    template = "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    (donor / "chat_template.jinja").write_text(template)
    out = moved(base, donor, tmp_path / "out")
    tokenizer = tf.AutoTokenizer.from_pretrained(out)
    chat = [{"role": "user", "content": "the wall"}, {"role": "assistant", "content": "a wall"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    assert text == "<|turn|>user\nthe wall<|im_end|><|turn|>assistant\na wall<|im_end|>"
    ids = (
        load_tokenizer(json.loads((out / "tokenizer.json").read_text()))
        .encode(text, add_special_tokens=False)
        .ids
    )
    assert [ids.count(token_id(out, name)) for name in ("<|turn|>", "<|im_end|>")] == [2, 2]
    report = tokswap.verify(out, against=base)
    assert outcome(report, "chat_template") == outcome(report, "end_tokens") == "passed"
