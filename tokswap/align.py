"""Which row of the base each id of the new vocabulary starts from, and why.

The table is total: every row of the new matrix has exactly one entry. A row of the base is handed on at most
once to a token that can be emitted, since two tokens with one row take twice its probability.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.token_roles import ROLE_ORDER
from tokswap.vocab import Kind, Vocab


class Origin(IntEnum):
    """Why a row of the new matrix is what it is."""

    SAME_BYTES = 0  # copied: the base has a token of the same bytes and kind
    SAME_ROLE = 1  # copied: a special token of the same role (bos, turn_end, …)
    OVERRIDE = 2  # copied or composed: the person said so with --map
    NEW = 3  # to be initialised by the method
    SILENT = 4  # a token that text never yields, or a special without a counterpart: must hold no output mass
    UNUSED = 5  # no token has this id: padding or a hole


# Tokens that a model reads and hardly ever emits: two of them may share a row (`<bos>` and `<start_of_turn>` both
# come from a base's `<|im_start|>`).
READ_ROLES = ("bos", "turn_start")


@dataclass(frozen=True)
class Alignment:
    """`source` Int[V]: the base id whose row is copied, or -1; `origin` UInt8[V] of `Origin`.

    `composed`: new id → several base ids whose rows are averaged (`--map 'X=Y Z'`); `identical` is true when both
    tokenizers give every id the same token, so that even unused rows keep the base's.
    """

    source: NDArray[np.int64]
    origin: NDArray[np.uint8]
    base_rows: int
    composed: Mapping[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])
    identical: bool = False

    def __post_init__(self) -> None:
        if self.source.shape != self.origin.shape:
            raise ValueError("source and origin must have one entry a row")
        if len(self.source) and not -1 <= self.source.min() <= self.source.max() < self.base_rows:
            raise ValueError("a source row is outside the base's matrix")

    @property
    def rows(self) -> int:
        """Rows of the new matrix."""
        return len(self.source)

    @property
    def unchanged(self) -> bool:
        """Is the new matrix the base's, row for row?"""
        return self.identical and self.rows == self.base_rows and not (self.origin == Origin.OVERRIDE).any()

    @cached_property
    def new_ids(self) -> NDArray[np.int64]:
        """Ids that the method has to initialise, ascending."""
        return np.flatnonzero(self.origin == Origin.NEW)

    @cached_property
    def copied_ids(self) -> NDArray[np.int64]:
        """Ids whose row is a row of the base, ascending."""
        return np.flatnonzero(self.source >= 0)

    @cached_property
    def silent_ids(self) -> NDArray[np.int64]:
        """Ids that must never be emitted: silent tokens and unused rows that keep no base row."""
        return np.flatnonzero((self.source < 0) & (self.origin >= Origin.SILENT))

    @cached_property
    def anchor_ids(self) -> NDArray[np.int64]:
        """New ids of ordinary tokens that both vocabularies have: candidates for anchors, ascending."""
        return np.flatnonzero(self.origin == Origin.SAME_BYTES)

    def counts(self) -> dict[str, int]:
        """Rows by origin, under their names in lower case."""
        return {o.name.lower(): int(np.count_nonzero(self.origin == o)) for o in Origin}


def align(
    base: Vocab, new: Vocab, *, overrides: Mapping[str, Sequence[str]] | None = None, rows: int | None = None
) -> Alignment:
    """Align the new vocabulary with the base's: overrides first, then bytes and kind, then roles.

    `overrides` maps the spelling of a new token to those of one or several base tokens. `rows` is the size of the
    new matrix (at least the highest id + 1 that the new vocabulary gives a row). Raises `TokswapError` when an
    override names a token that one side lacks.
    """
    size = max(new.rows, rows or 0)
    new = replace(new, rows=size)
    source = np.full(size, -1, dtype=np.int64)
    origin = np.full(size, Origin.UNUSED, dtype=np.uint8)
    inside = new.ids < size
    origin[new.ids[inside]] = Origin.NEW
    _match_ordinary(base, new, source, origin)
    composed = _match_special(base, new, source, origin, _resolve(base, new, size, overrides or {}))
    identical = _identical(base, new)
    if identical:
        kept = np.flatnonzero(origin[: base.rows] != Origin.OVERRIDE)
        source[kept] = kept
        origin[kept] = np.where(origin[kept] == Origin.UNUSED, Origin.UNUSED, Origin.SAME_BYTES)
    return Alignment(source, origin, base.rows, composed, identical)


def silenced(alignment: Alignment, ids: NDArray[np.int64]) -> Alignment:
    """Return the alignment with some new ids silent: tokens that text no longer yields."""
    origin = alignment.origin.copy()
    origin[ids] = Origin.SILENT
    return replace(alignment, origin=origin)


def preferred_ids(vocab: Vocab) -> dict[bytes, int]:
    """Return bytes → the id that text yields for them: a plain piece before a fallback byte, the lowest id first."""
    out: dict[bytes, int] = {}
    for wanted in (Kind.ORDINARY, Kind.BYTE):
        places = np.flatnonzero((vocab.kinds == wanted) & (vocab.ids < vocab.rows))
        for at, token_id in zip(places.tolist(), vocab.ids[places].tolist(), strict=True):
            out.setdefault(vocab.tokens[at], token_id)
    out.pop(b"", None)
    return out


def _match_ordinary(base: Vocab, new: Vocab, source: NDArray[np.int64], origin: NDArray[np.uint8]) -> None:
    """Copy rows of equal bytes; a token that its own vocabulary shadows keeps the base's shadowed row or is silent."""
    held, emitted = preferred_ids(base), preferred_ids(new)
    shadowed = _shadowed(base, held)
    for at in np.flatnonzero((new.kinds != Kind.SPECIAL) & (new.ids < len(source))):
        token, token_id, kind = new.tokens[at], int(new.ids[at]), int(new.kinds[at])
        if emitted.get(token) == token_id:
            base_id = held.get(token)
            missing = Origin.NEW
        else:
            base_id = next(shadowed.get((token, kind), iter(())), None)
            missing = Origin.SILENT
        source[token_id] = -1 if base_id is None else base_id
        origin[token_id] = missing if base_id is None else Origin.SAME_BYTES


def _shadowed(vocab: Vocab, held: Mapping[bytes, int]) -> dict[tuple[bytes, int], Iterator[int]]:
    """Return (bytes, kind) → the ids that another token of the same bytes always beats: `<0x41>` beside `A`."""
    out: dict[tuple[bytes, int], list[int]] = {}
    spoken = (vocab.kinds != Kind.SPECIAL) & (vocab.ids < vocab.rows)
    # Python's own numbers: numpy's take five times as long to make and compare, a quarter of a million times.
    for token, token_id, kind, speaks in zip(
        vocab.tokens, vocab.ids.tolist(), vocab.kinds.tolist(), spoken.tolist(), strict=True
    ):
        if speaks and held.get(token) != token_id:
            out.setdefault((token, kind), []).append(token_id)
    return {key: iter(ids) for key, ids in out.items()}


def _match_special(
    base: Vocab,
    new: Vocab,
    source: NDArray[np.int64],
    origin: NDArray[np.uint8],
    overrides: Mapping[int, tuple[int, ...]],
) -> dict[int, tuple[int, ...]]:
    """Fill in special tokens: overrides, then role by role, then equal text; no base row is given twice."""
    composed: dict[int, tuple[int, ...]] = {}
    specials = {int(i) for i in new.ids[new.kinds == Kind.SPECIAL] if i < len(source)} - set(overrides)
    origin[list(specials)] = Origin.SILENT
    for new_id, base_ids in overrides.items():
        origin[new_id] = Origin.OVERRIDE
        source[new_id] = base_ids[0] if len(base_ids) == 1 else -1
        if len(base_ids) > 1:
            composed[new_id] = base_ids
    taken = {ids[0] for ids in overrides.values() if len(ids) == 1}

    def give(new_id: int, base_id: int | None, why: Origin) -> None:
        if base_id is not None and base_id not in taken and base_id < base.rows and source[new_id] < 0:
            source[new_id], origin[new_id] = base_id, why
            taken.add(base_id)

    if {new.texts[new.position[i]] for i in specials} <= _special_texts(base):
        order: tuple[str, ...] = ()  # the same specials by name: roles can only confuse them
    else:
        order = ROLE_ORDER
    by_text = {base.texts[at]: int(base.ids[at]) for at in np.flatnonzero(base.kinds == Kind.SPECIAL)}
    for role in order:
        for new_id in sorted(specials):
            if role in new.roles.get(new_id, ()):
                give(new_id, base.role_id(role), Origin.SAME_ROLE)
    for new_id in sorted(specials):
        give(new_id, by_text.get(new.texts[new.position[new_id]]), Origin.SAME_BYTES)
    for role in READ_ROLES:
        for new_id in sorted(specials):
            base_id = base.role_id(role)
            if role in new.roles.get(new_id, ()) and source[new_id] < 0 and base_id in taken:
                source[new_id], origin[new_id] = base_id, Origin.SAME_ROLE
    return composed


def _special_texts(vocab: Vocab) -> set[str]:
    return {vocab.texts[at] for at in np.flatnonzero(vocab.kinds == Kind.SPECIAL)}


def _resolve(
    base: Vocab, new: Vocab, rows: int, overrides: Mapping[str, Sequence[str]]
) -> dict[int, tuple[int, ...]]:
    out: dict[int, tuple[int, ...]] = {}
    for name, parts in overrides.items():
        new_id = new.id_of_text.get(name)
        if new_id is None or new_id >= rows:
            raise TokswapError(f"--map: the new tokenizer has no token {name!r}", _MAP_HINT)
        base_ids = [base.id_of_text.get(part) for part in parts]
        missing = [p for p, i in zip(parts, base_ids, strict=True) if i is None or i >= base.rows]
        if missing or not parts:
            raise TokswapError(f"--map: the base tokenizer has no token {' '.join(missing)!r}", _MAP_HINT)
        out[new_id] = tuple(i for i in base_ids if i is not None)
    return out


def _identical(base: Vocab, new: Vocab) -> bool:
    return (
        len(base) == len(new)
        and bool(np.array_equal(base.ids, new.ids))
        and base.tokens == new.tokens
        and bool(np.array_equal(base.kinds, new.kinds))
    )


_MAP_HINT = "write --map 'NEW=BASE' or --map 'NEW=BASE1 BASE2' with tokens as `tokswap inspect` spells them"
