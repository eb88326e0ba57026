"""What a commit refuses, and that nothing is written then."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import EMBED, HEAD, Counted, Unsynced, beside, everything, llama, put, rows, stored

from tokswap.checkpoint import open_checkpoint
from tokswap.commit import check_output, planned_size, shapes_of
from tokswap.errors import TokswapError


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
    before = everything(tmp_path)
    with pytest.raises(TokswapError, match=said) as caught:
        put(base, out, {EMBED: rows(97)}, overwrite=overwrite)
    assert caught.value.hint
    assert everything(tmp_path) == before


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
    class Flipping(Unsynced):
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
