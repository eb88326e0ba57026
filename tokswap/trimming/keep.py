"""Which tokens stay: those that a text uses, what they are merged from, and what no text can do without."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.trimming.needs import Needs


@dataclass(frozen=True)
class Kept:
    """Int[n] ids that stay, ascending, and why: `used` by the text, `needed` by a used one only, `protected` always.

    Each id counts for the first reason that holds, in the order protected, used, needed; `filled` are further ones,
    up to the number asked for. `coverage` is the share of the text's tokens that are among the ids.
    """

    ids: NDArray[np.int64]
    protected: int
    used: int
    needed: int
    filled: int
    coverage: float


def choose_kept(
    counts: NDArray[np.int64],
    protected: Collection[int],
    needs: Needs,
    groups: Iterable[Collection[int]] = (),
    *,
    coverage: float = 1.0,
    keep: int | None = None,
    candidates: Iterable[int] = (),
) -> Kept:
    """Choose a set of ids that holds whatever its members need, smallest first to go.

    `counts` Int[V] of the text's tokens by id; tokens of one of the `groups` stay or go together. With `keep` exactly
    that many stay where the needs allow it: the least used go, or `candidates` are added in their order. Else the
    least used go while at least `coverage` of the text's tokens are left.

    Only leaves go, which nothing that stays is merged from; what a text loses with one falls to the tokens it is
    merged from, and counts for them from then on. Raises TokswapError where `keep` is too few for what must stay.
    """
    together = {i: tuple(set(group) - {i}) for group in groups for i in group}

    def all_needs(token_id: int) -> tuple[int, ...]:
        return (*needs(token_id), *together.get(token_id, ()))

    used = np.flatnonzero(counts).tolist()
    staying = closure([*protected, *used], all_needs)
    total = int(counts.sum())
    # Rounded before it is rounded up: 0.8 × 100 must be 80, whatever floats make of it.
    losable = total if keep is not None else total - math.ceil(round(coverage * total, 6))
    _drop_leaves(staying, counts, set(protected), all_needs, losable, at_least=keep or 0)
    if keep is not None and len(staying) > keep:
        raise TokswapError(
            f"{keep:,} tokens are too few: {len(staying):,} must stay",
            "bytes, single characters, special tokens and what they are merged from always do",
        )
    before = len(staying)
    if keep is not None:
        _fill(staying, candidates, all_needs, keep)
    return _kept(staying, counts, protected, filled=len(staying) - before)


def closure(ids: Iterable[int], needs: Needs) -> set[int]:
    """Return the ids with all that they need, and what that needs.

    >>> merged_from = {4: (3, 1), 3: (1, 2)}
    >>> sorted(closure([4], lambda token_id: merged_from.get(token_id, ())))
    [1, 2, 3, 4]
    """
    out: set[int] = set()
    left = list(ids)
    while left:
        token_id = left.pop()
        if token_id not in out:
            out.add(token_id)
            left += needs(token_id)
    return out


def _drop_leaves(
    staying: set[int],
    counts: NDArray[np.int64],
    protected: Collection[int],
    needs: Needs,
    losable: int,
    *,
    at_least: int,
) -> None:
    """Take the least used leaves out of `staying`, in place, while the text loses no more than `losable` tokens."""
    dependents = Counter(part for token_id in staying for part in needs(token_id))
    weights = {token_id: int(counts[token_id]) for token_id in staying}
    leaves = [(weights[i], -i) for i in staying if not dependents[i] and i not in protected]
    heapq.heapify(leaves)
    while leaves and len(staying) > at_least:
        weight, negative = heapq.heappop(leaves)
        token_id = -negative
        losable -= int(counts[token_id])
        if losable < 0:
            return
        staying.discard(token_id)
        for part in needs(token_id):
            weights[part] += weight
            dependents[part] -= 1
            if not dependents[part] and part not in protected:
                heapq.heappush(leaves, (weights[part], -part))


def _fill(staying: set[int], candidates: Iterable[int], needs: Needs, keep: int) -> None:
    """Add candidates with what they need, in place, up to `keep` ids."""
    for token_id in candidates:
        if len(staying) >= keep:
            return
        more = closure([token_id], needs) - staying
        if len(staying) + len(more) <= keep:
            staying |= more


def _kept(staying: set[int], counts: NDArray[np.int64], protected: Collection[int], *, filled: int) -> Kept:
    ids = np.asarray(sorted(staying), dtype=np.int64)
    always = len(staying & set(protected))
    used = len({i for i in staying if counts[i]} - set(protected))
    return Kept(
        ids=ids,
        protected=always,
        used=used,
        needed=len(ids) - always - used - filled,
        filled=filled,
        coverage=float(counts[ids].sum()) / float(counts.sum()) if counts.any() else 1.0,
    )
