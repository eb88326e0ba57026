"""Writing checkpoints: what is replaced, what is copied byte for byte, what is refused before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from pathlib import Path

import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_checkpoints import EMBED, HEAD, SMALL, Counted, beside, data_of, llama, put, rows, stored

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit import SYSTEM, planned_size, shapes_of
from tokswap.safetensors_header import build_header

torch.set_num_threads(1)


# --- what is written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", ["50GB", "5KB"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_only_the_replaced_tensors_change(tmp_path: Path, shards: str, dtype: torch.dtype) -> None:
    base = llama(tmp_path / "base", shards=shards, dtype=dtype)
    new = {EMBED: rows(131, dtype=dtype), HEAD: rows(131, dtype=dtype, seed=2)}
    manifest = put(base, tmp_path / "out", new, config={"vocab_size": 131})
    out = open_checkpoint(tmp_path / "out")
    assert set(out.tensors) == set(base.tensors)
    for name in base.tensors:
        if name in new:
            assert torch.equal(out.read(name), new[name])
        else:
            assert data_of(out, name) == data_of(base, name)
        assert out.tensors[name].shard == base.tensors[name].shard
    assert manifest["untouched"]["tensors"] == len(base.tensors) - 2
    assert manifest["untouched"]["bytes"] == sum(i.nbytes for n, i in base.tensors.items() if n not in new)
    assert beside(tmp_path / "out") == []


def test_the_output_loads_and_computes_with_the_new_rows(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", shards="5KB", dtype=torch.bfloat16)
    new = {EMBED: rows(131, dtype=torch.bfloat16), HEAD: rows(131, dtype=torch.bfloat16, seed=2)}
    put(base, tmp_path / "out", new, config={"vocab_size": 131})
    model = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.get_input_embeddings().weight, new[EMBED])
    assert torch.equal(model.get_output_embeddings().weight, new[HEAD])
    assert model(torch.tensor([[3, 130]])).logits.shape == (1, 2, 131)


def test_untouched_shards_are_the_same_files_and_the_index_is_right(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", shards="5KB")
    put(base, tmp_path / "out", {EMBED: rows(131)}, config={"vocab_size": 131})
    touched = base.tensors[EMBED].shard
    for shard in base.shards:
        same = (tmp_path / "out" / shard).read_bytes() == (tmp_path / "base" / shard).read_bytes()
        assert same == (shard != touched)
    out = open_checkpoint(tmp_path / "out")
    assert out.index is not None and base.index is not None
    assert out.index["total_size"] == sum(info.nbytes for info in out.tensors.values())
    grown = (131 - 97) * 16
    assert out.index["total_parameters"] == base.index["total_parameters"] + grown
    assert all(shard.metadata["format"] == "pt" for shard in out.shards.values())


@pytest.mark.parametrize("shards", ["50GB", "5KB"])
def test_writing_the_same_rows_again_gives_the_same_files(tmp_path: Path, shards: str) -> None:
    base = llama(tmp_path / "base", shards=shards)
    put(base, tmp_path / "out", {EMBED: base.read(EMBED), HEAD: base.read(HEAD)})
    for shard in base.shards:
        assert (tmp_path / "out" / shard).read_bytes() == (tmp_path / "base" / shard).read_bytes()


def test_only_the_given_files_are_written(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    files = {
        "README.md": b"card",
        "tokenizer.json": b"{}",
        "additional_chat_templates/tool.jinja": b"{{ x }}",
    }
    put(base, tmp_path / "out", {EMBED: rows(97)}, files=files)
    found = {
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == {*files, "config.json", "model.safetensors", "tokswap.json"}
    assert (tmp_path / "out" / "README.md").read_bytes() == b"card"


def test_the_manifest_has_the_sha256_of_every_other_file(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", shards="5KB")
    manifest = put(base, tmp_path / "out", {EMBED: rows(97)}, recipe_id="abc")
    assert json.loads((tmp_path / "out" / "tokswap.json").read_text()) == manifest
    assert (manifest["made_by"], manifest["recipe_id"], manifest["schema_version"]) == ("a test", "abc", 1)
    names = {path.name for path in (tmp_path / "out").iterdir()} - {"tokswap.json"}
    assert set(manifest["files"]) == names
    for name, facts in manifest["files"].items():
        content = (tmp_path / "out" / name).read_bytes()
        assert facts == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_untouched_digest_does_not_depend_on_sharding(tmp_path: Path) -> None:
    digests = {
        put(
            llama(tmp_path / shards, shards=shards),
            tmp_path / f"out{shards}",
            {EMBED: rows(97), HEAD: rows(97)},
        )["untouched"]["sha256"]
        for shards in ("50GB", "5KB", "20KB")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("shards", ["50GB", "5KB"])
def test_a_new_head_goes_beside_the_input_embedding(tmp_path: Path, shards: str) -> None:
    base = llama(tmp_path / "base", tied=True, shards=shards)
    new = {EMBED: rows(97), HEAD: rows(97, seed=2)}
    put(base, tmp_path / "out", new, config={"tie_word_embeddings": False})
    out = open_checkpoint(tmp_path / "out")
    assert out.tensors[HEAD].shard == base.tensors[EMBED].shard
    assert not out.tied
    model = tf.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(model.lm_head.weight, new[HEAD])


@pytest.mark.parametrize("shards", ["50GB", "5KB"])
def test_dropped_tensors_are_gone_with_their_shard_when_it_holds_nothing_else(
    tmp_path: Path, shards: str
) -> None:
    base = llama(tmp_path / "base", shards=shards)
    put(base, tmp_path / "out", {EMBED: rows(97)}, drop=[HEAD], config={"tie_word_embeddings": True})
    out = open_checkpoint(tmp_path / "out")
    assert set(base.tensors) - set(out.tensors) == {HEAD}
    assert out.tied
    assert {path.name for path in (tmp_path / "out").glob("*.safetensors")} == set(out.shards)


def test_a_masked_model_takes_new_rows_and_biases(tmp_path: Path) -> None:
    tf.BertForMaskedLM(tf.BertConfig(**SMALL)).save_pretrained(tmp_path / "base")
    base = open_checkpoint(tmp_path / "base")
    assert base.bias_name is not None
    new = {base.input_name: rows(131), base.bias_name: rows(131, 1).flatten()}
    put(base, tmp_path / "out", new, config={"vocab_size": 131})
    model = tf.AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    assert torch.equal(model.cls.predictions.bias, new[base.bias_name])
    assert torch.equal(model.cls.predictions.decoder.weight, new[base.input_name])


def test_shards_without_a_format_get_one_and_other_metadata_stays(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    save_file({EMBED: rows(9), "b": rows(2)}, folder / "model.safetensors", metadata={"who": "me"})
    put(open_checkpoint(folder), tmp_path / "out", {})
    assert open_checkpoint(tmp_path / "out").shards["model.safetensors"].metadata == {
        "format": "pt",
        "who": "me",
    }


def test_tensors_stay_aligned_when_a_dtype_changes(tmp_path: Path) -> None:
    tensors = {
        EMBED: rows(9, 3),
        "z.later": torch.ones(3, dtype=torch.float32),
        "bytes": torch.ones(5, dtype=torch.uint8),
    }
    base = stored(tmp_path / "base", tensors)
    put(base, tmp_path / "out", {EMBED: rows(9, 3).bfloat16()})
    out = open_checkpoint(tmp_path / "out")
    assert out.tensors["z.later"].start % 4 == 0
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["z.later"], tensors["z.later"])


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip
TENSORS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3), st.booleans()),
    min_size=1,
    max_size=6,
)


def made(dtype: torch.dtype, shape: list[int], seed: int) -> torch.Tensor:
    return torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@settings(max_examples=30, deadline=None)
@given(TENSORS, st.integers(1, 3))
def test_write_then_read_is_the_identity(
    layout: dict[str, tuple[torch.dtype, list[int], bool]], parts: int
) -> None:
    old = {name: made(dtype, shape, 1) for name, (dtype, shape, _) in layout.items()}
    new = {name: made(dtype, [2, *shape], 2) for name, (dtype, shape, is_new) in layout.items() if is_new}
    with tempfile.TemporaryDirectory() as root:
        base = sharded(Path(root) / "base", old, parts)
        put(base, Path(root) / "out", new)
        out = open_checkpoint(Path(root) / "out")
        loaded: dict[str, torch.Tensor] = {}
        for shard in out.shards:
            loaded |= load_file(Path(root) / "out" / shard)
        for name, want in (old | new).items():
            for found in (out.read(name), loaded[name]):
                assert found.dtype == want.dtype and found.shape == want.shape
                assert torch.equal(found.double(), want.double())


def sharded(folder: Path, tensors: dict[str, torch.Tensor], parts: int) -> Checkpoint:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    places: dict[str, str] = {}
    for part in range(parts):
        names = sorted(tensors)[part::parts]
        shard = f"model-{part + 1:05}-of-{parts:05}.safetensors"
        if names:
            save_file({name: tensors[name] for name in names}, folder / shard, metadata={"format": "pt"})
            places |= dict.fromkeys(names, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return open_checkpoint(folder)


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    base = stored(tmp_path / "base", {EMBED: rows(9, 4), "scale": torch.ones(())})
    new = {EMBED: rows(4, 9).t(), "scale": torch.tensor(3.0)}
    put(base, tmp_path / "out", new)
    assert torch.equal(open_checkpoint(tmp_path / "out").read(EMBED), new[EMBED])
    assert open_checkpoint(tmp_path / "out").read("scale").item() == 3


def test_tensors_larger_than_a_block_are_copied_whole(tmp_path: Path) -> None:
    large = torch.arange(5_000_000, dtype=torch.int32)
    base = stored(tmp_path / "base", {EMBED: rows(9), "large": large, "other": rows(3)})
    put(base, tmp_path / "out", {EMBED: rows(700_000, 4)})
    out = open_checkpoint(tmp_path / "out")
    assert torch.equal(out.read("large"), large)
    assert torch.equal(out.read(EMBED), rows(700_000, 4))


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_permissions_are_those_of_the_umask(tmp_path: Path, umask: int) -> None:
    base = llama(tmp_path / "base", shards="5KB")  # safetensors gives its files 0600
    before = os.umask(umask)
    try:
        put(base, tmp_path / "out", {EMBED: rows(97)}, system=SYSTEM)
    finally:
        os.umask(before)
    for path in (tmp_path / "out").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask, path.name


@pytest.mark.parametrize("whole", [True, False])
def test_a_sparse_base_is_copied_without_allocating(tmp_path: Path, whole: bool) -> None:
    size = 192 << 20
    entries = [("layers.0.weight", "U8", (size // 2,)), (EMBED, "F32", (9, 4)), ("tail", "U8", (size // 2,))]
    header, spans = build_header(entries, {"format": "pt"})
    folder = tmp_path / "base"
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        file.seek(spans[1][0])
        file.write(rows(9, 4).numpy().tobytes())
        file.truncate(spans[2][1])
    if (folder / "model.safetensors").stat().st_blocks * 512 > size // 2:
        pytest.skip("this file system has no sparse files")
    system = Counted()
    system.free = 20 << 20  # far less than the file's size
    put(open_checkpoint(folder), tmp_path / "out", {} if whole else {EMBED: rows(11, 4)}, system=system)
    written = tmp_path / "out" / "model.safetensors"
    assert written.stat().st_size >= size
    assert written.stat().st_blocks * 512 < 4 << 20
    assert torch.equal(open_checkpoint(tmp_path / "out").read(EMBED), rows(9, 4) if whole else rows(11, 4))


def test_the_planned_size_is_what_is_written(tmp_path: Path) -> None:
    for shards in ("50GB", "5KB"):
        base = llama(tmp_path / shards, shards=shards)
        new = {EMBED: rows(131)}
        out = tmp_path / f"out{shards}"
        put(base, out, new, drop=[HEAD], config={"tie_word_embeddings": True})
        weights = [path for path in out.iterdir() if "safetensors" in path.name]
        assert planned_size(base, new_shapes=shapes_of(new), drop=[HEAD]) == sum(
            p.stat().st_size for p in weights
        )


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", shards="5KB")
    seen: list[tuple[int, int]] = []
    put(
        base, tmp_path / "out", {EMBED: rows(131)}, on_progress=lambda done, total: seen.append((done, total))
    )
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    assert len({total for _, total in seen}) == 1


def test_a_missing_parent_is_made(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    put(base, tmp_path / "a" / "b" / "out", {EMBED: rows(97)})
    assert open_checkpoint(tmp_path / "a" / "b" / "out").rows == 97


def test_a_relative_output_is_written_where_the_process_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = llama(tmp_path / "base", tied=True)
    monkeypatch.chdir(tmp_path)
    put(base, Path("out"), {EMBED: rows(97)})
    assert open_checkpoint(tmp_path / "out").rows == 97
