"""A checkpoint written as GGUF is the same model to our reader and to transformers', or is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from tiny_gguf import byte_level_fields, sentencepiece_fields, tiny_model, write_gguf

from tokswap.checkpoint import open_checkpoint
from tokswap.errors import TokswapError
from tokswap.evaluation.texts import default_texts
from tokswap.gguf_convert import convert_gguf
from tokswap.gguf_export import export_gguf, permuted, plan_gguf
from tokswap.pretokenizers import byte_level, split
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import vocab_of

IDS = torch.arange(5, 45)[None]
KINDS = [
    ("llama", True, byte_level_fields("smollm")),
    ("llama", False, sentencepiece_fields(True)),
    ("qwen2", True, byte_level_fields("qwen2")),
    ("qwen3", False, byte_level_fields("gpt-2")),
    ("gemma3", True, sentencepiece_fields()),
]


def folder_of(tmp_path: Path, arch: str, tied: bool, fields: dict[str, Any]) -> Path:
    """A tiny checkpoint with a tokenizer of its own, in bfloat16."""
    model = tiny_model(arch, len(fields["tokens"]), tied=tied)
    path = write_gguf(tmp_path / "first.gguf", arch, model, fields)
    convert_gguf(path, tmp_path / "model")
    return tmp_path / "model"


def changed(folder: Path, file: str, **more: Any) -> Path:
    data = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(data | more))
    return folder


def logits(where: Path, **how: Any) -> torch.Tensor:
    model = tf.AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32, **how)
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize(("arch", "tied", "fields"), KINDS)
def test_our_reader_gives_the_same_checkpoint_back(
    tmp_path: Path, arch: str, tied: bool, fields: dict[str, Any]
) -> None:
    folder = folder_of(tmp_path, arch, tied, fields)
    export_gguf(open_checkpoint(folder), tmp_path / "out.gguf")
    convert_gguf(tmp_path / "out.gguf", tmp_path / "back")
    before, after = open_checkpoint(folder), open_checkpoint(tmp_path / "back")
    assert before.tensors.keys() == after.tensors.keys()
    for name in before.tensors:
        assert torch.equal(before.read(name), after.read(name)), name
    assert (before.config, before.generation_config) == (after.config, after.generation_config)
    assert (before.tokenizer, before.tokenizer_config) == (after.tokenizer, after.tokenizer_config)


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16"])
@pytest.mark.parametrize(("arch", "tied", "fields"), [KINDS[0], KINDS[2], KINDS[4]])
def test_transformers_reads_the_same_model(
    tmp_path: Path, arch: str, tied: bool, fields: dict[str, Any], kind: str
) -> None:
    folder = folder_of(tmp_path, arch, tied, fields)
    export_gguf(open_checkpoint(folder), tmp_path / "out.gguf", kind=kind)
    # transformers takes the 256 of the published Gemmas for granted, ours has narrower heads
    how = {"query_pre_attn_scalar": 16} if arch == "gemma3" else {}
    theirs = logits(tmp_path, gguf_file="out.gguf", **how)
    assert torch.allclose(theirs, logits(folder), atol=2e-3 if kind == "f16" else 1e-5)


def test_q_and_k_rows_are_put_as_llama_cpp_rotates_them() -> None:
    from tiny_gguf import permuted as by_converter

    values = torch.arange(24.0).reshape(12, 2)
    assert (permuted(values, 3).numpy() == by_converter(values.numpy(), 3)).all()


def test_llama_3_scaling_comes_back(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *KINDS[0])
    rope = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"original_max_position_embeddings": 8192, "rope_theta": 500000.0}
    changed(folder, "config.json", rope_parameters=rope, rope_scaling=None, rope_theta=500000.0)
    export_gguf(open_checkpoint(folder), tmp_path / "out.gguf")
    convert_gguf(tmp_path / "out.gguf", tmp_path / "back")
    assert torch.equal(logits(tmp_path / "back"), logits(folder))
    assert open_checkpoint(tmp_path / "back").config["rope_parameters"] == rope


def _superwords(data: dict[str, Any]) -> None:
    data["pre_tokenizer"] = {
        "type": "Sequence", "pretokenizers": [split(r"[^\d]+|\d"), byte_level(use_regex=False)]
    }  # fmt: skip


def _lower(data: dict[str, Any]) -> None:
    data["normalizer"] = {"type": "Lowercase"}


def _unigram(data: dict[str, Any]) -> None:
    data["added_tokens"] = []
    data["model"] = {"type": "Unigram", "vocab": [["x1", -1.0]], "unk_id": 0}


def _taken_whole(data: dict[str, Any]) -> None:
    data["model"]["ignore_merges"] = True


def _one_way(data: dict[str, Any]) -> None:
    merges = data["model"]["merges"]
    data["model"]["merges"] = [merge for merge in merges if merge != ["▁", "the"] and merge != ["▁t", "he"]]


@pytest.mark.parametrize(
    ("which", "change", "said"),
    [
        (0, _superwords, "no name for the pattern"),
        (0, _lower, "normalise"),
        (0, _unigram, "kind Unigram"),
        (0, _taken_whole, "taken whole"),
        (4, _one_way, "'▁the'"),
    ],
)
def test_a_tokenizer_that_a_gguf_would_change_is_refused(
    tmp_path: Path, which: int, change: Any, said: str
) -> None:
    folder = folder_of(tmp_path, *KINDS[which])
    data = json.loads((folder / "tokenizer.json").read_text())
    change(data)
    (folder / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(TokswapError, match=said):
        plan_gguf(open_checkpoint(folder))


@pytest.mark.parametrize(
    ("which", "more", "said"),
    [
        (0, {"model_type": "gpt_neox"}, "type gpt_neox"),
        (0, {"hidden_act": "gelu"}, "hidden_act is 'gelu', not 'silu'"),
        (4, {"query_pre_attn_scalar": 99}, "query_pre_attn_scalar is 99, not 16"),
        (4, {"layer_types": ["full_attention"] * 7}, "layer_types"),
    ],
)
def test_a_model_that_a_gguf_would_change_is_refused(
    tmp_path: Path, which: int, more: dict[str, Any], said: str
) -> None:
    folder = changed(folder_of(tmp_path, *KINDS[which]), "config.json", **more)
    with pytest.raises(TokswapError, match=said):
        plan_gguf(open_checkpoint(folder))


@pytest.mark.real
@pytest.mark.parametrize("alias", ["smollm2", "gemma3"])
def test_a_real_model_makes_the_round_trip(tmp_path: Path, alias: str) -> None:
    from tokswap.sources import fetch

    folder = fetch(alias)
    export_gguf(open_checkpoint(folder), tmp_path / "out.gguf")
    convert_gguf(tmp_path / "out.gguf", tmp_path / "back")
    before, after = open_checkpoint(folder), open_checkpoint(tmp_path / "back")
    assert before.tensors.keys() == after.tensors.keys()
    for name in before.tensors:
        assert torch.equal(before.read(name), after.read(name)), name
    assert before.config == after.config
    assert vocab_of(before).texts == vocab_of(after).texts
    assert before.tokenizer["added_tokens"] == after.tokenizer["added_tokens"]
    # Merges into added tokens are left out, so the lists may differ; what they do to text may not.
    one, other = load_tokenizer(before.tokenizer), load_tokenizer(after.tokenizer)
    for text in default_texts().values():
        for document in text.documents:
            assert one.encode(document).ids == other.encode(document).ids


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = folder_of(tmp_path, *KINDS[0])
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.2.mlp.up_proj.weight"][0, 0] = 1e9
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TokswapError, match=r"up_proj.*F16"):
        export_gguf(open_checkpoint(folder), tmp_path / "out.gguf", kind="f16")
    assert sorted(tmp_path.iterdir()) == before
    export_gguf(open_checkpoint(folder), tmp_path / "out.gguf")
    with pytest.raises(TokswapError, match="exists"):
        export_gguf(open_checkpoint(folder), tmp_path / "out.gguf")


def test_a_transplant_writes_the_gguf_of_its_folder(tmp_path: Path) -> None:
    import hashlib

    import tokswap

    base = folder_of(tmp_path, *KINDS[0])
    (tmp_path / "d").mkdir()
    donor = folder_of(tmp_path / "d", *KINDS[2])
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False, "gguf": True}
    tokswap.transplant(str(base), str(donor), out=str(tmp_path / "out"), **how)
    convert_gguf(tmp_path / "out" / "model.gguf", tmp_path / "back")
    assert torch.equal(logits(tmp_path / "back"), logits(tmp_path / "out"))
    before, after = open_checkpoint(tmp_path / "out"), open_checkpoint(tmp_path / "back")
    assert before.tokenizer["model"]["vocab"].items() <= after.tokenizer["model"]["vocab"].items()
    listed = json.loads((tmp_path / "out" / "tokswap.json").read_text())["files"]["model.gguf"]
    assert listed["sha256"] == hashlib.sha256((tmp_path / "out" / "model.gguf").read_bytes()).hexdigest()


def test_a_transplant_whose_gguf_cannot_be_is_refused_before_it_begins(tmp_path: Path) -> None:
    import tokswap

    base = folder_of(tmp_path, *KINDS[0])
    (tmp_path / "d").mkdir()
    donor = folder_of(tmp_path / "d", *KINDS[0])
    data = json.loads((donor / "tokenizer.json").read_text())
    _superwords(data)
    (donor / "tokenizer.json").write_text(json.dumps(data))
    before = sorted(tmp_path.iterdir())
    seen: list[Any] = []
    with pytest.raises(TokswapError, match="no name for the pattern"):
        tokswap.transplant(str(base), str(donor), out=str(tmp_path / "out"), gguf=True, on_plan=seen.append)
    assert not seen and sorted(tmp_path.iterdir()) == before


def test_a_gguf_that_stops_half_way_leaves_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tokswap
    import tokswap.gguf_beside

    base = folder_of(tmp_path, *KINDS[0])
    (tmp_path / "d").mkdir()
    donor = folder_of(tmp_path / "d", *KINDS[2])
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False, "gguf": True}

    def half(plan: Any, checkpoint: Any, path: Path, name: str) -> None:
        path.write_bytes(b"GGUF")
        raise KeyboardInterrupt

    whole = tokswap.gguf_beside.write_gguf
    monkeypatch.setattr(tokswap.gguf_beside, "write_gguf", half)
    with pytest.raises(KeyboardInterrupt):
        tokswap.transplant(str(base), str(donor), out=str(tmp_path / "out"), **how)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(tokswap.gguf_beside, "write_gguf", whole)
    tokswap.transplant(str(base), str(donor), out=str(tmp_path / "out"), **how)
    assert (tmp_path / "out" / "model.gguf").stat().st_size > 1000
