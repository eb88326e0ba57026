"""A1 to A9: rows, heads and biases of every architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from architectures import EXTRA_ROWS, MODELS, gemma4, mllama
from test_verification import failures, sentence
from tiny_models import byte_level, sentencepiece
from transplants import ROWS, gemma3n, llama, moved, saved, table_of, with_tokenizer

import tokswap
from tokswap.align import align
from tokswap.checkpoint import open_checkpoint
from tokswap.vocab import vocab_of

LETTERS = "abcxyzT"


def special(tokenizer: dict[str, Any], *texts: str, first: int | None = None) -> dict[str, Any]:
    """Add special tokens to a tokenizer, behind its last one or from the id `first`."""
    vocab = tokenizer["model"]["vocab"]
    for text in texts:
        token_id = len(vocab) if first is None else first
        vocab[text] = token_id
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        tokenizer["added_tokens"].append({"id": token_id, "content": text, "special": True} | flags)
    return tokenizer


def token_id(folder: Path, text: str) -> int:
    return json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"][text]


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    return with_tokenizer(tmp_path / "donor", sentencepiece())


@pytest.mark.parametrize("method", ["subword", "omp", "auto"])
def test_a01_padded_rows_stay_on_the_own_tokenizer(method: str, tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    assert len(byte_level()["model"]["vocab"]) < ROWS
    out = moved(base, base, tmp_path / "out", method=method, calibrate="auto" if method == "auto" else "none")
    assert config_of(out)["vocab_size"] == ROWS
    assert bits(table_of(out, "embed_tokens.weight")) == bits(table_of(base, "embed_tokens.weight"))
    assert not failures(tokswap.verify(out, against=base)) - {"padded_rows"}  # the base's own may win


def test_a02_ids_beyond_the_rows_are_listed_and_never_indexed(tmp_path: Path, donor: Path) -> None:
    gemma = saved(llama(), tmp_path / "gemma", special(byte_level(), "<image_soft_token>", first=ROWS))
    plan = tokswap.transplant(gemma, donor, out=tmp_path / "out", method="subword", dry_run=True)
    assert any("have no row ('<image_soft_token>')" in warning for warning in plan.all_warnings())
    out = moved(gemma, donor, tmp_path / "out")
    assert not failures(tokswap.verify(out, against=gemma))
    other = saved(llama(), tmp_path / "other", sentencepiece())
    back = moved(other, gemma, tmp_path / "back")  # as a donor its token gets a row
    assert config_of(back)["vocab_size"] == ROWS + 1
    assert not failures(tokswap.verify(back, against=other))


def test_a03_padding_is_exact_and_never_wins(tmp_path: Path, donor: Path) -> None:
    base = saved(llama(tied=False), tmp_path / "base", byte_level())
    out = moved(base, donor, tmp_path / "out", pad_vocab_to=384)
    assert config_of(out)["vocab_size"] == 384
    assert table_of(out, "embed_tokens.weight").shape[0] == table_of(out, "lm_head.weight").shape[0] == 384
    padded = [
        i
        for i in range(384)
        if i not in json.loads((out / "tokenizer.json").read_text())["model"]["vocab"].values()
    ]
    states = torch.randn(4096, 32, generator=torch.Generator().manual_seed(0))
    assert not np.isin((states @ table_of(out, "lm_head.weight").T).argmax(1).numpy(), padded).any()
    assert "the mean row" in sentence(tokswap.verify(out, against=base), "padded_rows")


@pytest.mark.parametrize("untie", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a04_tied_stays_one_tensor_and_untied_is_said_everywhere(
    wrapped: bool, untie: bool, tmp_path: Path, donor: Path
) -> None:
    torch.manual_seed(0)
    base = saved(MODELS["gemma3, wrapped" if wrapped else "llama, tied"](), tmp_path / "base", byte_level())
    out = moved(base, donor, tmp_path / "out", untie=untie)
    checkpoint, config = open_checkpoint(out), config_of(out)
    assert (checkpoint.output_name is not None) == untie
    flags = [
        part["tie_word_embeddings"]
        for part in (config, config.get("text_config", config))
        if "tie_word_embeddings" in part
    ]
    assert set(flags) == {not untie}
    model = getattr(tf, config["architectures"][0]).from_pretrained(out)
    pointers = {m.weight.data_ptr() for m in (model.get_input_embeddings(), model.get_output_embeddings())}
    assert len(pointers) == 1 + untie
    assert torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)


def test_a05_an_untied_head_survives_loading(tmp_path: Path, donor: Path) -> None:
    base = saved(llama(tied=False), tmp_path / "base", byte_level())
    out = moved(base, donor, tmp_path / "out")
    model = tf.AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(model.lm_head.weight, table_of(out, "lm_head.weight"))
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)


@pytest.mark.parametrize("name", ["phi", "bert", "roberta"])
def test_a06_biases_follow_their_rows(name: str, tmp_path: Path, donor: Path) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    base = saved(model, tmp_path / "base", byte_level())
    out = moved(base, donor, tmp_path / "out")
    loaded = type(model).from_pretrained(out)
    before, after = model.get_output_embeddings().bias, loaded.get_output_embeddings().bias
    assert after.shape[0] == loaded.config.vocab_size != ROWS
    for letter in LETTERS:
        assert after[token_id(out, letter)] == before[token_id(base, letter)]


@pytest.mark.parametrize("name", ["gemma3, wrapped", "qwen2-vl"])
def test_a07_wrapped_models_and_their_processors_get_the_new_ids(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    old = {
        k: v
        for k, v in model.config.to_dict().items()
        if k.endswith(("_token_id", "_token_index")) and v and 200 < v < ROWS
    }
    names = {"image": "<image>", "video": "<video>", "boi": "<boi>", "eoi": "<eoi>"}
    texts = {key: names[key.split("_")[0]] for key in old}
    tokenizer = byte_level()
    for key in sorted(old, key=lambda k: old[k]):
        special(tokenizer, texts[key], first=old[key])
    base = saved(model, tmp_path / "base", tokenizer)
    image = next(key for key in old if key.startswith("image"))
    processor = {"image_mean": [0.5], "image_token_id": old[image], "image_processor": {"size": 28}}
    (base / "preprocessor_config.json").write_text(json.dumps(processor))
    other = with_tokenizer(tmp_path / "donor", special(sentencepiece(), *sorted(set(texts.values()))))
    out = moved(base, other, tmp_path / "out")
    config = config_of(out)
    rows = table_of(out, "embed_tokens.weight").shape[0]
    assert config["text_config"]["vocab_size"] == rows and config.get("vocab_size", rows) == rows
    for key in old:
        assert config[key] == token_id(out, texts[key])
        before, after = table_of(base, "embed_tokens.weight"), table_of(out, "embed_tokens.weight")
        assert torch.equal(after[config[key]], before[old[key]])
    moved_processor = json.loads((out / "preprocessor_config.json").read_text())
    assert moved_processor == processor | {"image_token_id": token_id(out, "<image>")}
    assert not failures(tokswap.verify(out, against=base))


def test_a07_mllama_keeps_its_eight_extra_input_rows(tmp_path: Path, donor: Path) -> None:
    torch.manual_seed(0)
    base = saved(mllama(), tmp_path / "base", special(byte_level(), "<|image|>", first=ROWS))
    out = moved(base, donor, tmp_path / "out")
    config = config_of(out)
    rows = config["text_config"]["vocab_size"]
    before, after = table_of(base, "embed_tokens.weight"), table_of(out, "embed_tokens.weight")
    assert before.shape[0] == ROWS + EXTRA_ROWS and after.shape[0] == rows + EXTRA_ROWS != before.shape[0]
    assert torch.equal(after[rows:], before[ROWS:])
    assert table_of(out, "lm_head.weight").shape[0] == rows
    assert config["image_token_index"] == rows == token_id(out, "<|image|>")
    assert not failures(tokswap.verify(out, against=base))
    back = tmp_path / "back"
    tokswap.restore(out, base=base, out=back)
    assert (back / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    "make", [lambda: gemma3n(ROWS), lambda: gemma3n(ROWS - 4), gemma4], ids=["3n", "short", "4"]
)
def test_a08_per_layer_tables_follow_the_embedding(make: Any, tmp_path: Path, donor: Path) -> None:
    # Gemma 3n's own per-layer table is 256 rows shorter than its embedding.
    torch.manual_seed(0)
    model = make()
    base = saved(model, tmp_path / "base", byte_level())
    out = moved(base, donor, tmp_path / "out")
    model = type(model).from_pretrained(out)
    rows = model.get_input_embeddings().weight.shape[0]
    assert rows != ROWS and model.config.vocab_size == model.config.vocab_size_per_layer_input == rows
    for end in ("embed_tokens.weight", "embed_tokens_per_layer.weight"):
        before, after = table_of(base, end), table_of(out, end)
        assert all(torch.equal(before[token_id(base, c)], after[token_id(out, c)]) for c in LETTERS)


def test_a09_gemma_rows_are_copied_unscaled_and_new_ones_are_as_long(tmp_path: Path) -> None:
    """The donor's space is the base's, turned: sums of anchors then have the lengths that the donor's rows have."""
    torch.manual_seed(0)
    base_model, donor_model = MODELS["gemma3"](), llama()
    base = saved(base_model, tmp_path / "base", byte_level())
    turn = torch.linalg.qr(torch.randn(32, 32)).Q
    latent = torch.nn.functional.normalize(torch.randn(4, 32), dim=1)
    table = torch.randn(ROWS, 4) @ latent
    base_model.get_input_embeddings().weight.data.copy_(table)
    base_model.save_pretrained(base)
    other = saved(donor_model, tmp_path / "donor", sentencepiece())
    found = align(vocab_of(open_checkpoint(base)), vocab_of(open_checkpoint(other)))
    rows = torch.randn(ROWS, 4) @ latent
    rows[found.copied_ids] = table[found.source[found.copied_ids]]
    donor_model.get_input_embeddings().weight.data.copy_(rows @ turn)
    donor_model.save_pretrained(other)
    out = moved(base, other, tmp_path / "out", method="omp", parameters={"k": 4})
    after = table_of(out, "embed_tokens.weight")
    assert all(torch.equal(after[token_id(out, c)], table[token_id(base, c)]) for c in LETTERS)
    ids = found.new_ids
    assert len(ids) > 3
    torch.testing.assert_close(after[ids].norm(dim=1), rows[ids].norm(dim=1), rtol=0.05, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_passes_every_check(name: str, tmp_path: Path, donor: Path) -> None:
    torch.manual_seed(0)
    base = saved(MODELS[name](), tmp_path / "base", byte_level())
    out = moved(base, donor, tmp_path / "out")
    report = tokswap.verify(out, against=base)
    assert {check: sentence(report, check) for check in failures(report)} == {}
    assert report.sections["loads"].facts["outcome"] == "passed"
    assert report.sections["untouched_tensors"].facts["outcome"] == "passed"
    tokswap.restore(out, base=base, out=tmp_path / "back")
    assert (tmp_path / "back" / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
