"""A commit that is stopped at every step: the output is absent, the old one or the new one, and the rerun finishes."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_systems import (
    Death,
    Dying,
    Faulty,
    Quick,
    Tree,
    beside,
    command,
    make_base,
    old_output,
    tree,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tokswap.checkpoint import Checkpoint
from tokswap.commit import System
from tokswap.errors import TokswapError

Record = Callable[[str, object], None]
"""pytest's record_property: tests/trials.py adds the numbers up."""
KILLS = 12


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def complete(base: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """What an uninterrupted run writes, under any output's name."""
    out = tmp_path_factory.mktemp("whole") / "out"
    command(base, out, Quick())
    return tree(out)


def finish(base: Checkpoint, out: Path, complete: Tree, *, overwrite: bool) -> None:
    """Run the same command again; it may only say "exists" when nothing at all was left to do."""
    if tree(out) == complete and not beside(out) and not overwrite:
        with pytest.raises(TokswapError, match="exists"):
            command(base, out, Quick())
    else:
        command(base, out, Quick(), overwrite=overwrite)
    assert tree(out) == complete
    assert beside(out) == []


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("before", ["nothing", "another", "the same"])
def test_death_at_every_step(
    tmp_path: Path, base: Checkpoint, complete: Tree, before: str, torn: bool, record_property: Record
) -> None:
    overwrite = before != "nothing"
    for at in range(1, 1000):
        out = tmp_path / str(at) / "out"
        out.parent.mkdir()
        if before == "another":
            old_output(out)
        elif before == "the same":
            command(base, out, Quick())
        old = tree(out)
        system = Dying(at, torn=torn)
        try:
            command(base, out, system, overwrite=overwrite)
        except Death:
            state = tree(out)
            assert state in (None, old, complete), f"step {at}: {system.steps[-1]}"
            if state is None and overwrite:
                assert tree(out.with_name(".out.tokswap-old")) == old
            finish(base, out, complete, overwrite=overwrite)
        else:
            break
    record_property("faults", at - 1)
    assert tree(out) == complete
    assert at > 40, "the steps are not counted"
    assert {"create", "write_at", "write", "fsync", "rename", "unlink", "append"} <= set(system.steps)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 70), st.booleans()), max_size=5), st.booleans())
def test_any_row_of_deaths_ends_in_the_same_output(
    tmp_path_factory: pytest.TempPathFactory,
    base: Checkpoint,
    complete: Tree,
    deaths: list[tuple[int, bool]],
    overwrite: bool,
) -> None:
    out = tmp_path_factory.mktemp("row") / "out"
    if overwrite:
        old_output(out)
    old = tree(out)
    for at, torn in deaths:
        try:
            command(base, out, Dying(at, torn=torn), overwrite=True)
        except Death:
            assert tree(out) in (None, old, complete)
    finish(base, out, complete, overwrite=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_error_at_every_step_is_told_and_mended(
    tmp_path: Path, base: Checkpoint, complete: Tree, overwrite: bool, number: int, record_property: Record
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    for at in range(1, 1000):
        out = tmp_path / str(at) / "out"
        out.parent.mkdir()
        if overwrite:
            old_output(out)
        old = tree(out)
        system = Faulty(at, fail, torn=True)
        try:
            command(base, out, system, overwrite=overwrite)
        except TokswapError as error:
            assert tree(out) in (old, complete), f"step {at}: {system.steps[-1]}"
            assert ("the disk is full" in error.what) == (number in (errno.ENOSPC, errno.EFBIG))
            assert "run the same command again" in error.hint
            finish(base, out, complete, overwrite=overwrite)
        else:
            break
    record_property("faults", at - 1)
    assert at > 40


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_interrupt_at_every_step_leaves_old_or_new_in_place(
    tmp_path: Path, base: Checkpoint, complete: Tree, overwrite: bool, record_property: Record
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for at in range(1, 1000):
        out = tmp_path / str(at) / "out"
        out.parent.mkdir()
        if overwrite:
            old_output(out)
        old = tree(out)
        try:
            command(base, out, Faulty(at, interrupt), overwrite=overwrite)
        except KeyboardInterrupt:
            assert tree(out) in (old, complete)
            finish(base, out, complete, overwrite=overwrite)
        else:
            break
    record_property("faults", at - 1)
    assert at > 40


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a child process; return its pid. It ends with 0, or 7 after a TokswapError."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except TokswapError as error:
        code = 8 if "the disk is full" in error.what else 7
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_killed_process_leaves_nothing_that_a_rerun_cannot_mend(
    tmp_path: Path, base: Checkpoint, complete: Tree, overwrite: bool, record_property: Record
) -> None:
    record_property("faults", KILLS)
    counter = Faulty(0, lambda: None)
    command(base, tmp_path / "count", counter)
    for at in random.Random(3).sample(range(1, len(counter.steps)), KILLS):
        out = tmp_path / str(at) / "out"
        out.parent.mkdir()
        if overwrite:
            old_output(out)
        old = tree(out)
        kill = Faulty(at, lambda: os.kill(os.getpid(), signal.SIGKILL), torn=True)
        pid = forked(lambda out=out, kill=kill: command(base, out, kill, overwrite=overwrite))
        assert wait(pid) == -signal.SIGKILL
        assert tree(out) in (None, old, complete)
        assert ".out.tokswap-lock" in beside(out)
        finish(base, out, complete, overwrite=overwrite)


def test_a_file_size_limit_is_a_plain_error_and_the_run_goes_on_after_it(
    tmp_path: Path, base: Checkpoint, complete: Tree
) -> None:
    out = tmp_path / "out"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
        command(base, out, System())

    assert wait(forked(limited)) == 8
    assert not out.exists()
    finish(base, out, complete, overwrite=False)


def test_a_second_run_for_the_same_output_is_refused_at_once(
    tmp_path: Path, base: Checkpoint, complete: Tree
) -> None:
    out = tmp_path / "out"
    started, go_on = threading.Event(), threading.Event()

    def hold(done: int, total: int) -> None:
        started.set()
        go_on.wait(120)

    first = threading.Thread(target=lambda: command(base, out, Quick(), on_progress=hold))
    first.start()
    try:
        assert started.wait(120)
        with pytest.raises(TokswapError, match="another run is writing"):
            command(base, out, Quick())
        pid = forked(lambda: command(base, out, Quick()))
        assert wait(pid) == 7
    finally:
        go_on.set()
        first.join()
    assert tree(out) == complete
    assert beside(out) == []


def test_racing_processes_write_the_output_once(tmp_path: Path, base: Checkpoint, complete: Tree) -> None:
    for attempt in range(5):
        out = tmp_path / str(attempt) / "out"
        out.parent.mkdir()
        codes = [wait(pid) for pid in [forked(lambda out=out: command(base, out, Quick())) for _ in range(4)]]
        assert sorted(codes) == [0, 7, 7, 7]
        assert tree(out) == complete
        assert beside(out) == []
