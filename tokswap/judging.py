"""The judge of calibration: whatever a stage proposes is kept only where text that it did not see is predicted better.

The new model runs with the proposed rows, under its new tokenizer: a tied matrix is read as input too, and what was
computed on the states of the base, or on cached ones, doesn't know that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tokswap.calibrate import Head, head_of
from tokswap.initialise import Embeddings
from tokswap.plan import Plan
from tokswap.refit import MOST_STATES, Evidence, Table, losses
from tokswap.states import own_states

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.evaluation.language_model import LanguageModel
    from tokswap.evaluation.texts import Text

Progress = Callable[[str, int, int], None]
# What a stage makes of the states that it may see: settings and rows, from the one that moves rows least on.
Proposals = Callable[[Evidence], Iterator[tuple[float, Embeddings]]]

# Bytes read of all texts together: some three times what MOST_STATES are, so that an even sample has room.
MOST_BYTES = 256 * 1024
# What a stage may cost a single text, in nats a token of its held-out part.
HARM = 0.01
# Bytes in a row that are held out together, and of how many such runs one is: neighbours are too much alike.
RUN_BYTES, ONE_IN = 250, 5
# Fewer states than this can't be parted into some to learn from and some to judge.
FEWEST_STATES = 1000


@dataclass(frozen=True)
class Judged:
    """The rows that were kept and what held-out text loses before and after, in nats a token; texts count alike.

    `after` and `setting` (the strength that was best) are None where the rows were left; `reason` says why.
    """

    rows: Embeddings
    reason: str
    states: int = 0
    before: float | None = None
    after: float | None = None
    setting: float | None = None

    @property
    def kept(self) -> bool:
        """Did the stage help, so that the rows are those that it made?"""
        return self.after is not None


def held_out(places: Tensor) -> Tensor:
    """Return Bool[n]: which of the places Int[n] (bytes, as in `States`) are for judging alone."""
    return (places // RUN_BYTES) % ONE_IN == ONE_IN - 1


class Judge:
    """Runs the base's body with new rows over the calibration texts; the base itself is used up by that."""

    def __init__(
        self,
        plan: Plan,
        lm: LanguageModel,
        texts: Mapping[str, Text],
        tokenizer: Mapping[str, Any],
        on_progress: Progress | None = None,
    ) -> None:
        import torch

        self.plan, self.on_progress = plan, on_progress
        self.known = torch.from_numpy(plan.new_vocab.ids[plan.new_vocab.ids < plan.alignment.rows])
        self.head: Head = head_of(plan.base.config)
        self._lm, self._tokenizer, self._texts = lm, tokenizer, shortened(texts)
        self._last: tuple[Embeddings, tuple[Evidence, Tensor]] | None = None

    def read(self, rows: Embeddings, stage: str) -> tuple[Evidence, Tensor]:
        """Run the model with these rows: its states, of very many an even sample, and which are held out."""
        import torch

        if self._last is not None and self._last[0] is rows:
            return self._last[1]
        states = own_states(
            with_rows(self._lm, rows, self.plan),
            self._tokenizer,
            self.plan.new_vocab,
            self.plan.start_id,
            self._texts,
            on_progress=None if self.on_progress is None else partial(self.on_progress, stage),
        )
        kept = torch.arange(len(states.hidden))
        if len(kept) > MOST_STATES:
            kept = torch.linspace(0, len(kept) - 1, MOST_STATES).long()
        evidence = Evidence(states.hidden[kept], states.targets[kept], states.texts[kept])
        return evidence, held_out(states.places[kept])

    def remember(self, rows: Embeddings, reading: tuple[Evidence, Tensor]) -> None:
        """Keep the reading of the rows that the next stage starts from."""
        self._last = rows, reading

    def losses(self, rows: Embeddings, reading: tuple[Evidence, Tensor]) -> Tensor:
        """Return Float64[texts]: the mean loss of each text's held-out part, in nats a token."""
        evidence, judged = reading
        table = Table(rows.output_rows, rows.bias, self.known, self.known, self.head)
        return _by_text(evidence[judged], table)


def best_of(judge: Judge, rows: Embeddings, proposals: Proposals, undone: str, stage: str) -> Judged:
    """Return the best of what is proposed, or the rows as they are; it ends where held-out text stops gaining.

    `undone` begins the reason of a stage that is left out, `stage` is its name for progress.
    """
    if judge.plan.base.per_layer_names:
        why = "the model has per-layer tables, and can't be run before it is written"
        return Judged(rows, f"{undone}: {why}")
    reading = judge.read(rows, "read as the new model")
    evidence, judged = reading
    if len(evidence.states) < FEWEST_STATES or not bool(judged.any()):
        return Judged(rows, f"{undone}: the calibration text is too short", len(evidence.states))
    judge.remember(rows, reading)
    before = judge.losses(rows, reading)
    best = Judged(rows, "", len(evidence.states), float(before.mean()))
    why_not = "held-out text gains nothing"
    for number, (setting, its) in enumerate(proposals(evidence[~judged]), 1):
        read = judge.read(its, f"judge {stage} {number}")
        after = judge.losses(its, read)
        if float((after - before).max()) > HARM:
            why_not = f"a text loses more than {HARM} nats a token"
            break  # what moves rows further still harms more
        if float(after.mean()) >= (best.after or best.before or 0.0):
            break
        judge.remember(its, read)
        why = "held-out text is predicted better"
        best = replace(best, rows=its, reason=why, after=float(after.mean()), setting=setting)
    return best if best.kept else replace(best, reason=f"{undone}: {why_not}")


def shortened(texts: Mapping[str, Text]) -> list[Text]:
    """Return the beginnings of the texts, MOST_BYTES in all: what every judged stage reads."""
    most = MOST_BYTES // max(len(texts), 1)
    return [text.first(most) for text in texts.values()]


def _by_text(evidence: Evidence, table: Table) -> Tensor:
    """Return Float64[texts]: the mean loss of each text, in nats a token; texts count alike, however long."""
    import torch

    nats = losses(evidence, table).double()
    texts, place = evidence.texts.unique(return_inverse=True)
    return torch.zeros(len(texts), dtype=torch.float64).index_add_(0, place, nats) / place.bincount()


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
