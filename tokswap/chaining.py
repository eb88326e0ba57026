"""The chain rule as a stage: what the base thinks of new tokens in the calibration texts moves their output rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.chain import Targets, chain_targets, find_chains, make_problem, regress
from tokswap.initialise import Embeddings
from tokswap.judging import Judge, Judged, Progress, best_of, held_out
from tokswap.pieces import spell
from tokswap.plan import Plan
from tokswap.refit import Evidence
from tokswap.refitting import with_moved_output
from tokswap.states import GAP

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.texts import Text
    from tokswap.methods import Pieces

# What the prior thinks that a new row's logit is off by at a typical state, in nats, from the least on.
DEVIATIONS = (1.0, 3.0, 10.0)


@dataclass(frozen=True)
class ChainReading:
    """What the base says of new tokens in the part of the texts that is not held out.

    `states` Float32[n d] and the chains' targets there; `token` of these counts the plan's new tokens.
    """

    states: Tensor
    targets: Targets


def read_chains(
    plan: Plan, lm: LanguageModel, texts: list[Text], on_progress: Progress | None = None
) -> ChainReading:
    """Run the base over `texts`, once, and follow all chains that lie in what is not held out."""
    from tokswap.evaluation.language_model import logit_slices
    from tokswap.states import own_states

    base = plan.base.tokenizer, plan.base_vocab
    told = None if on_progress is None else partial(on_progress, "calibrate: what the base expects")
    states = own_states(lm, *base, plan.base_vocab.start_id, texts, on_progress=told)
    seen = ~held_out(states.places)
    hidden, ids, places = states.hidden[seen], states.targets[seen].numpy(), states.places[seen].numpy()
    chains = find_chains(ids, _follows(plan, ids, places), _exact_pieces(plan))
    slices = logit_slices(lm, hidden.to(lm.device, lm.dtype))
    return ChainReading(hidden, chain_targets(chains, ids, ((part, logits.cpu()) for part, logits in slices)))


def _follows(plan: Plan, ids: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return Bool[n]: does a token begin where the one before it ends, or within it (SentencePiece's first space)?"""
    lengths = np.array([len(plan.base_vocab.bytes_of(int(i))) for i in ids[:-1]], dtype=np.int64)
    steps = np.diff(places)
    return np.concatenate([np.zeros(min(len(ids), 1), dtype=np.bool_), (steps <= lengths) & (steps < GAP)])


def _exact_pieces(plan: Plan) -> Pieces:
    """Return the pieces of every new token; none for one of which the base can't spell every byte."""
    import torch

    from tokswap.methods import Pieces

    tokens = [plan.new_vocab.bytes_of(int(i)) for i in plan.alignment.new_ids]
    pieces = spell(plan.base.tokenizer, plan.base_vocab, tokens)
    counts = pieces.starts.diff()
    owner = torch.arange(len(tokens)).repeat_interleave(counts)
    spelt = torch.zeros(len(tokens), dtype=torch.long).index_add_(0, owner, pieces.lengths)
    whole = spelt == torch.tensor([len(token) for token in tokens], dtype=torch.long)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), (counts * whole).cumsum(0)])
    return Pieces(pieces.ids[whole[owner]], pieces.lengths[whole[owner]], starts)


def chain(judge: Judge, rows: Embeddings, reading: ChainReading) -> Judged:
    """Regress output rows of new tokens on what the base says of them; kept where held-out text gains."""
    import torch

    plan = judge.plan
    new_ids = torch.from_numpy(plan.alignment.new_ids)
    bias = None if rows.bias is None else rows.bias[new_ids]

    def moves(_evidence: Evidence) -> Iterator[tuple[float, Embeddings]]:
        made = make_problem(reading.targets, reading.states, rows.output_rows[new_ids], bias, judge.head)
        for number, deviation in enumerate(DEVIATIONS):
            if judge.on_progress is not None:
                judge.on_progress("regress output rows", number, len(DEVIATIONS))
            tokens, step = regress(made, deviation)
            yield deviation, with_moved_output(plan, rows, new_ids[tokens], step)

    return best_of(judge, rows, moves, "no chain rule", "the chain rule")
