"""Checkpoints of both layouts, and what becomes of broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_hypernets import residual, tiny

from tokswap.errors import TokswapError
from tokswap.hypernet.files import UNREAD, load_hypernet, write_hypernet
from tokswap.hypernet.flax_files import CHUNKED, FLAX_NAME, flax_bytes, read_flax

UNTIED: dict[str, Any] = {"separate_out_embeddings": True, "hn_embed_lang_id": True, "langs": ["de", "en"]}


@pytest.mark.parametrize("flax", [False, True], ids=["safetensors", "flax"])
@pytest.mark.parametrize("made", [tiny(), tiny(**UNTIED), residual()], ids=["zett", "untied", "residual"])
def test_what_was_written_is_read_back(made: Any, flax: bool, tmp_path: Path) -> None:
    write_hypernet(tmp_path, made, flax=flax)
    read = load_hypernet(tmp_path)
    assert read.config == made.config and read.parameters == made.parameters
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(read.network.state_dict()[name], tensor), name


def test_a_flax_file_as_flax_itself_writes_it() -> None:
    """The names and the transposition that convert_to_pt.py undoes, spelt out by hand."""
    import msgpack

    tree = msgpack.unpackb(flax_bytes(tiny(**UNTIED).network.state_dict()), raw=False)
    assert set(tree) == {
        "model", "fallback_embeddings", "input_projection", "output_projection", "output_projection_out",
        "in_scaler", "scaler", "out_scaler", "bias_projection",
    }  # fmt: skip
    assert set(tree["input_projection"]) == {"layers_0", "layers_1"}
    assert set(tree["input_projection"]["layers_1"]["ln"]) == {"scale", "bias"}
    assert "embedding" in tree["model"]["embeddings"]["lang_embedding"]
    layer = tree["model"]["encoder"]["layer"]["0"]
    assert set(layer["attention"]["self"]["query"]) == {"kernel", "bias"}
    shape, dtype, content = msgpack.unpackb(tree["input_projection"]["layers_0"]["kernel"].data, raw=False)
    assert (shape, dtype) == ([24, 16], "float32")
    kernel = np.frombuffer(content, np.float32).reshape(24, 16)
    weight = tiny(**UNTIED).network.state_dict()["input_projection.0.weight"]
    np.testing.assert_array_equal(kernel, weight.numpy().T)


def test_flax_files_in_chunks_in_bf16_and_without_the_table_of_words(tmp_path: Path) -> None:
    import msgpack

    made = tiny()
    tensors = dict(made.network.state_dict())
    del tensors[UNREAD]
    tree = msgpack.unpackb(flax_bytes(tensors), raw=False)
    weight = tensors["input_projection.0.weight"]  # (h n)
    flat = weight.T.contiguous().reshape(-1).numpy()

    def packed(array: Any, dtype: str) -> Any:
        return msgpack.ExtType(1, msgpack.packb((array.shape, dtype, array.tobytes()), use_bin_type=True))

    tree["input_projection"]["layers_0"]["kernel"] = {
        CHUNKED: True,
        "shape": {"0": 12, "1": 16},
        "chunks": {"0": packed(flat[:100], "float32"), "1": packed(flat[100:], "float32")},
    }
    table = tensors["fallback_embeddings.weight"].to(torch.bfloat16)
    half = table.view(torch.int16).numpy().view(np.uint16)
    tree["fallback_embeddings"]["embedding"] = packed(half, "bfloat16")
    write_hypernet(tmp_path, made, flax=True)
    (tmp_path / FLAX_NAME).write_bytes(msgpack.packb(tree, use_bin_type=True))
    read = load_hypernet(tmp_path).network.state_dict()
    assert torch.equal(read["input_projection.0.weight"], weight)
    assert torch.equal(read["fallback_embeddings.weight"], table.float())
    assert not read[UNREAD].any()


def test_older_buffers_are_ignored(tmp_path: Path) -> None:
    write_hypernet(tmp_path, tiny())
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(
        tensors | {"model.embeddings.position_ids": torch.arange(514)[None]}, tmp_path / "model.safetensors"
    )
    assert load_hypernet(tmp_path).parameters == tiny().parameters


def damaged(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    write_hypernet(folder, tiny())
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors | ({} if tensor is None else {name: tensor}), folder / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("scaler.b", None, "lacks the tensor scaler.b"),
        (
            "model.encoder.layer.1.output.dense.weight",
            torch.zeros(16, 23),
            r"\[16, 23\].*asks for \[16, 24\]",
        ),
        ("in_scaler.w", torch.full((1, 12), torch.nan), "in_scaler.w holds numbers that are not finite"),
        ("in_scaler.w", torch.full((1, 12), torch.inf), "not finite"),
    ],
)
def test_damaged_tensors_are_named(
    name: str, tensor: torch.Tensor | None, words: str, tmp_path: Path
) -> None:
    damaged(tmp_path, name, tensor)
    with pytest.raises(TokswapError, match=words) as caught:
        load_hypernet(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", b"{", "no valid JSON"),
        ("config.json", b"[]", "no JSON object"),
        ("config.json", b'{"n_embd": 12}', "hn_hidden_size: Field required"),
        ("config.json", b'{"model_type": "llama"}', "model_type"),
        ("model.safetensors", b"", "empty"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS"),
        ("model.safetensors", None, "neither model.safetensors nor flax_model.msgpack"),
    ],
)
def test_broken_files_are_refused(file: str, content: bytes | None, words: str, tmp_path: Path) -> None:
    write_hypernet(tmp_path, tiny())
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(TokswapError, match=words) as caught:
        load_hypernet(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xc1", b"\x81\xa1a\x01", b"\x81\xa1a\xc7\x00\x02", b"\x93\x01\x02\x03", b"\x81\xa1a\xc7\x01\x01\xc0",
        b"\x81\xa1a" * 5000 + b"\x80", b"\x81\xa1a\xdf\xff\xff\xff\xff",
    ],
)  # fmt: skip
def test_hostile_flax_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FLAX_NAME).write_bytes(content)
    with pytest.raises(TokswapError, match="no Flax checkpoint") as caught:
        read_flax(tmp_path / FLAX_NAME)
    assert caught.value.hint


def test_a_flax_file_cut_short_is_refused(tmp_path: Path) -> None:
    whole = flax_bytes(tiny().network.state_dict())
    for size in (1, len(whole) // 3, len(whole) - 1):
        (tmp_path / FLAX_NAME).write_bytes(whole[:size])
        with pytest.raises(TokswapError, match="no Flax checkpoint"):
            read_flax(tmp_path / FLAX_NAME)


def test_an_array_whose_shape_lies_is_refused(tmp_path: Path) -> None:
    import msgpack

    for entry in (((1 << 40,), "float32", b"1234"), ((1,), "object", b"1234"), ((-1, 7), "float32", b"1234")):
        tree = {"a": msgpack.ExtType(1, msgpack.packb(entry))}
        (tmp_path / FLAX_NAME).write_bytes(msgpack.packb(tree))
        with pytest.raises(TokswapError, match="no Flax checkpoint"):
            read_flax(tmp_path / FLAX_NAME)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    write_hypernet(tmp_path, tiny())
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(TokswapError, match="pickle"):
        load_hypernet(tmp_path)


def test_a_configuration_of_another_network_does_not_fit(tmp_path: Path) -> None:
    write_hypernet(tmp_path, tiny(hn_predict_bias=True))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hn_predict_bias": False}))
    with pytest.raises(TokswapError, match="bias_projection"):
        load_hypernet(tmp_path)
