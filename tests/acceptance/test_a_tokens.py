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
from test_verification import failures, outcome
from tiny_models import byte_level, lower_casing, sentencepiece
from tokenizer_families import byte_level as trained_byte_level
from tokenizer_families import unigram, with_start
from transplants import llama, moved, saved, table_of, with_tokenizer

import tokswap
from tokswap.align import Origin, align
from tokswap.checkpoint import open_checkpoint
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import encode, unreachable
from tokswap.vocab import Kind, read_vocab, vocab_of


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


def test_a13_a_bare_tokenizer_json_ends_texts_with_the_token_that_is_known_to(
    base: Path, tmp_path: Path
) -> None:
    donor = tmp_path / "tokenizer.json"
    donor.write_text(json.dumps(special(trained_byte_level(specials=()), "<|endoftext|>")))
    out = moved(base, donor, tmp_path / "out")
    end = token_id(out, "<|endoftext|>")
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [end]
    assert tf.AutoTokenizer.from_pretrained(out).eos_token_id == end
    before, after = table_of(base, "embed_tokens.weight"), table_of(out, "embed_tokens.weight")
    assert torch.equal(after[end], before[config_of(base)["eos_token_id"]])
    assert not failures(tokswap.verify(out, against=base))


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


def require_reach(out: Path) -> set[int]:
    """Return the tokens that doctor lists as out of reach; every other comes out of a text, and no merge dangles."""
    written = json.loads((out / "tokenizer.json").read_text())
    vocab, engine = vocab_of(open_checkpoint(out)), load_tokenizer(written)
    listed = set(unreachable(engine, vocab).unreachable)
    doctor = tokswap.doctor(out)
    assert doctor.sections["reach"].figures["unreachable"].value == len(listed)
    before = (b"", b"\n", b".", b"a ")
    texts = [(start + token).decode(errors="replace") for token in vocab.tokens for start in before]
    seen = {i for ids in encode(engine, texts) for i in ids}
    whole = [token.decode(errors="ignore").encode() == token for token in vocab.tokens]
    assert set(vocab.ids[(vocab.kinds == Kind.ORDINARY) & np.array(whole)].tolist()) - seen <= listed
    joined = {one + other for one, other in written["model"]["merges"]}
    assert joined <= written["model"]["vocab"].keys() and outcome(doctor, "merges") == "passed"
    return listed


def test_a19_every_id_is_reachable_or_listed_and_no_merge_dangles(base: Path, tmp_path: Path) -> None:
    tokenizer = sentencepiece()
    tokenizer["model"]["vocab"]["nowhere near"] = len(tokenizer["model"]["vocab"])
    out = moved(base, with_tokenizer(tmp_path / "donor", tokenizer), tmp_path / "out", pad_to_multiple_of=64)
    assert token_id(out, "nowhere near") in require_reach(out)


def test_a19_after_trimming_too_and_the_way_back_is_there(base: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The harbour wall was built by people who needed somewhere.\n" * 30)
    out = tmp_path / "out"
    tokswap.trim(base, [text], out=out, keep=280, evaluate=False)
    assert len(vocab_of(open_checkpoint(out))) < len(vocab_of(open_checkpoint(base)))
    require_reach(out)
    old, new = (load_tokenizer(json.loads((f / "tokenizer.json").read_text())) for f in (base, out))
    assert new.encode(text.read_text()).tokens == old.encode(text.read_text()).tokens
    assert not failures(tokswap.verify(out, against=base)) - {"padded_rows"}  # the base's own may win
    tokswap.restore(out, base=base, out=tmp_path / "back")
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


def digits(longest: int) -> dict[str, Any]:
    """A byte-level BPE with a token for every number of up to `longest` digits, cut from the left."""
    tokenizer = byte_level()
    vocab, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    for length in range(2, longest + 1):
        for number in range(10**length):
            text = f"{number:0{length}}"
            vocab.setdefault(text, len(vocab))
            merges.append([text[:-1], text[-1]])
    tokenizer["model"]["ignore_merges"] = True  # a number that is a token is never put together otherwise
    split = {
        "type": "Split",
        "pattern": {"Regex": rf"\p{{N}}{{1,{longest}}}"},
        "behavior": "Isolated",
        "invert": False,
    }
    tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, tokenizer["pre_tokenizer"]]}
    return tokenizer


@pytest.mark.parametrize("keep", ["donor", "base"])
@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
def test_a20_numbers_come_back(before: int, after: int, keep: str, tmp_path: Path) -> None:
    base = saved(llama(rows=len(digits(before)["model"]["vocab"])), tmp_path / "base", digits(before))
    donor = with_tokenizer(tmp_path / "donor", digits(after))
    if before > after and keep == "base":
        with pytest.raises(tokswap.TokswapError, match="--keep-digits base"):  # it has no tokens for that
            moved(base, donor, tmp_path / "out", keep_digits=keep)
        return
    out = moved(base, donor, tmp_path / "out", keep_digits=keep)
    tokenizer = tf.AutoTokenizer.from_pretrained(out)
    numbers = [str(n) for n in range(1000)]
    found = [tokenizer(number).input_ids for number in numbers]
    assert [tokenizer.decode(ids) for ids in found] == numbers
    longest = (
        1 if keep == "base" and before == 1 else after
    )  # no donor has tokens for more digits than it has
    assert [len(ids) for ids in found] == [-(-len(number) // longest) for number in numbers]


def test_a20_other_cuts_of_numbers_are_warned_of_with_their_share(tmp_path: Path) -> None:
    base = saved(llama(rows=400), tmp_path / "base", digits(1))
    warnings = dry_run(base, with_tokenizer(tmp_path / "donor", digits(3)))
    (said,) = [warning for warning in warnings if "numbers are cut differently" in warning]
    assert "base: single digits; the new tokenizer: groups of 3, from the left" in said
    assert "% of the evaluation text" in said
    assert not any("numbers are cut" in warning for warning in dry_run(base, base))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1e-7])  # the last as good as untrained
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


@pytest.mark.parametrize("base_starts", [False, True])
def test_a22_a_donor_without_a_start_token_gets_the_bases(base_starts: bool, tmp_path: Path) -> None:
    tokenizer = sentencepiece()
    tokenizer["added_tokens"][0]["content"] = "<|end|>"
    tokenizer["model"]["vocab"] = {"<|end|>": 0} | {t: i for t, i in tokenizer["model"]["vocab"].items() if i}
    base = saved(llama(), tmp_path / "base", with_start(byte_level(), "<s>") if base_starts else byte_level())
    donor = with_tokenizer(tmp_path / "donor", tokenizer)
    (donor / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    out = moved(base, donor, tmp_path / "out")
    loaded = tf.AutoTokenizer.from_pretrained(out)
    ids, plain = loaded("the wall").input_ids, loaded("the wall", add_special_tokens=False).input_ids
    assert ids == ([loaded.bos_token_id, *plain] if base_starts else plain)
    if base_starts:
        rows = table_of(base, "embed_tokens.weight")[0], table_of(out, "embed_tokens.weight")[ids[0]]
        assert torch.equal(*rows)


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
    (said,) = [w for w in dry_run(base, with_tokenizer(tmp_path / "spaced", sentencepiece())) if "space" in w]
    assert said.startswith("the new tokenizer puts a space before a text, and the base none")
    bare = with_tokenizer(tmp_path / "bare", sentencepiece(prefix_space=False))
    assert not [w for w in dry_run(base, bare) if "space" in w]
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
