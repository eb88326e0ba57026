"""What each stage minimises, and what is looked at on held-out data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.arm import Tokenized
from tokswap.healing.chunks import common_ends, last_tokens
from tokswap.healing.losses import cross_entropy, state_distance, with_automatic_weight
from tokswap.hypernet.predict import Predictor, forward, start_rows
from tokswap.hypernet.sampling import Vocabulary
from tokswap.hypernet.settings import Settings, Stage
from tokswap.hypernet.student import Columns, Student, all_columns, sampled_columns
from tokswap.hypernet.surfaces import surface_matrix
from tokswap.methods import Pieces, SideBySide, Task

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.hypernet.files import Hypernet
    from tokswap.hypernet.pairs import Pairs
    from tokswap.hypernet.streams import Stream


ROWS_AT_ONCE = 4096
"""Rows of text whose graph is kept; more are made in blocks of so many, and made again for their gradient."""


@dataclass(frozen=True)
class Material:
    """What is learnt from: the base's rows Float[V w], its `usable` ids Int[m], pairs, and text with a student."""

    base: Tensor | SideBySide
    usable: Tensor
    pairs: Pairs
    stream: Stream | None = None
    student: Student | None = None
    device: str = "cpu"
    language: int | None = None


@dataclass(frozen=True)
class Batch:
    """The texts of a step, read by `vocabulary`; `rows` Float[p w] are predicted from `pieces`, a leaf of their values.

    `made` is what they were taken from, with the graph of its making, and None where it is made again in blocks.
    """

    vocabulary: Vocabulary
    texts: list[str]
    read: list[Tokenized]
    columns: Columns
    pieces: Pieces
    rows: Tensor
    made: Tensor | None


class Objective:
    """The losses of a hypernetwork on its material."""

    def __init__(self, hypernet: Hypernet, material: Material, settings: Settings) -> None:
        self.hypernet, self.material, self.settings = hypernet, material, settings
        self.config, self.network = hypernet.config, hypernet.network
        rows = material.base[material.usable].float()
        self._variance = rows.var(0).clamp_min(1e-16).to(material.device)  # (w)
        self._read: tuple[Vocabulary, Any] | None = None
        self._batch: Batch | None = None

    def parts(self, stage: Stage, text_step: int) -> int:
        """Return how many parts the loss of a step comes in."""
        if not stage.reads_text:
            return self.settings.accumulate
        assert self.material.stream is not None
        return len(self.material.stream.batch(text_step))

    def begin(self, stage: Stage, step: int, text_step: int) -> None:
        """Make ready for the parts of a step: the rows of its text are predicted once for all of them.

        `step` counts all steps, `text_step` those that read text.
        """
        self._batch = self._prepared(step, text_step) if stage.reads_text else None

    def end(self) -> None:
        """Take the gradient of a step's rows, which its parts have summed, on to the network."""
        batch, self._batch = self._batch, None
        if batch is None or batch.rows.grad is None:
            return
        if batch.made is not None:
            batch.made.backward(batch.rows.grad)
            return
        for block, gradient in zip(
            _blocks(len(batch.rows)), batch.rows.grad.split(ROWS_AT_ONCE), strict=True
        ):
            self._rows(_picked(batch.pieces, block)).backward(gradient)

    def loss(self, stage: Stage, step: int, part: int) -> Tensor:
        """Return one part's loss, between `begin` and `end` of the step."""
        seed = (self.settings.seed, step, part)
        if not stage.reads_text:
            size = max(1, self.settings.pairs // self.settings.accumulate)
            return self.spelling_loss(stage, size, seed)
        main = self._text_loss(stage, part)
        if not self.settings.auxiliary:
            return main
        kind = Stage.SPELL if self.config.residual else Stage.IDENTITY
        size = max(1, self.settings.pairs // 4)
        return main + self.settings.auxiliary * self.spelling_loss(kind, size, seed)

    def spelling_loss(self, stage: Stage, size: int, seed: Sequence[int]) -> Tensor:
        """Return the mean squared error of tokens' rows, in units of the base's own variance of each column."""
        ids, pieces = self.material.pairs.batch(size, self.config.hn_surface_maxlen, seed)
        return self._error(ids, _alone(ids, pieces) if stage is Stage.IDENTITY else pieces)

    def held_out_error(self) -> tuple[float, float]:
        """Return the error of tokens that were held out, spelt by the pieces they were merged from; and the start's."""
        import torch

        ids = self.material.pairs.held_out
        pieces = self.material.pairs.spelt(ids, self.config.hn_surface_maxlen)
        with torch.no_grad():
            mine = float(self._error(ids, pieces))
        target = self.material.base[torch.from_numpy(ids)].float()
        start = start_rows(self.config.start, self._task(pieces))
        return mine, float(((start - target).square() / self._variance.cpu()).mean())

    def held_out_bits(self) -> float | None:
        """Return bits per byte of held-out text under a tokenizer that training doesn't draw; None without text."""
        import torch

        stream, student = self.material.stream, self.material.student
        if stream is None or student is None:
            return None
        vocabulary = stream.held_out_vocabulary()
        rows = Predictor(self.hypernet).rows(self._task(vocabulary.pieces), _code(self))
        columns, reader = all_columns(vocabulary), vocabulary.reader()
        with torch.no_grad():
            tables = student.tables(vocabulary, rows.to(self.material.device))
            nats = -sum(
                float(student.read(tables, columns, reader.tokenize(text).ids)[0].sum())
                for text in stream.held_out
            )
        return nats / (sum(len(text.encode()) for text in stream.held_out) * math.log(2))

    def _prepared(self, step: int, text_step: int) -> Batch:
        stream = self.material.stream
        assert stream is not None
        vocabulary = stream.vocabulary(text_step)
        reader = self._reader(vocabulary)
        texts = stream.batch(text_step)
        read = [reader.tokenize(text) for text in texts]
        columns = sampled_columns(vocabulary, read, self.settings.negatives, (self.settings.seed, step, 1))
        pieces = _picked(vocabulary.pieces, columns.predicted)
        made = self._rows(pieces) if len(columns.predicted) <= ROWS_AT_ONCE else None
        rows = (self._without_graph(pieces) if made is None else made.detach()).requires_grad_()
        return Batch(vocabulary, texts, read, columns, pieces, rows, made)

    def _without_graph(self, pieces: Pieces) -> Tensor:
        import torch

        with torch.no_grad():
            parts = [self._rows(_picked(pieces, block)) for block in _blocks(len(pieces.starts) - 1)]
        return torch.cat(parts)

    def _text_loss(self, stage: Stage, part: int) -> Tensor:
        student, batch = self.material.student, self._batch
        assert student is not None and batch is not None
        read = batch.read[part]
        tables = student.tables(batch.vocabulary, batch.rows)
        if stage is Stage.LM:
            return cross_entropy(student.read(tables, batch.columns, read.ids)[0])
        layer = student.third
        log_probs, states = student.read(tables, batch.columns, read.ids, layer=layer)
        assert states is not None
        own = student.arm.tokenize(batch.texts[part])
        mine, theirs = _at_common_ends(read, states, own, student.own_states(own, layer))
        return with_automatic_weight(state_distance(mine, theirs), cross_entropy(log_probs))

    def _reader(self, vocabulary: Vocabulary) -> Any:
        if self._read is None or self._read[0] is not vocabulary:
            self._read = vocabulary, vocabulary.reader()
        return self._read[1]

    def _error(self, ids: NDArray[np.int64], pieces: Pieces) -> Tensor:
        import torch

        target = self.material.base[torch.from_numpy(ids)].float().to(self.material.device)
        return ((self._rows(pieces) - target).square() / self._variance).mean()

    def _rows(self, pieces: Pieces) -> Tensor:
        import torch

        surfaces = surface_matrix(pieces, self.config.hn_surface_maxlen, self.config.pad_token_id)
        start = start_rows(self.config.start, self._task(pieces))
        kind = self.material.device.partition(":")[0]
        with torch.autocast(kind, torch.bfloat16, enabled=self.settings.autocast):
            made = forward(self.network, surfaces, self.material.base, start, self.material.language)
        return made.rows.float()

    def _task(self, pieces: Pieces) -> Task:
        import torch

        count = len(pieces.starts) - 1
        return Task(
            base=self.material.base,
            usable=self.material.usable,
            targets=torch.arange(count),
            pieces=pieces,
            anchors=torch.zeros(0, 2, dtype=torch.long),
            device=self.material.device,
        )


def _alone(ids: NDArray[np.int64], pieces: Pieces) -> Pieces:
    """Return each token spelt by itself."""
    import torch

    own = torch.from_numpy(ids)
    lengths = torch.zeros(len(own), dtype=torch.long).index_add_(
        0, torch.arange(len(own)).repeat_interleave(pieces.starts.diff()), pieces.lengths
    )
    return Pieces(own, lengths, torch.arange(len(own) + 1))


def _picked(pieces: Pieces, places: NDArray[np.int64]) -> Pieces:
    """Return the pieces of some tokens."""
    import torch

    chosen = torch.from_numpy(places)
    counts = pieces.starts.diff()[chosen]
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    within = torch.arange(int(starts[-1])) - starts[:-1].repeat_interleave(counts)
    flat = pieces.starts[:-1][chosen].repeat_interleave(counts) + within
    return Pieces(pieces.ids[flat], pieces.lengths[flat], starts)


def _blocks(count: int) -> list[NDArray[np.int64]]:
    return [np.arange(at, min(at + ROWS_AT_ONCE, count)) for at in range(0, count, ROWS_AT_ONCE)]


def _at_common_ends(mine: Tokenized, states: Tensor, own: Tokenized, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states of both where their tokens end together."""
    import torch

    ends = common_ends(mine.spans, own.spans)
    a, b = last_tokens(mine.spans, ends), last_tokens(own.spans, ends)
    return states[torch.from_numpy(a)], theirs[torch.from_numpy(b)]


def _code(objective: Objective) -> str:
    """Return the language under which `Predictor` finds what is trained."""
    index, langs = objective.material.language, objective.config.langs
    return "" if index is None else langs[index] if langs else str(index)
