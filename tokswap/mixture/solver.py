"""HiGHS, the linear programming solver, as it is used here: one thread, tight tolerances, not a word on stdout."""

from __future__ import annotations

from typing import Any

SOLVER_TOLERANCE = 1e-9
"""Of rows and reduced costs, in pairs per million."""

INFINITY = float("inf")


def silent_solver() -> Any:
    """Return a HiGHS object that prints nothing, its banner included, which its constructor would print."""
    import highspy

    class Silent(highspy.Highs):
        def enableCallbacks(self) -> Any:  # noqa: N802 - the constructor calls it, before options can be set
            self.silent()
            return super().enableCallbacks()

    highs: Any = Silent()
    options = {
        "threads": 1,
        "primal_feasibility_tolerance": SOLVER_TOLERANCE,
        "dual_feasibility_tolerance": SOLVER_TOLERANCE,
    }
    for name, value in options.items():
        highs.setOptionValue(name, value)
    return highs
