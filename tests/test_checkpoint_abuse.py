"""Broken and hostile checkpoint folders: one small generator per abuse, each refused by name, fast."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_checkpoints import store, table

from tokswap.checkpoint import open_checkpoint
from tokswap.errors import TokswapError
from tokswap.safetensors_header import MAX_TENSORS


def raw(header: bytes | dict[str, Any], data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def one(start: int, end: int, dtype: str = "U8", shape: list[Any] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [end - start], "data_offsets": [start, end]}


BAD_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "few bytes": (lambda: b"abc", "truncated"),
    "cut header": (lambda: raw({"a": one(0, 4)})[:20], "truncated inside its header"),
    "cut data": (lambda: raw({"a": one(0, 4)}, b"123"), "truncated"),
    "trailing": (lambda: raw({"a": one(0, 4)}, b"12345"), "after its last tensor"),
    "hole": (lambda: raw({"a": one(0, 4), "b": one(5, 8)}, bytes(8)), "hole"),
    "hole at the start": (lambda: raw({"a": one(1, 4)}, bytes(4)), "hole"),
    "overlap": (lambda: raw({"a": one(0, 4), "b": one(2, 8)}, bytes(8)), "overlaps"),
    "same place": (lambda: raw({"a": one(0, 4), "b": one(0, 4)}, bytes(4)), "overlaps"),
    "wrong size": (lambda: raw({"a": one(0, 4, "F32", [2])}, bytes(4)), "stores 4 bytes"),
    "backwards": (lambda: raw({"a": one(4, 0, "U8", [4])}, bytes(4)), "stores"),
    "unknown dtype": (lambda: raw({"a": one(0, 4, "F7")}, bytes(4)), "unknown dtype"),
    "negative": (lambda: raw({"a": one(0, 4, "U8", [-2, -2])}, bytes(4)), "no valid shape"),
    "not a number": (lambda: raw({"a": one(0, 1, "U8", [True])}, bytes(1)), "no valid shape"),
    "huge product": (lambda: raw({"a": one(0, 4, "U8", [2**62] * 30)}, bytes(4)), "stores"),
    "many dimensions": (lambda: raw({"a": one(0, 1, "U8", [1] * 10_000)}, bytes(1)), "no valid shape"),
    "huge offset": (
        lambda: raw(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,' + b"9" * 5000 + b"]}}"),
        "JSON",
    ),
    "three offsets": (
        lambda: raw({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0, 0]}}),
        "data_offsets",
    ),
    "no description": (lambda: raw({"a": 3}), "no description"),
    "duplicate names": (
        lambda: raw(
            b'{"a":' + json.dumps(one(0, 4)).encode() + b',"a":' + json.dumps(one(0, 4)).encode() + b"}",
            bytes(4),
        ),
        "twice",
    ),
    "duplicate fields": (
        lambda: raw(b'{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"1"),
        "twice",
    ),
    "half a surrogate pair": (
        lambda: raw(b'{"\\ud800":' + json.dumps(one(0, 1)).encode() + b"}", b"1"),
        "valid text",
    ),
    "not JSON": (lambda: raw(b"{nothing}"), "no valid JSON"),
    "not UTF-8": (lambda: raw(b'{"\xff":0}'), "no valid JSON"),
    "a list": (lambda: raw(b"[]"), "doesn't open"),
    "deep": (lambda: raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested"),
    "metadata of numbers": (lambda: raw({"__metadata__": {"a": 1}}), "__metadata__"),
    "metadata of no kind": (lambda: raw({"__metadata__": []}), "__metadata__"),
    "long header": (lambda: (25_000_001).to_bytes(8, "little") + b"{}", "claims a header"),
    "endless header": (lambda: b"\xff" * 8 + b"{}", "claims a header"),
    "many tensors": (
        lambda: raw(
            (
                "{" + ",".join(f'"{i:x}":{json.dumps(one(0, 0))}' for i in range(MAX_TENSORS + 1)) + "}"
            ).encode()
        ),
        "more than 200,000",
    ),
    "many lists": (lambda: raw(b'{"a":[' + b"[]," * 8_000_000 + b"[]]}"), "more than 200,000"),
    "a Git-LFS pointer": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "Git-LFS",
    ),
}


@pytest.mark.parametrize("abuse", BAD_FILES)
def test_a_bad_safetensors_file_is_refused_quickly(tmp_path: Path, abuse: str) -> None:
    make, said = BAD_FILES[abuse]
    (tmp_path / "model.safetensors").write_bytes(make())
    start = time.process_time()  # whatever else the machine does
    with pytest.raises(TokswapError, match=said) as caught:
        open_checkpoint(tmp_path)
    assert time.process_time() - start < 2
    assert "model.safetensors" in caught.value.what
    assert caught.value.hint
    assert len(caught.value.what) < 1000


def test_a_git_lfs_pointer_says_what_to_run(tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(BAD_FILES["a Git-LFS pointer"][0]())
        with pytest.raises(TokswapError) as caught:
            open_checkpoint(folder)
        assert "git lfs pull" in caught.value.hint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "model.safetensors.index.json"])
def test_a_directory_or_a_dangling_link_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TokswapError, match="directory"):
        open_checkpoint(tmp_path)
    (tmp_path / name).rmdir()
    (tmp_path / name).symlink_to(tmp_path / "gone")
    with pytest.raises(TokswapError, match="can't be read"):
        open_checkpoint(tmp_path)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(TokswapError, match="regular file"):
        open_checkpoint(tmp_path)


BAD_JSON: dict[str, tuple[bytes, str]] = {
    "truncated": (b'{"a": [1, 2', "no valid JSON"),
    "empty": (b"", "no valid JSON"),
    "a list": (b"[1]", "no JSON object"),
    "null": (b"null", "no JSON object"),
    "250 deep": (b'{"a":' + b"[" * 250 + b"]" * 250 + b"}", "nested"),
    "a million deep": (b"[" * 1_000_000, "nested"),
    "not UTF-8": (b'{"a": "\xff\xfe"}', "no valid JSON"),
    "a huge number": (b'{"a": ' + b"9" * 10_000 + b"}", "no valid JSON"),
}


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize("abuse", BAD_JSON)
def test_a_bad_json_file_is_refused_by_name(tmp_path: Path, name: str, abuse: str) -> None:
    content, said = BAD_JSON[abuse]
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TokswapError, match=said) as caught:
        open_checkpoint(tmp_path)
    assert name in caught.value.what


def indexed(folder: Path, weight_map: Any) -> Path:
    save_file({"a": torch.ones(2)}, folder / "one.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )
    return folder


@pytest.mark.parametrize(
    "place",
    [
        "../one.safetensors", "/etc/one.safetensors", "sub/../../one.safetensors", "sub/one.safetensors",
        "C:\\one.safetensors", "C:one.safetensors", "\\\\host\\share\\one.safetensors", "..\\one.safetensors",
        "one.bin", "one.safetensors\n", "one.safetensors\x00", ".safetensors", "..", "", 3, None, ["one.safetensors"],
    ],
)  # fmt: skip
def test_an_index_may_only_name_plain_files_beside_it(tmp_path: Path, place: Any) -> None:
    with pytest.raises(TokswapError, match="plain"):
        open_checkpoint(indexed(tmp_path, {"a": place}))


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"a": "one.safetensors", "b": "one.safetensors"}, "named there but not stored"),
        ({"b": "one.safetensors"}, "disagree"),
        ({"a": "two.safetensors"}, "two.safetensors can't be read"),
        ({}, "no weight_map"),
        (None, "no weight_map"),
        ([], "no weight_map"),
    ],
)
def test_an_index_that_disagrees_with_its_shards_is_refused(
    tmp_path: Path, weight_map: Any, said: str
) -> None:
    with pytest.raises(TokswapError, match=said):
        open_checkpoint(indexed(tmp_path, weight_map))


def test_a_tensor_that_two_shards_hold_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(1)}, tmp_path / "two.safetensors")
    with pytest.raises(TokswapError, match="stored but not named"):
        open_checkpoint(indexed(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"}))


def test_duplicate_keys_of_an_index_are_refused(tmp_path: Path) -> None:
    indexed(tmp_path, {"a": "one.safetensors"})
    text = '{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(TokswapError, match="twice"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "pytorch_model-00001-of-00002.bin", "a.ckpt"]
)
def test_pickle_weights_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(TokswapError, match="pickle") as caught:
        open_checkpoint(tmp_path)
    assert "safetensors" in caught.value.hint


def test_pickles_beside_safetensors_and_training_leftovers_are_ignored(tmp_path: Path) -> None:
    folder = store(tmp_path / "a", {"embed_tokens.weight": table()})
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    assert open_checkpoint(folder).rows == 9
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "training_args.bin").write_bytes(b"\x80")
    assert open_checkpoint(tmp_path).tensors == {}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "neither a model nor a tokenizer"),
        (["adapter_model.safetensors"], "neither model.safetensors nor"),
        (["model-00001-of-00002.safetensors"], "neither model.safetensors nor"),
    ],
)
def test_folders_that_are_no_checkpoint_are_refused(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(TokswapError, match=said):
        open_checkpoint(tmp_path)


def test_a_missing_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match="doesn't exist"):
        open_checkpoint(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(TokswapError, match="is no folder"):
        open_checkpoint(tmp_path / "file")


def test_a_file_truncated_after_it_was_opened_is_an_error_and_no_crash(tmp_path: Path) -> None:
    base = open_checkpoint(store(tmp_path, {"embed_tokens.weight": table(50_000)}))
    os.truncate(tmp_path / "model.safetensors", 10_000)
    with pytest.raises(TokswapError, match="truncated while"):
        base.read("embed_tokens.weight")
