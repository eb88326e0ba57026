"""Calibration of the new rows of a plan: one pass of the base over a little text, then linear algebra."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tokswap.calibrate import (
    PRIOR_DEVIATION,
    Head,
    Shift,
    expected_counts,
    find_shifts,
    head_of,
    log_mass,
    shift_rows,
    token_groups,
    worth_shifting,
)
from tokswap.calibration_kinds import calibration_stages
from tokswap.calibration_stages import Carried, carry_out, read_base
from tokswap.device import choose_device, free_memory
from tokswap.errors import TokswapError
from tokswap.initialise import Embeddings, silence
from tokswap.judging import Judge, Judged
from tokswap.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.texts import Text
    from tokswap.states import States

# The base runs once, in bf16 or fp32: calibration is left out where the model would not fit twice over.
MEMORY_FACTOR = 2.0
# A soft cap dampens a shift, by more the larger the logits: it is solved again until nothing is left to shift.
CAPPED_PASSES = 4


# A token that the text yields, or the rows would draw, this often is calibrated by itself: magnets that would fill
# every text (`" \xc2"`, a no-break space) are a handful of tokens, and a group can't hold them.
EVIDENCE = 3.0
OWN = "own"
# Standard deviation, in nats, of the prior on the shift of such a token: the text has said enough. At 2 nats greedy
# text still fell for the strongest magnet after a full stop.
OWN_DEVIATION = 4.0


@dataclass(frozen=True)
class Calibrated:
    """The rows after calibration, the shift of each group of new tokens, what each further stage gave, and why.

    `stages` has those of the recipe that were tried, kept or not, by name.
    """

    rows: Embeddings
    reason: str
    shifts: Mapping[str, Shift] = field(default_factory=dict[str, Shift])
    stages: Mapping[str, Judged] = field(default_factory=dict[str, Judged])


def calibrate(
    plan: Plan,
    rows: Embeddings,
    texts: Mapping[str, Text],
    tokenizer: Mapping[str, Any],
    *,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Calibrated:
    """Shift new output rows, in place, so that each group gets the probability that it deserves in `texts`.

    Then carry out the further stages that the recipe names, in the order lexicon, chain, fit.

    `tokenizer` is the new tokenizer.json. Raises TokswapError where calibration was asked for and can't be done.
    """
    reason = why_not(plan)
    if reason:
        return Calibrated(rows, reason)
    try:
        lm = _load(plan, on_progress)
        states = _states(lm, plan, texts, tokenizer, on_progress)
    except TokswapError as error:  # BERT looks both ways; transformers may not know an architecture
        if plan.recipe.calibrate != "auto":
            raise
        return Calibrated(rows, f"the base can't be run as a causal language model ({error.what})")
    if not worth_shifting(states.hidden):
        return Calibrated(rows, "the calibration text is too short")
    stages = calibration_stages(plan.recipe.calibrate)
    made = replace(rows, input=rows.input.clone()) if "lexicon" in stages and rows.tied else rows
    shifts = shift_new_rows(plan, rows, states)
    by_itself = plan.recipe.calibrate == "auto"
    why = "rows that are sums know nothing of their frequency" if by_itself else "asked for"
    if not stages:
        return Calibrated(rows, why, shifts)
    readings = read_base(plan, lm, texts, tokenizer, stages, on_progress)
    judge = Judge(plan, lm, texts, tokenizer, on_progress)
    start = Carried(rows, shifts, {})
    done = carry_out(judge, stages, readings, start, made, partial(shift_new_rows, plan, states=states))
    return Calibrated(done.rows, why, done.shifts, done.stages)


def shift_new_rows(plan: Plan, rows: Embeddings, states: States) -> dict[str, Shift]:
    """Shift the output rows of new tokens, in place; silent ones are the mean of all others again."""
    shifts = _shift_groups(plan, rows, states) if len(plan.alignment.new_ids) else {}
    silence(plan.alignment, rows.output_rows)
    return shifts


def why_not(plan: Plan) -> str:
    """Say why there is nothing to calibrate or no way to, "" when there is; raises where it was asked for."""
    if plan.recipe.calibrate == "none":
        return "not asked for"
    if not len(plan.alignment.new_ids) and "fit-all" not in calibration_stages(plan.recipe.calibrate):
        return "there are no new tokens"
    size = sum(info.nbytes for info in plan.base.tensors.values())
    room = free_memory(choose_device(plan.recipe.device))
    if size * MEMORY_FACTOR <= room:
        return ""
    reason = f"the base ({size / 1e9:.1f} GB) is too large to run in {room / 1e9:.1f} GB of free memory"
    if plan.recipe.calibrate != "auto":
        raise TokswapError(reason, "choose --calibrate none, or a machine with more memory")
    return reason


def _load(plan: Plan, on_progress: Callable[[str, int, int], None] | None) -> LanguageModel:
    from tokswap.evaluation.language_model import load_language_model

    if on_progress is not None:
        on_progress("load the base to calibrate", 0, 1)
    return load_language_model(plan.base.folder, known_ids=plan.base_vocab.ids, device=plan.recipe.device)


def _states(
    lm: LanguageModel,
    plan: Plan,
    texts: Mapping[str, Text],
    tokenizer: Mapping[str, Any],
    on_progress: Callable[[str, int, int], None] | None,
) -> States:
    from tokswap.states import collect_states

    if lm.states_are_logits:
        raise TokswapError(
            f"the output layer of {plan.base.source} can't be called apart from its body",
            "choose --calibrate none",
        )
    return collect_states(
        lm,
        (plan.base.tokenizer, plan.base_vocab),
        (tokenizer, plan.new_vocab),
        plan.base_vocab.start_id,
        texts.values(),
        on_progress=None if on_progress is None else partial(on_progress, "calibrate"),
    )


def _shift_groups(plan: Plan, rows: Embeddings, states: States) -> dict[str, Shift]:
    """Shift tokens that the text says much about one by one, the others by group; one entry each group and `own`."""
    import torch

    head = head_of(plan.base.config)
    new_ids = torch.from_numpy(plan.alignment.new_ids)
    known = torch.from_numpy(plan.new_vocab.ids[plan.new_vocab.ids < plan.alignment.rows])
    others = known[~torch.isin(known, new_ids)]
    groups = _groups(plan, rows, states, (new_ids, known), head)
    hits = torch.stack([torch.isin(states.targets, members) for _, members in groups])

    priors = [OWN_DEVIATION if name == OWN else PRIOR_DEVIATION for name, _ in groups]

    def mass(ids: Tensor) -> Tensor:
        return log_mass(states.hidden, rows.output_rows, rows.bias, ids, head)

    def shift_once() -> list[Shift]:
        log_groups = torch.stack([mass(members) for _, members in groups])
        found = find_shifts(states.hidden, log_groups, mass(others), hits, states.texts, priors)
        for (_, members), shift in zip(groups, found, strict=True):
            shift_rows(rows.output_rows, members, states.hidden, shift.c, head)
        return found

    passes = [shift_once() for _ in range(1 if head.cap is None else CAPPED_PASSES)]
    total = list(map(_sum_of, zip(*passes, strict=True)))
    out = {name: shift for (name, _), shift in zip(groups, total, strict=True) if name != OWN}
    own = [shift for (name, _), shift in zip(groups, total, strict=True) if name == OWN]
    return out | ({OWN: _together(own)} if own else {})


def _groups(
    plan: Plan, rows: Embeddings, states: States, ids: tuple[Tensor, Tensor], head: Head
) -> list[tuple[str, Tensor]]:
    """Return (name, ids): each token with enough evidence alone, under the name `own`, then the groups of the rest.

    `ids` are the new tokens and all tokens.
    """
    import torch

    new_ids, known = ids
    table = states.hidden, rows.output_rows, rows.bias
    drawn = expected_counts(*table, new_ids, log_mass(*table, known, head), head)
    seen = torch.bincount(states.targets, minlength=len(rows.output_rows))[new_ids]
    evident = torch.maximum(drawn, seen) >= EVIDENCE
    rest = new_ids[~evident].tolist()
    named = token_groups([plan.new_vocab.bytes_of(i) for i in rest], rest)
    single = [(OWN, new_id) for new_id in new_ids[evident].split(1)]
    return single + [(name, torch.tensor(members)) for name, members in named.items()]


def _together(shifts: list[Shift]) -> Shift:
    """Add up the masses and shares of single tokens; c is the mean of theirs, weighted by what they drew."""
    before = sum(s.mass_before for s in shifts)
    return Shift(
        c=sum(s.c * s.mass_before for s in shifts) / max(before, 1e-30),
        mass_before=before,
        mass_after=sum(s.mass_after for s in shifts),
        share=sum(s.share for s in shifts),
    )


def _sum_of(passes: tuple[Shift, ...]) -> Shift:
    return replace(passes[-1], c=sum(shift.c for shift in passes), mass_before=passes[0].mass_before)
