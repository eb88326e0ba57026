"""What `calibrate` may be: auto, none, shift, or the names of further stages joined by "+", as in lexicon+chain."""

from __future__ import annotations

from itertools import chain, combinations

# In the order in which they are carried out, after the shift (the lexicon mends input rows, and the shift follows it).
STAGES = ("lexicon", "chain", "fit", "fit-all")
WHOLE = ("auto", "shift", "none")


def calibration_stages(kind: str) -> tuple[str, ...]:
    """Return the stages that a kind has beyond the shift, in the order in which they are carried out."""
    named = kind.split("+")
    return tuple(stage for stage in STAGES if stage in named)


def check_calibration(kind: str) -> str:
    """Return the kind, its stages in order; raises ValueError for what is none."""
    if kind in WHOLE:
        return kind
    ordered = "+".join(calibration_stages(kind))
    if sorted(kind.split("+")) == sorted(ordered.split("+")) and ordered in kinds():
        return ordered
    raise ValueError(
        f"{kind!r} is neither {', '.join(WHOLE)} nor made of {', '.join(STAGES)} (one of the fits at the most), "
        "joined by + as in lexicon+chain"
    )


def kinds() -> tuple[str, ...]:
    """Return every kind there is."""
    joined = chain.from_iterable(combinations(STAGES, size) for size in range(1, len(STAGES) + 1))
    return (*WHOLE, *("+".join(names) for names in joined if not {"fit", "fit-all"} <= set(names)))


def rows_move(kind: str) -> bool:
    """Does this kind, once carried out, move the rows of shared tokens too?"""
    return "fit-all" in calibration_stages(kind)
