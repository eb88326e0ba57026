"""The one exception that tokswap raises for bad input, with what to do about it."""


class TokswapError(Exception):
    """Something a person can mend: `what` was tried and failed, `hint` says what to do.

    The command line prints the two as ``error:`` and ``hint:`` lines and exits with code 2.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})"


class NotFiniteError(TokswapError):
    """A model computes NaN or infinity: there is nothing to measure, and verification fails."""
