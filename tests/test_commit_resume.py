"""What a stopped run leaves is used by the same recipe, swept by another, and never trusted unread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from faulty_systems import (
    SHARDS,
    Death,
    Quick,
    Recording,
    Tree,
    beside,
    command,
    make_base,
    old_output,
    table,
    tree,
)

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit_stage import Entry, append_journal, read_journal
from tokswap.errors import TokswapError


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def complete(base: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What an uninterrupted run writes, under any output's name."""
    out = tmp_path_factory.mktemp("whole") / "out"
    command(base, out, Quick())
    return tree(out)


def stopped_before_the_move(base: Checkpoint, out: Path, recipe_id: str = "r") -> None:
    class Stop(Quick):
        def rename(self, old: Path, new: Path) -> None:
            raise Death

    with pytest.raises(Death):
        command(base, out, Stop(), recipe_id=recipe_id)
    assert beside(out) == [".out.tokswap-journal", ".out.tokswap-staged"]


def test_a_rerun_keeps_what_is_finished(tmp_path: Path, base: Checkpoint, complete: Tree) -> None:
    stopped_before_the_move(base, tmp_path / "out")
    system = Recording()
    command(base, tmp_path / "out", system)
    assert system.made == ["tokswap.json"]
    assert tree(tmp_path / "out") == complete


def test_a_damaged_staged_file_is_written_again(tmp_path: Path, base: Checkpoint, complete: Tree) -> None:
    stopped_before_the_move(base, tmp_path / "out")
    path = tmp_path / ".out.tokswap-staged" / SHARDS[1]
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    (path.parent / "stray.txt").write_text("stray")
    (path.parent / "stray").mkdir()
    (path.parent / "stray" / "file").write_text("stray")
    system = Recording()
    command(base, tmp_path / "out", system)
    assert system.made == [SHARDS[1], "tokswap.json"]
    assert tree(tmp_path / "out") == complete


def test_another_recipe_starts_afresh(tmp_path: Path, base: Checkpoint, complete: Tree) -> None:
    stopped_before_the_move(base, tmp_path / "out", "another")
    system = Recording()
    command(base, tmp_path / "out", system)
    assert set(system.made) == {Path(name).name for name in complete or {}}
    assert tree(tmp_path / "out") == complete


def test_a_base_that_changed_meanwhile_is_copied_again(tmp_path: Path) -> None:
    base, out = make_base(tmp_path / "base"), tmp_path / "out"
    stopped_before_the_move(base, out)
    changed = make_base(tmp_path / "base", seed=1)
    os.utime(tmp_path / "base" / SHARDS[1], ns=(1, 1))
    command(changed, out, Quick())
    assert torch.equal(open_checkpoint(out).read("b"), table(5, 1))
    assert torch.equal(open_checkpoint(out).read("a"), table(3, 1))


@pytest.mark.parametrize(
    "journal", [b"", b"\xff\xfe", b"[" * 100_000, b'{"name": 3}\n{"recipe": 4}\n', b"null\n[]\n"]
)
def test_a_broken_journal_means_a_fresh_start(
    tmp_path: Path, base: Checkpoint, complete: Tree, journal: bytes
) -> None:
    stopped_before_the_move(base, tmp_path / "out")
    (tmp_path / ".out.tokswap-journal").write_bytes(journal)
    command(base, tmp_path / "out", Quick())
    assert tree(tmp_path / "out") == complete
    assert beside(tmp_path / "out") == []


def test_leftovers_of_a_refused_run_are_kept_for_the_right_one(
    tmp_path: Path, base: Checkpoint, complete: Tree
) -> None:
    out = tmp_path / "out"
    stopped_before_the_move(base, out)
    old_output(out)
    with pytest.raises(TokswapError, match="exists"):
        command(base, out, Quick(), recipe_id="another")
    system = Recording()
    command(base, out, system, overwrite=True)
    assert system.made == ["tokswap.json"]
    assert tree(out) == complete


def test_two_outputs_of_which_none_is_known_are_both_kept(tmp_path: Path, base: Checkpoint) -> None:
    out = tmp_path / "out"
    old_output(out)
    old_output(out.with_name(".out.tokswap-old"))
    with pytest.raises(TokswapError, match="which one is wanted"):
        command(base, out, Quick(), overwrite=True)
    assert tree(out) == tree(out.with_name(".out.tokswap-old")) != {}


def test_an_old_output_left_aside_is_put_back_whatever_runs_next(tmp_path: Path, base: Checkpoint) -> None:
    out = tmp_path / "out"
    old_output(out.with_name(".out.tokswap-old"))
    with pytest.raises(TokswapError, match="exists"):
        command(base, out, Quick())
    assert (tree(out) or {})["sub/notes.txt"] == b"old"
    assert beside(out) == []


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    append_journal(Quick(), path, {"recipe": "r"})
    append_journal(Quick(), path, Entry("a", 1, "00", "k", {"t": "11"}))
    path.write_bytes(path.read_bytes()[:-10])
    append_journal(Quick(), path, Entry("b", 2, "22", "k"))
    journal = read_journal(path)
    assert journal.recipe_id == "r"
    assert journal.entries == {"b": Entry("b", 2, "22", "k")}
