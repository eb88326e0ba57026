"""The stages after the shift: inner lexicon, chain rule and fit, one after the other, each judged by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tokswap.calibrate import Shift
from tokswap.chaining import ChainReading, chain, read_chains
from tokswap.initialise import Embeddings
from tokswap.inner_states import InnerReading, read_inside
from tokswap.judging import Judge, Judged, Progress, shortened
from tokswap.plan import Plan
from tokswap.reading_lexicon import read_lexicon
from tokswap.refitting import refit

if TYPE_CHECKING:
    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.texts import Text


@dataclass(frozen=True)
class Readings:
    """What the base says of the texts, read before its rows are replaced; None for stages that aren't asked for."""

    inside: InnerReading | None
    chains: ChainReading | None


@dataclass(frozen=True)
class Carried:
    """Rows, their shifts, and what came of each stage by its name."""

    rows: Embeddings
    shifts: Mapping[str, Shift]
    stages: Mapping[str, Judged]


def read_base(
    plan: Plan,
    lm: LanguageModel,
    texts: Mapping[str, Text],
    tokenizer: Mapping[str, Any],
    stages: Collection[str],
    on_progress: Progress | None = None,
) -> Readings:
    """Run the base once over the texts for each of `stages` that needs it; `tokenizer` is the new tokenizer.json."""
    read = shortened(texts)
    return Readings(
        read_inside(plan, lm, read, tokenizer, on_progress) if "lexicon" in stages else None,
        read_chains(plan, lm, read, on_progress) if "chain" in stages else None,
    )


def carry_out(
    judge: Judge,
    stages: Collection[str],
    readings: Readings,
    start: Carried,
    made: Embeddings,
    shifted: Callable[[Embeddings], Mapping[str, Shift]],
) -> Carried:
    """Carry out `stages` from the shifted rows of `start` on; `made` are the rows before the shift.

    `shifted` shifts output rows in place: the lexicon changes them too where they are the input rows.
    """
    rows, shifts, out = start.rows, start.shifts, dict[str, Judged]()
    if "lexicon" in stages and readings.inside is not None:
        tried = [(rows, shifts)]

        def finished(its: Embeddings) -> Embeddings:
            if not its.tied:  # the head is apart, and shifted already
                return replace(its, output=start.rows.output)
            tried.append((its, shifted(its)))
            return its

        out["lexicon"] = read_lexicon(judge, made, rows, readings.inside, finished)
        rows = out["lexicon"].rows
        shifts = next(found for its, found in tried if its is rows) if rows.tied else shifts
    if "chain" in stages and readings.chains is not None:
        out["chain"] = chain(judge, rows, readings.chains)
        rows = out["chain"].rows
    for name in ("fit", "fit-all"):
        if name in stages:
            out[name] = refit(judge, rows, shared=name == "fit-all")
            rows = out[name].rows
    return Carried(rows, shifts, out)
