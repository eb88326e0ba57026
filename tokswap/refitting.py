"""The refit as a stage: the new model reads the calibration texts, its output rows are fitted, and judged again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.initialise import Embeddings, silence
from tokswap.judging import Judge, Judged, best_of
from tokswap.plan import Plan
from tokswap.refit import Evidence, Regression, Table, make_basis, moved, solve
from tokswap.vocab import Kind

if TYPE_CHECKING:
    from torch import Tensor

# Precisions of the prior, in units of states, from the one that moves rows least on.
PRECISIONS = (3e4, 1e4, 3e3)


def refit(judge: Judge, rows: Embeddings, *, shared: bool) -> Judged:
    """Fit the output rows of new tokens, and with `shared` those of all, to what the judge's texts show."""
    import torch

    plan = judge.plan
    ids = torch.from_numpy(_text_ids(plan) if shared else plan.alignment.new_ids)

    def fits(evidence: Evidence) -> Iterator[tuple[float, Embeddings]]:
        table = Table(rows.output_rows, rows.bias, ids, judge.known, judge.head)
        basis = make_basis(evidence, table)
        regression = Regression(evidence, table, basis)
        move = None
        for number, precision in enumerate(PRECISIONS):
            if judge.on_progress is not None:
                judge.on_progress("fit output rows", number, len(PRECISIONS))
            move = solve(regression, precision, move)
            yield precision, with_moved_output(plan, rows, ids, moved(basis, move))

    return best_of(judge, rows, fits, "not fitted", "fit")


def with_moved_output(plan: Plan, rows: Embeddings, ids: Tensor, step: Tensor) -> Embeddings:
    """Return the table with `step` Float[m d] added to the output rows of `ids`, in its dtype."""
    output = rows.output_rows.clone()
    output[ids] = (output[ids].float() + step).to(output.dtype)
    silence(plan.alignment, output)
    return replace(rows, input=output) if rows.tied else replace(rows, output=output)


def _text_ids(plan: Plan) -> NDArray[np.int64]:
    """Return the ids that text yields: text says nothing of when a turn or a document ends, and those rows stay."""
    vocab = plan.new_vocab
    ids = vocab.ids[(vocab.ids < plan.alignment.rows) & (vocab.kinds != Kind.SPECIAL)]
    return ids[~np.isin(ids, plan.alignment.silent_ids)]
