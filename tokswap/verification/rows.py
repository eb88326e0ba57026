"""Checks of the embedding rows by themselves, and against those of the base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.align import Origin
from tokswap.report import Figure
from tokswap.verification.check import Finding, failed, first_of, not_checked, passed, warned
from tokswap.verification.subject import ROW_BYTES, RowFacts, Subject

if TYPE_CHECKING:
    from torch import Tensor

OUTLIER_DEVIATIONS = 8.0
"""Robust standard deviations of log norm beyond which a row is unlike the others (a normal one: 1 in 10^15)."""
LEAST_SPREAD = 0.05
"""Least spread of log norms that is believed: tables of equal norms would make every row an outlier."""
NORM_RANGE = (1 / 3, 3.0)
"""Median norm of new rows, as a multiple of that of shared ones, outside of which a person should look."""
MOST_PADDED_SHIFT = 2.0**-6
"""Distance of a padded row from the mean row, relative to the mean's norm, that bf16 storage explains."""


def finite_rows(subject: Subject) -> Finding:
    """No row of a token holds NaN or infinity."""
    bad = {name: np.flatnonzero(~facts.finite & subject.known) for name, facts in subject.tables.items()}
    wrong = [
        f"{name}: {len(ids):,} rows ({first_of(subject.names(ids))})" for name, ids in bad.items() if len(ids)
    ]
    if wrong:
        return failed(f"rows that are not finite: {'; '.join(wrong)}")
    padding = sum(int((~facts.finite).sum()) for facts in subject.tables.values())
    if padding:
        return failed(f"{padding:,} rows without a token are not finite: one such row makes every loss NaN")
    return passed("every row is finite")


def zero_rows(subject: Subject) -> Finding:
    """No token that stands for text has a row of zeros, unless the base's is."""
    found = [_zeros(subject, facts) for facts in subject.tables.values()]
    ids = np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)
    count = Figure(len(ids), "rows")
    if not len(ids):
        return passed("no token of text has a row of zeros", zero_rows=count)
    said = f"{len(ids):,} tokens of text have a row of zeros: {first_of(subject.names(ids))}"
    if subject.base is None:
        return warned(f"{said}; without the base it isn't known whether it had them too", zero_rows=count)
    return failed(said, zero_rows=count)


def outlier_rows(subject: Subject) -> Finding:
    """Rows whose norm is unlike that of all others: not wrong by itself, and where errors show."""
    found: dict[int, None] = {}
    for facts in subject.tables.values():
        found |= dict.fromkeys(norm_outliers(facts.norms, subject.ordinary).tolist())
    ids = np.asarray(sorted(found), dtype=np.int64)
    count = Figure(len(ids), "rows")
    if not len(ids):
        return passed("no row's norm is unlike the others'", outlier_rows=count)
    return warned(
        f"{len(ids):,} rows have a norm unlike the others': {first_of(subject.names(ids))}",
        outlier_rows=count,
    )


def norm_outliers(norms: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the ids in `among` whose log norm is far from the median, in robust standard deviations."""
    fit = among & np.isfinite(norms) & (norms > 0)
    if not fit.any():
        return np.zeros(0, dtype=np.int64)
    logs = np.log(norms[fit])
    centre = np.median(logs)
    spread = max(LEAST_SPREAD, 1.4826 * float(np.median(np.abs(logs - centre))))
    return np.flatnonzero(fit)[np.abs(logs - centre) > OUTLIER_DEVIATIONS * spread]


def new_row_norms(subject: Subject) -> Finding:
    """The rows that the base lacks are about as long as those that it has."""
    if subject.base is None:
        return not_checked(subject.why_no_base)
    origin, (facts, *_) = subject.alignment.origin, subject.tables.values()
    new, shared = (facts.norms[(origin == kind) & facts.finite] for kind in (Origin.NEW, Origin.SAME_BYTES))
    if not len(new) or not len(shared):
        return passed(
            "there are no new tokens" if not len(new) else "there are no shared tokens to compare with"
        )
    ratio = float(np.median(new) / np.median(shared))
    figure = Figure(round(ratio, 4), "x", note="median norm of new rows over that of shared rows")
    low, high = NORM_RANGE
    said = f"{len(new):,} new rows have {ratio:.2f} times the norm of the {len(shared):,} shared ones"
    return passed(said, ratio=figure) if low <= ratio <= high else warned(said, ratio=figure)


def shared_rows(subject: Subject) -> Finding:
    """Every token that the base has too holds the base's row, bit for bit."""
    if subject.base is None:
        return not_checked(subject.why_no_base)
    if subject.shared_rows_moved:
        return not_checked(subject.shared_rows_moved)
    ids = subject.alignment.copied_ids
    if not len(ids):
        return passed("the two tokenizers share no token")
    ours, theirs = subject.checkpoint.roles, subject.base.roles
    pairs = [(ours.input, theirs.input), (ours.output or ours.input, theirs.output or theirs.input)]
    differ: dict[int, None] = {}
    for mine, other in dict.fromkeys(pairs):
        differ |= dict.fromkeys(ids[_differing(subject, mine, other)].tolist())
    if not differ:
        return passed(
            f"{len(ids):,} shared tokens hold the base's rows, bit for bit", shared=Figure(len(ids), "tokens")
        )
    found = np.asarray(sorted(differ), dtype=np.int64)
    special = np.asarray([i for i in found if subject.vocab.is_special(int(i))], dtype=np.int64)
    said = f"{len(found):,} of {len(ids):,} shared tokens don't hold the base's row: {first_of(subject.names(found))}"
    if len(special):
        said += f"; special ones: {first_of(subject.names(special))}"
    return failed(said, differing=Figure(len(found), "tokens"))


def _differing(subject: Subject, mine: str, other: str) -> NDArray[np.bool_]:
    """Return Bool[n] over the copied ids: do the stored bits differ, the base's taken to our dtype?"""
    assert subject.base is not None
    ids, source = subject.alignment.copied_ids, subject.alignment.source
    old = subject.base.read(other)
    info = subject.checkpoint.tensors[mine]
    step = max(1, ROW_BYTES * info.shape[0] // max(info.nbytes, 1))
    out = np.zeros(len(ids), dtype=np.bool_)
    for start in range(0, info.shape[0], step):
        here = np.flatnonzero((ids >= start) & (ids < start + step))
        block = subject.checkpoint.read_rows(mine, start, start + step)
        out[here] = _unlike(block, ids[here] - start, old, source[ids[here]])
    return out


def _unlike(
    block: Tensor, at: NDArray[np.int64], old: Tensor, source: NDArray[np.int64]
) -> NDArray[np.bool_]:
    import torch

    if block.shape[1] != old.shape[1]:
        return np.ones(len(at), dtype=np.bool_)
    mine, theirs = block[torch.from_numpy(at)], old[torch.from_numpy(source)].to(block.dtype)
    same = mine.contiguous().view(torch.uint8) == theirs.contiguous().view(torch.uint8)
    return ~same.all(dim=1).numpy()


def _zeros(subject: Subject, facts: RowFacts) -> NDArray[np.int64]:
    ids = np.flatnonzero((facts.norms == 0) & subject.ordinary)
    if subject.base is None or not len(ids):
        return ids
    return ids[subject.alignment.source[ids] < 0]  # a copied row is the base's own, whatever it is


def padded_ids(subject: Subject) -> NDArray[np.int64]:
    """Return the rows that no token has."""
    return np.flatnonzero(~subject.known)


def not_mean(subject: Subject, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of the rows `ids` of the output that are not the mean of all others, but for rounding.

    The logit of a mean row is the mean of the logits, which is never the largest.
    """
    import torch

    roles = subject.checkpoint.roles
    table = subject.checkpoint.read(roles.output or roles.input)
    known = torch.from_numpy(np.flatnonzero(subject.known))
    total = torch.zeros(table.shape[1], dtype=torch.float64)
    for part in known.split(1 << 14):
        total += table[part].double().sum(0)
    mean = total / len(known)
    gap = (table[torch.from_numpy(ids)].double() - mean).norm(dim=1)
    return ids[(gap > MOST_PADDED_SHIFT * mean.norm()).numpy()]
