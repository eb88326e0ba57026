"""The refit of a plan's rows: the new model reads the calibration texts, its output rows are fitted, and judged again.

What was fitted is kept only where the model, run once more with the moved rows, predicts text that was held out better:
a tied matrix is read as input too, and cached states don't know that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.calibrate import head_of
from tokswap.initialise import Embeddings, silence
from tokswap.plan import Plan
from tokswap.refit import MOST_STATES, Evidence, Regression, Table, losses, make_basis, moved, solve
from tokswap.vocab import Kind

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.texts import Text

Progress = Callable[[str, int, int], None]

# Precisions of the prior, in units of states, from the one that moves rows least on.
PRECISIONS = (3e4, 1e4, 3e3)
# Bytes read of all texts together: some five times what MOST_STATES are, so that an even sample has room.
MOST_BYTES = 256 * 1024
# What a fit may cost a single text, in nats a token of its held-out part.
HARM = 0.01
# States in a row that are held out together, and of how many such runs one is: neighbours are too much alike.
RUN, ONE_IN = 100, 5
# Fewer states than this can't be parted into some to fit and some to judge.
FEWEST_STATES = 10 * RUN


@dataclass(frozen=True)
class Refitted:
    """The rows, and what the held-out text lost before and after in nats a token (nothing when left as they were)."""

    rows: Embeddings
    reason: str
    states: int = 0
    before: float | None = None
    after: float | None = None
    precision: float | None = None
    shared: bool = False

    @property
    def kept(self) -> bool:
        """Did the fit help, so that the rows are the fitted ones?"""
        return self.after is not None


def refit(
    plan: Plan,
    rows: Embeddings,
    lm: LanguageModel,
    texts: Mapping[str, Text],
    tokenizer: Mapping[str, Any],
    *,
    shared: bool,
    on_progress: Progress | None = None,
) -> Refitted:
    """Fit the output rows of new tokens, and with `shared` those of all, to `texts`; `lm` is the base, and is used up.

    `tokenizer` is the new tokenizer.json.
    """
    import torch

    if plan.base.per_layer_names:
        return Refitted(
            rows, "not fitted: the model has per-layer tables, and can't be run before it is written"
        )
    known = torch.from_numpy(plan.new_vocab.ids[plan.new_vocab.ids < plan.alignment.rows])
    ids = torch.from_numpy(_text_ids(plan) if shared else plan.alignment.new_ids)

    def read(table: Embeddings, stage: str) -> Evidence:
        return _read(plan, table, lm, texts, tokenizer, stage, on_progress)

    def table_of(its: Embeddings) -> Table:
        return Table(its.output_rows, its.bias, ids, known, head_of(plan.base.config))

    evidence = read(rows, "read as the new model")
    if len(evidence.states) < FEWEST_STATES:
        return Refitted(rows, "not fitted: the calibration text is too short", len(evidence.states))
    held_out = (torch.arange(len(evidence.states)) // RUN) % ONE_IN == ONE_IN - 1
    table = table_of(rows)
    before = _by_text(evidence[held_out], table)
    basis = make_basis(evidence[~held_out], table)
    regression = Regression(evidence[~held_out], table, basis)
    best = Refitted(rows, "not fitted", len(evidence.states), float(before.mean()))
    move = None
    why_not = "held-out text gains nothing"
    for number, precision in enumerate(PRECISIONS, 1):
        if on_progress is not None:
            on_progress("fit output rows", number - 1, len(PRECISIONS))
        move = solve(regression, precision, move)
        fitted = _moved(plan, rows, ids, moved(basis, move))
        after = _by_text(read(fitted, f"judge fit {number} of {len(PRECISIONS)}")[held_out], table_of(fitted))
        if float((after - before).max()) > HARM:
            why_not = f"a text loses more than {HARM} nats a token"
            break  # a weaker prior moves rows further still
        if float(after.mean()) >= (best.after or best.before or 0.0):
            break
        why = "held-out text is predicted better"
        best = replace(
            best, rows=fitted, reason=why, after=float(after.mean()), precision=precision, shared=shared
        )
    return best if best.kept else replace(best, reason=f"not fitted: {why_not}")


def _text_ids(plan: Plan) -> NDArray[np.int64]:
    """Return the ids that text yields: text says nothing of when a turn or a document ends, and those rows stay."""
    vocab = plan.new_vocab
    ids = vocab.ids[(vocab.ids < plan.alignment.rows) & (vocab.kinds != Kind.SPECIAL)]
    return ids[~np.isin(ids, plan.alignment.silent_ids)]


def _by_text(evidence: Evidence, table: Table) -> Tensor:
    """Return Float64[texts]: the mean loss of each text, in nats a token; texts count alike, however long."""
    import torch

    nats = losses(evidence, table).double()
    texts, place = evidence.texts.unique(return_inverse=True)
    return torch.zeros(len(texts), dtype=torch.float64).index_add_(0, place, nats) / place.bincount()


def _moved(plan: Plan, rows: Embeddings, ids: Tensor, step: Tensor) -> Embeddings:
    """Return the table with `step` Float[m d] added to the output rows of `ids`, in its dtype."""
    output = rows.output_rows.clone()
    output[ids] = (output[ids].float() + step).to(output.dtype)
    silence(plan.alignment, output)
    return replace(rows, input=output) if rows.tied else replace(rows, output=output)


def _read(
    plan: Plan,
    rows: Embeddings,
    lm: LanguageModel,
    texts: Mapping[str, Text],
    tokenizer: Mapping[str, Any],
    stage: str,
    on_progress: Progress | None,
) -> Evidence:
    """Run the model with these rows over the texts; of very many states an even sample is kept."""
    import torch

    from tokswap.states import own_states

    most = MOST_BYTES // max(len(texts), 1)
    states = own_states(
        with_rows(lm, rows, plan),
        tokenizer,
        plan.new_vocab,
        plan.start_id,
        [text.first(most) for text in texts.values()],
        on_progress=None if on_progress is None else partial(on_progress, stage),
    )
    kept = torch.arange(len(states.hidden))
    if len(kept) > MOST_STATES:
        kept = torch.linspace(0, len(kept) - 1, MOST_STATES).long()
    return Evidence(states.hidden[kept], states.targets[kept], states.texts[kept])


def with_rows(lm: LanguageModel, rows: Embeddings, plan: Plan) -> LanguageModel:
    """Put the rows into the loaded base, in place, and return it as the model that will be written."""
    from torch import nn

    from tokswap.evaluation.language_model import wrap_model

    def put(layer: Any, table: Tensor, name: str = "weight") -> None:
        old = getattr(layer, name)
        setattr(layer, name, nn.Parameter(table.to(old.device, old.dtype), requires_grad=False))

    embedding, head = lm.model.get_input_embeddings(), lm.model.get_output_embeddings()
    put(embedding, rows.input)
    embedding.num_embeddings, embedding.padding_idx = len(rows.input), None
    if rows.tied:
        head.weight = embedding.weight
    else:
        put(head, rows.output_rows)
    if rows.bias is not None:
        put(head, rows.bias, "bias")
    head.out_features = len(rows.input)
    lm.model.config.get_text_config().vocab_size = len(rows.input)
    return wrap_model(lm.model, known_ids=plan.new_vocab.ids)
