"""Verification: a good transplant passes every check, and each damage fails the check that is named for it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import llama, rows

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.report import Report
from tokswap.verification.checks import CHECKS
from tokswap.verification.rows import norm_outliers

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, checkpoint, sentencepiece
from tokenizer_families import unigram

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TEMPLATE = "{% for m in messages %}<|turn|>{{ m.content }}<|im_end|>{% endfor %}"


def chatty() -> dict[str, Any]:
    """A SentencePiece tokenizer with control tokens for turns."""
    tokenizer = sentencepiece()
    for text in ("<|turn|>", "<|im_end|>"):
        entry = {
            "id": len(tokenizer["model"]["vocab"]),
            "content": text,
            "special": True,
            "single_word": False,
        }
        tokenizer["model"]["vocab"][text] = entry["id"]
        tokenizer["added_tokens"].append(entry | {"lstrip": False, "rstrip": False, "normalized": False})
    return tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    checkpoint(folder, byte_level(), tie_word_embeddings=False)
    return folder


@pytest.fixture(scope="module")
def sound(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    donor = root / "donor"
    checkpoint(donor, chatty(), seed=1)
    config = {"bos_token": "<s>", "eos_token": "<s>", "chat_template": TEMPLATE}
    (donor / "tokenizer_config.json").write_text(json.dumps(config))
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False, "pad_vocab_to": 320}
    tokswap.transplant(base, donor, out=root / "out", **how)
    return root / "out"


def failures(report: Report) -> set[str]:
    return {name for name, check in report.sections.items() if check.facts["outcome"] == "failed"}


def outcome(report: Report, name: str) -> str:
    return str(report.sections[name].facts["outcome"])


def sentence(report: Report, name: str) -> str:
    return str(report.sections[name].facts["sentence"])


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file; a manifest that would only say that it changed is taken away."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    (folder / "tokswap.json").unlink(missing_ok=True)


def put_row(folder: Path, name: str, row: int, values: torch.Tensor) -> None:
    """Overwrite one stored row in place."""
    info = open_checkpoint(folder).tensors[name]
    size = info.nbytes // info.shape[0]
    with (folder / info.shard).open("r+b") as file:
        file.seek(info.start + row * size)
        file.write(values.contiguous().view(torch.uint8).numpy().tobytes())
    (folder / "tokswap.json").unlink(missing_ok=True)


def id_of(folder: Path, text: str) -> int:
    return json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"][text]


def test_a_good_transplant_passes_every_check(sound: Path, base: Path) -> None:
    report = tokswap.verify(sound, against=base)
    outcomes = {name: outcome(report, name) for name in report.sections}
    assert outcomes.pop("round_trip") == "warned"  # SentencePiece puts a space first
    assert {n: sentence(report, n) for n, o in outcomes.items() if o != "passed"} == {}
    assert report.facts["sound"] is True
    assert "the mean row" in sentence(report, "padded_rows")


def test_without_its_base_it_says_what_was_not_checked(sound: Path) -> None:
    report = tokswap.verify(sound, run=False)
    assert report.facts["sound"] is True
    assert outcome(report, "untouched_tensors") == "not checked"
    assert "give it with --against" in sentence(report, "untouched_tensors")
    assert sentence(report, "loads") == "the model was not to be run"


def stale_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}"
    )


def short_config(folder: Path) -> None:
    edit(folder, "config.json", lambda c: c.update(vocab_size=c["vocab_size"] - 8))


def says_tied(folder: Path) -> None:
    edit(folder, "config.json", lambda c: c.update(tie_word_embeddings=True))


def old_end(folder: Path) -> None:
    edit(folder, "generation_config.json", lambda c: c.update(eos_token_id=id_of(folder, "the")))


def one_end(folder: Path) -> None:
    edit(folder, "generation_config.json", lambda c: c.update(eos_token_id=0))


def no_such_id(folder: Path) -> None:
    edit(folder, "config.json", lambda c: c.update(image_token_id=9999))


def old_vocabulary(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps(byte_level()["model"]["vocab"]))


def stale_sentencepiece(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"stale")


def dangling_merge(folder: Path) -> None:
    edit(folder, "tokenizer.json", lambda c: c["model"]["merges"].append(["t", "the"]))


def no_decoder(folder: Path) -> None:
    edit(folder, "tokenizer.json", lambda c: c.update(decoder={"type": "BPEDecoder", "suffix": "e"}))


def a_changed_byte(folder: Path) -> None:
    with (folder / "README.md").open("a") as file:
        file.write(" ")


def nan_row(folder: Path) -> None:
    put_row(folder, EMBED, id_of(folder, "▁wall"), torch.full((32,), torch.nan))


def zero_row(folder: Path) -> None:
    put_row(folder, HEAD, id_of(folder, "▁wal"), torch.zeros(32))


def swapped_row(folder: Path) -> None:
    put_row(folder, EMBED, id_of(folder, "T"), rows(1, 32)[0])


def swapped_start(folder: Path) -> None:
    put_row(folder, EMBED, 0, rows(1, 32)[0])


def another_body(folder: Path) -> None:
    put_row(folder, "model.layers.0.mlp.up_proj.weight", 3, rows(1, 32)[0])


def loud_padding(folder: Path) -> None:
    for row in range(312, 320):
        put_row(folder, HEAD, row, 9 * rows(1, 32, seed=row)[0])


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def no_head(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state[HEAD]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    edit(folder, "config.json", lambda c: c.update(tie_word_embeddings=True))


def nan_body(folder: Path) -> None:
    put_row(folder, "model.norm.weight", 0, torch.full((1,), torch.nan))


def long_row(folder: Path) -> None:
    put_row(folder, HEAD, id_of(folder, "▁wal"), 1000 * rows(1, 32)[0])


def long_new_rows(folder: Path) -> None:
    for text in ("▁wal", "▁wall", "al", "▁w", "▁the", "the", "▁th", "th", "<|turn|>", "<|im_end|>"):
        put_row(folder, EMBED, id_of(folder, text), 1000 * rows(1, 32)[0])


def read_otherwise(folder: Path) -> None:
    """Let transformers add a token that tokenizer.json doesn't have."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    more = {"added_tokens_decoder": {"311": {"content": "Hello"} | flags}}
    edit(folder, "tokenizer_config.json", lambda c: c.update(more))


def no_row_for_a_word(folder: Path) -> None:
    edit(folder, "tokenizer.json", lambda c: c["model"]["vocab"].update({"far": 4000}))


def own_pattern(folder: Path) -> None:
    step = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": False, "trim_offsets": True}
    split = {"type": "Split", "pattern": {"Regex": r"\w"}, "behavior": "Isolated", "invert": False}
    parts = {"type": "Sequence", "pretokenizers": [split, step]}
    edit(folder, "tokenizer.json", lambda c: c.update(pre_tokenizer=parts))


def twice(folder: Path) -> None:
    pieces = unigram()
    pieces["model"]["vocab"].append(list(pieces["model"]["vocab"][5]))
    (folder / "tokenizer.json").write_text(json.dumps(pieces))
    (folder / "tokswap.json").unlink()


DAMAGE: dict[str, tuple[Callable[[Path], None], set[str], str]] = {
    "stale template": (stale_template, {"chat_template"}, "'<|im_start|>', no token"),
    "config of another size": (short_config, {"rows", "loads"}, "declares 312 rows"),
    "tied in name": (says_tied, {"tied"}, "says tied"),
    "ends at a word": (old_end, {"special_ids", "end_tokens"}, "the ordinary token 'the'"),
    "one end of two": (one_end, {"end_tokens"}, "<|im_end|>"),
    "no such id": (no_such_id, {"special_ids"}, "image_token_id = 9999"),
    "stale vocab.json": (old_vocabulary, {"stale_files"}, "another tokenizer's"),
    "stale tokenizer.model": (stale_sentencepiece, {"stale_files"}, "tokenizer.model"),
    "dangling merge": (dangling_merge, {"merges"}, "'t the'"),
    "lossy decoder": (no_decoder, {"round_trip"}, "comes back as"),
    "changed file": (a_changed_byte, {"manifest"}, "README.md has changed"),
    "NaN row": (nan_row, {"finite_rows"}, "▁wall"),
    "zero row": (zero_row, {"zero_rows"}, "▁wal"),
    "swapped row": (swapped_row, {"shared_rows"}, "'T'"),
    "swapped start token": (swapped_start, {"shared_rows", "hidden_states"}, "special ones: '<s>'"),
    "another body": (another_body, {"untouched_tensors", "hidden_states"}, "up_proj.weight has other values"),
    "loud padding": (loud_padding, {"padded_rows"}, "is the likeliest"),
    "read otherwise": (read_otherwise, {"tokenizer_loads"}, "AutoTokenizer doesn't do what"),
    "no head": (no_head, {"shape_of_base"}, "the base stores a head of its own"),
    "NaN in the body": (nan_body, {"untouched_tensors", "hidden_states", "greedy_sample"}, "not finite"),
    "a word without a row": (no_row_for_a_word, {"ids_have_rows"}, "'far'"),
    "a piece twice": (twice, {"no_duplicates"}, "there twice"),
    "cut short": (cut_short, {"opens"}, "truncated"),
}  # fmt: skip
ODD: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "one long row": (long_row, "outlier_rows", "▁wal"),
    "long new rows": (long_new_rows, "new_row_norms", "times the norm"),
    "a pattern of its own": (own_pattern, "gguf_pattern", "none of llama.cpp's"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damage_fails_the_check_that_is_named_for_it(
    damage: str, sound: Path, base: Path, tmp_path: Path
) -> None:
    do, expected, said = DAMAGE[damage]
    folder = tmp_path / "out"
    shutil.copytree(sound, folder)
    do(folder)
    report = tokswap.verify(folder, against=base)
    assert expected <= failures(report)
    assert any(said in sentence(report, name) for name in expected), [sentence(report, n) for n in expected]
    assert report.facts["sound"] is False


@pytest.mark.parametrize("oddity", ODD)
def test_what_is_odd_is_a_warning(oddity: str, sound: Path, base: Path, tmp_path: Path) -> None:
    do, check, said = ODD[oddity]
    folder = tmp_path / "out"
    shutil.copytree(sound, folder)
    do(folder)
    report = tokswap.verify(folder, against=base, run=False)
    assert outcome(report, check) == "warned" and said in sentence(report, check)


def test_every_check_has_a_damage_that_it_finds() -> None:
    found = {name for _, names, _ in DAMAGE.values() for name in names} | {
        name for _, name, _ in ODD.values()
    }
    assert {check.name for check in CHECKS} <= found


def test_ids_without_rows_are_told_apart(tmp_path: Path) -> None:
    short = checkpoint(tmp_path / "short", byte_level(), rows=290)
    report = tokswap.verify(short.folder, run=False)
    assert "ids_have_rows" in failures(report)
    tokenizer = byte_level()
    image = {
        "id": 304,
        "content": "<image_soft_token>",
        "special": True,
        "single_word": False,
        "lstrip": False,
    }
    tokenizer["added_tokens"].append(image | {"rstrip": False, "normalized": False})
    tokenizer["model"]["vocab"]["<image_soft_token>"] = 304
    gemma = checkpoint(tmp_path / "gemma", tokenizer)
    report = tokswap.verify(gemma.folder, run=False)
    assert outcome(report, "ids_have_rows") == "warned"


def test_a_folder_of_any_tool_is_verified(tmp_path: Path) -> None:
    llama(tmp_path / "plain", tied=True)
    report = tokswap.verify(tmp_path / "plain", run=False)
    assert "no tokswap.json" in sentence(report, "manifest")
    assert {"tokenizer_loads", "stale_files"} & failures(report)
    with pytest.raises(tokswap.TokswapError, match="is no folder"):
        tokswap.verify(tmp_path / "nowhere")


def test_what_cannot_be_looked_at_is_no_failure(sound: Path, tmp_path: Path) -> None:
    folder = tmp_path / "quantised"
    shutil.copytree(sound, folder)
    (folder / "tokswap.json").unlink()
    state = load_file(folder / "model.safetensors")
    state["model.embed_tokens.qweight"] = state.pop(EMBED).to(torch.int32)
    state["model.embed_tokens.scales"] = torch.ones(1)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    report = tokswap.verify(folder, run=False)
    assert "quantised" in sentence(report, "rows") and outcome(report, "rows") == "not checked"
    assert failures(report) == set()
    (folder / "tokenizer.json").unlink()
    assert failures(tokswap.verify(folder, run=False)) == {"tokenizer_loads"}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_outliers_are_those_far_from_the_median_whatever_the_scale(scale: float) -> None:
    generator = np.random.default_rng(0)
    norms = scale * np.exp(0.1 * generator.standard_normal(1000))
    norms[[3, 500]] = 20 * scale, scale / 20
    everywhere = np.ones(1000, dtype=bool)
    assert norm_outliers(norms, everywhere).tolist() == [3, 500]
    everywhere[3] = False
    assert norm_outliers(norms, everywhere).tolist() == [500]
    assert not len(norm_outliers(np.full(5, np.nan), np.ones(5, dtype=bool)))
