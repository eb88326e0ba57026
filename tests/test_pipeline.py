"""Whole transplants of tiny models, and what transformers then loads from the folders."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf

import tokswap
from tokswap import plan
from tokswap.device import choose_device

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, sentencepiece
from tokenizer_families import with_start
from transplants import ROWS, SMALL, gemma3n, llama, moved, saved, table_of, with_tokenizer


def test_per_layer_tables_keep_their_size_on_the_own_tokenizer(tmp_path: Path) -> None:
    base = saved(gemma3n(ROWS - 4), tmp_path / "base", byte_level())
    out = moved(base, base, tmp_path / "out")
    assert (out / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    assert tf.Gemma3nForCausalLM.from_pretrained(out).config.vocab_size_per_layer_input == ROWS - 4


def test_untying_replaces_a_stored_copy_of_the_head(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    base = saved(llama(), tmp_path / "base", byte_level())
    state = {name: tensor.clone() for name, tensor in llama().state_dict().items()}
    assert torch.equal(state["lm_head.weight"], state["model.embed_tokens.weight"])
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    prose = tmp_path / "prose.txt"
    prose.write_text("The wall of the harbour was built by the people who needed the wall.\n" * 20)
    out = moved(
        base, donor, tmp_path / "out", untie=True, calibrate="shift", calibration_texts=[str(prose)]
    )  # which shifts the head alone
    model = tf.LlamaForCausalLM.from_pretrained(out)
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)
    assert torch.equal(model.lm_head.weight, table_of(out, "lm_head.weight"))


def test_untying_is_refused_where_the_bias_is_tied_too(tmp_path: Path) -> None:
    small = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
    base = saved(tf.BertForMaskedLM(tf.BertConfig(**small)), tmp_path / "base", byte_level())
    with pytest.raises(tokswap.TokswapError, match="--untie"):
        moved(base, base, tmp_path / "out", untie=True)


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_a_chat_template_in_a_file_of_its_own_comes_along(name: str, tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    (base / "chat_template.jinja").write_text("of the base")
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    template = "{% for m in messages %}<s>{{ m.content }}{% endfor %}"
    (donor / name).write_text(template if name.endswith("jinja") else json.dumps({"chat_template": template}))
    out = moved(base, donor, tmp_path / "out")
    chat = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "wall"}]
    rendered = tf.AutoTokenizer.from_pretrained(out).apply_chat_template(chat, tokenize=False)
    assert rendered == "<s>hello<s>wall"


def test_the_own_tokenizer_with_another_models_padding_keeps_the_bases_rows(tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    padded = saved(llama(rows=ROWS + 8), tmp_path / "padded", byte_level())
    out = moved(base, padded, tmp_path / "out")
    assert (out / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    wide = moved(base, padded, tmp_path / "wide", pad_vocab_to=ROWS + 4)
    assert tf.LlamaForCausalLM.from_pretrained(wide).config.vocab_size == ROWS + 4


def test_calibration_fits_a_model_of_few_positions(tmp_path: Path) -> None:
    config = tf.GPT2Config(
        vocab_size=ROWS, n_embd=32, n_layer=1, n_head=2, n_positions=128, bos_token_id=0, eos_token_id=0
    )
    base = saved(tf.GPT2LMHeadModel(config), tmp_path / "base", byte_level())
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    out = moved(base, donor, tmp_path / "out", calibrate="shift")
    assert json.loads((out / "tokswap.json").read_text())["calibration"]["kind"] == "shift"


def test_a_masked_language_model_is_moved_without_calibration(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
    model = tf.BertForMaskedLM(tf.BertConfig(**small | {"initializer_range": 0.5}))
    torch.nn.init.normal_(model.cls.predictions.bias)
    base = saved(model, tmp_path / "base", byte_level())
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    out = moved(base, donor, tmp_path / "out", calibrate="auto")
    assert json.loads((out / "tokswap.json").read_text())["calibration"]["kind"] == "none"
    written = tf.BertForMaskedLM.from_pretrained(out)
    head = written.cls.predictions.decoder
    assert torch.equal(head.weight, written.get_input_embeddings().weight)
    assert torch.equal(head.bias, table_of(out, "cls.predictions.bias"))
    old, new = (tf.PreTrainedTokenizerFast(tokenizer_file=str(f / "tokenizer.json")) for f in (base, out))
    for letter in "abcxyzT":
        before, after = old.convert_tokens_to_ids(letter), new.convert_tokens_to_ids(letter)
        assert head.bias[after] == model.cls.predictions.bias[before]
    with pytest.raises(tokswap.TokswapError, match="tokens to the right"):
        moved(base, donor, tmp_path / "other", calibrate="shift")


@pytest.mark.parametrize("device", ["meta", "nonsense"])
def test_a_device_that_holds_no_numbers_is_refused(device: str, tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    with pytest.raises(tokswap.TokswapError, match="can't be used"):
        moved(base, base, tmp_path / "out", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what is told where there is no GPU")
def test_a_gpu_that_is_not_there_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(tokswap.TokswapError) as caught:
        choose_device("cuda")
    assert "cuda" in caught.value.what and "cuda" not in caught.value.hint and "cpu" in caught.value.hint


def test_a_template_that_is_lost_is_warned_of(tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    how: dict[str, Any] = {"out": tmp_path / "out", "method": "subword", "dry_run": True}

    def told() -> bool:
        return any("chat template" in warning for warning in tokswap.transplant(base, donor, **how).warnings)

    assert not told()
    (base / "chat_template.jinja").write_text("{{ messages }}")
    assert told()
    (donor / "chat_template.jinja").write_text("{{ messages }}")
    assert not told()


@pytest.mark.parametrize("starts", [False, True])
def test_the_card_says_how_a_text_begins(starts: bool, tmp_path: Path) -> None:
    tokenizer = with_start(byte_level(), "<s>") if starts else byte_level()
    base = saved(llama(), tmp_path / "base", tokenizer)
    out = moved(base, with_tokenizer(tmp_path / "donor", sentencepiece()), tmp_path / "out")
    said = next(line for line in (out / "README.md").read_text().splitlines() if "a text begins" in line)
    first = tf.AutoTokenizer.from_pretrained(out)("the wall").input_ids[0]
    assert ("begins with `<s>`, which the tokenizer here adds" in said) == starts == (first == 0)
    assert ("begins without a start token, and the tokenizer here adds none" in said) != starts


def test_auto_takes_what_the_donor_allows_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    donor = saved(llama(), tmp_path / "donor", sentencepiece())
    alone = with_tokenizer(tmp_path / "alone", sentencepiece())

    def chosen(donor: Path) -> tuple[str, str]:
        facts = tokswap.transplant(base, donor, dry_run=True).facts
        return facts["method"], facts["why_this_method"]

    assert chosen(donor)[0] == "subword" and "share only" in chosen(donor)[1]
    monkeypatch.setattr(plan, "ENOUGH_ANCHORS", 20)
    assert chosen(donor)[0] == "kriging" and "the donor has weights" in chosen(donor)[1]
    assert chosen(alone) == ("subword", "the donor is a tokenizer without weights")
