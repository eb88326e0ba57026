"""Writing checkpoints: what is replaced, what is copied byte for byte, what is refused before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit import System, check_output, planned_size, shapes_of, write
from tokswap.errors import TokswapError
from tokswap.safetensors_header import build_header

torch.set_num_threads(1)

SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def llama(
    folder: Path, *, tied: bool = False, shards: str = "50GB", dtype: torch.dtype = torch.float32
) -> Checkpoint:
    torch.manual_seed(0)
    model = tf.LlamaForCausalLM(tf.LlamaConfig(**SMALL, tie_word_embeddings=tied)).to(dtype)
    model.save_pretrained(folder, max_shard_size=shards)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer.model").write_bytes(b"stale")
    return open_checkpoint(folder)


def stored(folder: Path, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text("{}")
    return open_checkpoint(folder)


def put(base: Checkpoint, out: Path, tensors: dict[str, torch.Tensor], **more: Any) -> dict[str, Any]:
    config = dict(base.config) | more.pop("config", {})
    files = {"config.json": json.dumps(config).encode()} | more.pop("files", {})
    more = {"recipe_id": "r1", "manifest": {"made_by": "a test"}} | more
    return write(base, out, tensors=tensors, files=files, **more)


def rows(count: int, width: int = 16, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def data_of(checkpoint: Checkpoint, name: str) -> bytes:
    info = checkpoint.tensors[name]
    return (checkpoint.folder / info.shard).read_bytes()[info.start : info.end]


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if ".tokswap-" in path.name)


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
        "later": torch.ones(3, dtype=torch.float32),
        "bytes": torch.ones(5, dtype=torch.uint8),
    }
    base = stored(tmp_path / "base", tensors)
    put(base, tmp_path / "out", {EMBED: rows(9, 3).bfloat16()})
    out = open_checkpoint(tmp_path / "out")
    assert out.tensors["later"].start % 4 == 0
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["later"], tensors["later"])


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
        put(base, tmp_path / "out", {EMBED: rows(97)})
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


class Counted(System):
    """A system with a made-up amount of free disk."""

    free: int | None = None

    def free_bytes(self, path: Path) -> int:
        return super().free_bytes(path) if self.free is None else self.free


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


# --- what is refused -----------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def a_file(root: Path) -> Path:
    (root / "out").write_text("precious")
    return root / "out"


def a_folder(root: Path) -> Path:
    (root / "out").mkdir()
    return root / "out"


def a_project(root: Path) -> Path:
    (a_folder(root) / "thesis.txt").write_text("precious")
    return root / "out"


def a_link(root: Path) -> Path:
    (root / "out").symlink_to(root / "base", target_is_directory=True)
    return root / "out"


def below_a_file(root: Path) -> Path:
    return a_file(root) / "sub"


REFUSED: dict[str, tuple[Callable[[Path], Path], bool, str]] = {
    "the base": (lambda root: root / "base", True, "is the base itself"),
    "the base by another way": (lambda root: root / "base" / "." / ".." / "base", True, "is the base itself"),
    "in the base": (lambda root: root / "base" / "out", False, "inside the base"),
    "above the base": (lambda root: root, True, "inside the output"),
    "a link": (a_link, True, "can't be an output"),
    "a file": (a_file, True, "is a file"),
    "below a file": (below_a_file, False, "is a file"),
    "exists": (a_folder, False, "exists"),
    "not a checkpoint": (a_project, True, "not a checkpoint"),
    "dots": (lambda root: root / "x" / "..", True, "can't be an output"),
    "the root": (lambda _: Path("/"), True, "can't be an output"),
    "a long name": (lambda root: root / ("x" * 250), False, "can't be written"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_unfit_output_is_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    make, overwrite, said = REFUSED[case]
    base = llama(tmp_path / "base", tied=True)
    out = make(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(TokswapError, match=said) as caught:
        put(base, out, {EMBED: rows(97)}, overwrite=overwrite)
    assert caught.value.hint
    assert tree(tmp_path) == before


def test_the_check_before_a_long_computation_refuses_the_same(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    check_output(base, tmp_path / "out", needed=1000)
    with pytest.raises(TokswapError, match="inside the base"):
        check_output(base, tmp_path / "base" / "x")
    with pytest.raises(TokswapError, match="exists"):
        check_output(base, a_folder(tmp_path))
    with pytest.raises(TokswapError, match="are free"):
        check_output(base, tmp_path / "new", needed=10**18)


def test_too_little_free_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    system = Counted()
    new = {EMBED: rows(97)}
    system.free = int(1.05 * planned_size(base, new_shapes=shapes_of(new)))
    for out in (tmp_path / "out", tmp_path / "new" / "out"):
        with pytest.raises(TokswapError, match="are free"):
            put(base, out, new, system=system)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]
    system.free += 10_000
    put(base, tmp_path / "out", new, system=system)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_parent_is_refused(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o555)
    with pytest.raises(TokswapError, match="can't be written"):
        put(base, parent / "out", {EMBED: rows(97)})


def test_new_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    broken = rows(97)
    broken[3, 3] = float("nan")
    with pytest.raises(TokswapError, match="not all finite"):
        put(base, tmp_path / "out", {EMBED: broken})
    with pytest.raises(TokswapError, match="not all finite"):
        put(base, tmp_path / "out", {EMBED: rows(97), HEAD: broken})
    assert not (tmp_path / "out").exists()


def test_broken_rows_of_the_base_may_stay(tmp_path: Path) -> None:
    broken = rows(9)
    broken[3, 3] = float("inf")
    base = stored(tmp_path / "base", {EMBED: broken})
    put(base, tmp_path / "out", {EMBED: broken.clone()})
    assert torch.equal(open_checkpoint(tmp_path / "out").read(EMBED), broken)


@pytest.mark.parametrize(
    "name",
    [
        "tokswap.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "../x",
        "/x",
        "a/../b",
        "a\\b",
        "",
        ".",
    ],
)
def test_files_that_would_leave_the_folder_or_hide_ours_are_errors(tmp_path: Path, name: str) -> None:
    base = llama(tmp_path / "base", tied=True)
    with pytest.raises(ValueError, match="can't be a file of the output"):
        put(base, tmp_path / "out", {}, files={name: b""})


def test_contradicting_arguments_are_errors(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    with pytest.raises(ValueError, match="both dropped and replaced"):
        put(base, tmp_path / "out", {EMBED: rows(97)}, drop=[EMBED])
    with pytest.raises(ValueError, match="doesn't have"):
        put(base, tmp_path / "out", {}, drop=["nothing"])
    with pytest.raises(TypeError):
        put(base, tmp_path / "out", {}, manifest={"a": object()})
    with pytest.raises(TokswapError, match="can't be stored"):
        put(base, tmp_path / "out", {EMBED: torch.zeros(97, 16, dtype=torch.complex128)})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("tied", "flag"), [(True, False), (False, True)])
def test_a_tie_flag_that_belies_the_tensors_is_refused(tmp_path: Path, tied: bool, flag: bool) -> None:
    base = llama(tmp_path / "base", tied=tied)
    with pytest.raises(TokswapError, match="the configuration says"):
        put(base, tmp_path / "out", {EMBED: rows(97)}, config={"tie_word_embeddings": flag})
    assert not (tmp_path / "out").exists()
    assert beside(tmp_path / "out") == []


def test_a_check_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)

    def refuse(folder: Path) -> None:
        assert (folder / "config.json").is_file()
        raise TokswapError("the tokenizer doesn't load", "never mind")

    with pytest.raises(TokswapError, match="doesn't load"):
        put(base, tmp_path / "out", {EMBED: rows(97)}, check=refuse)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_bytes_that_read_back_differently_are_refused(tmp_path: Path) -> None:
    class Flipping(System):
        def write_at(self, fd: int, data: bytes | memoryview, at: int) -> None:
            super().write_at(fd, bytes([data[0] ^ 1]) + bytes(data[1:]) if len(data) == 64 else data, at)

    base = llama(tmp_path / "base", tied=True)  # its norms are 64 bytes long
    with pytest.raises(TokswapError, match="reads back with other bytes"):
        put(base, tmp_path / "out", {EMBED: rows(97)}, system=Flipping())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_overwriting_replaces_all_of_the_old_output(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    out = tmp_path / "out"
    put(base, out, {EMBED: rows(97)}, files={"old.txt": b""})
    with pytest.raises(TokswapError, match="exists"):
        put(base, out, {EMBED: rows(97)})
    put(base, out, {EMBED: rows(97, seed=9)}, overwrite=True, recipe_id="r2")
    assert not (out / "old.txt").exists()
    assert torch.equal(open_checkpoint(out).read(EMBED), rows(97, seed=9))
    assert beside(out) == []


def test_an_empty_folder_may_be_overwritten(tmp_path: Path) -> None:
    base = llama(tmp_path / "base", tied=True)
    put(base, a_folder(tmp_path), {EMBED: rows(97)}, overwrite=True)
    assert open_checkpoint(tmp_path / "out").rows == 97


def test_a_tokenizer_folder_can_be_written_too(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "tokenizer.json").write_text("{}")
    base = open_checkpoint(tmp_path / "base")
    put(base, tmp_path / "out", {}, files={"tokenizer.json": b'{"a": 1}'})
    assert open_checkpoint(tmp_path / "out").tokenizer == {"a": 1}
    with pytest.raises(ValueError, match="no weights"):
        put(base, tmp_path / "out2", {EMBED: rows(3)})
