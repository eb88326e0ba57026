"""Where a training keeps what isn't finished: beside its output, which is the old network or the new one, whole.

.OUT.tokswap-staged            the new network, the best so far, and its log
.OUT.tokswap-hypernet-ID       the state from which the run goes on; ID is of its settings and inputs
.OUT.tokswap-old               the network that is being replaced, until the new one is in its place
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tokswap.commit_files import SYSTEM, remove_tree
from tokswap.commit_stage import Places, locked, make_parent, move_in, plain_errors

KIND = "hypernet"
"""What states of these trainings are called."""


def staged(out: Path, path: Path) -> Path:
    """Return where a file that is to lie in `out` is written until then; other files stay where they are."""
    try:
        return Places.of(out).stage / path.absolute().relative_to(out.absolute())
    except ValueError:
        return path


@contextmanager
def replacing_network(out: Path, state: Path) -> Generator[None]:
    """Hold the output while a run with this state trains, and put the staged network there when it ends well.

    What a run stopped while doing so has left is mended first; what trainings with other states left is removed.
    Raises TokswapError where another run holds the output.
    """
    places = Places.of(out)
    with ExitStack() as held:
        with plain_errors(places):
            make_parent(SYSTEM, places, 0)
            held.enter_context(locked(places))
            _mend(places)
            if not state.exists():
                _discard(places)
            places.stage.mkdir(exist_ok=True)
        yield
        with plain_errors(places):
            move_in(SYSTEM, places)
            _discard(places)
            remove_tree(SYSTEM, places.old)


def _mend(places: Places) -> None:
    if places.old.exists() and not places.out.exists():
        SYSTEM.rename(places.old, places.out)
    remove_tree(SYSTEM, places.old)  # where both were there, the new one was in its place already


def _discard(places: Places) -> None:
    remove_tree(SYSTEM, places.stage)
    for state in places.states(KIND):
        SYSTEM.unlink(state)
