"""The master program: the linear program with the rows found so far, kept solved by HiGHS while rows are added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.mixture.solver import INFINITY, silent_solver

SMALLEST = 1e-9
"""Coefficients below, in pairs per million, are rounding and left out, as HiGHS itself does."""


OPTIMAL, OUT_OF_TIME = "Optimal", "Time limit reached"


@dataclass(frozen=True)
class Point:
    """A solved master: a mixture and slacks, and the rows' dual values."""

    alpha: NDArray[np.float64]
    pair_slack: NDArray[np.float64]
    merge_slack: NDArray[np.float64]
    dual: NDArray[np.float64]
    objective: float


class Master:
    """min sum v_t + sum v_p over rows g alpha + v_t + v_p >= 0, with sum alpha = 1 and everything >= 0.

    Columns 0 … n - 1 are the mixture; slacks get a column with their first row.
    """

    def __init__(self, categories: int, steps: int, pairs: int) -> None:
        self._highs = silent_solver()
        self._categories = categories
        self._merge_column = np.full(steps, -1, dtype=np.int64)
        self._pair_column = np.full(pairs, -1, dtype=np.int64)
        self._columns = 0
        self.step = np.zeros(0, dtype=np.int32)
        self.pair = np.zeros(0, dtype=np.int32)
        self.coefficients = np.zeros((0, categories))
        self._add_columns(categories, cost=0.0)
        everyone = np.arange(categories, dtype=np.int32)
        self._highs.addRow(1.0, 1.0, categories, everyone, np.ones(categories))

    def add(
        self, step: NDArray[np.int32], pair: NDArray[np.int32], coefficients: NDArray[np.float64]
    ) -> None:
        """Add rows: their steps and pairs, Int[R], and g, Float[R n]."""
        self._place(self._merge_column, step)
        self._place(self._pair_column, pair)
        columns = np.concatenate(
            [
                np.broadcast_to(np.arange(self._categories), coefficients.shape),
                self._merge_column[step][:, None],
                self._pair_column[pair][:, None],
            ],
            axis=1,
        )
        values = np.concatenate([coefficients, np.ones((len(step), 2))], axis=1)
        kept = np.abs(values) >= SMALLEST
        starts = np.concatenate([[0], np.cumsum(kept.sum(1))[:-1]])
        self._highs.addRows(
            len(step),
            np.zeros(len(step)),
            np.full(len(step), INFINITY),
            int(kept.sum()),
            starts.astype(np.int32),
            columns[kept].astype(np.int32),
            values[kept],
        )
        self.step = np.concatenate([self.step, step])
        self.pair = np.concatenate([self.pair, pair])
        self.coefficients = np.concatenate([self.coefficients, coefficients])

    def solve(self, seconds: float = INFINITY) -> Point | None:
        """Solve from the last basis, or afresh; None where `seconds` are over.

        Raises TokswapError where neither reaches an optimum.
        """
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + max(seconds, 0.0))
        status = self._run()
        if status == OUT_OF_TIME:
            return None
        if status != OPTIMAL:  # rounding in a basis that was carried over many rounds
            self._highs.clearSolver()
            status = self._run()
        if status != OPTIMAL:
            raise TokswapError(
                f"the solver stopped with {status!r} on {len(self.step):,} rows",
                "take fewer merges with --merges, and report this",
            )
        solution = self._highs.getSolution()
        value = np.maximum(np.asarray(solution.col_value), 0.0)
        alpha = value[: self._categories]
        return Point(
            alpha / alpha.sum(),
            self._slack(value, self._pair_column),
            self._slack(value, self._merge_column),
            np.maximum(np.asarray(solution.row_dual)[1:], 0.0),
            float(self._highs.getObjectiveValue()),
        )

    def _run(self) -> str:
        self._highs.run()
        return self._highs.modelStatusToString(self._highs.getModelStatus())

    def lower_bound(self, dual: NDArray[np.float64]) -> float:
        """Return a bound that holds whatever the solver's accuracy: its dual values, made feasible exactly.

        Any y >= 0 with sums of at most 1 over each step's and each pair's rows gives one: min_i of -sum y g_i.
        """
        load = np.ones_like(dual)
        for column, rows in ((self._merge_column, self.step), (self._pair_column, self.pair)):
            sums = np.bincount(column[rows], weights=dual, minlength=self._columns)
            load = np.maximum(load, sums[column[rows]])
        return max(0.0, float((-(dual / load) @ self.coefficients).min()))

    def _place(self, column: NDArray[np.int64], wanted: NDArray[np.int32]) -> None:
        new = np.unique(wanted[column[wanted] < 0])
        column[new] = self._columns + np.arange(len(new))
        self._add_columns(len(new), cost=1.0)

    def _add_columns(self, count: int, *, cost: float) -> None:
        if count:
            none = np.zeros(0)
            self._highs.addCols(
                count,
                np.full(count, cost),
                np.zeros(count),
                np.full(count, INFINITY),
                0,
                np.zeros(count, dtype=np.int32),
                none.astype(np.int32),
                none,
            )
            self._columns += count

    def _slack(self, value: NDArray[np.float64], column: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where(column >= 0, value[np.maximum(column, 0)], 0.0)
