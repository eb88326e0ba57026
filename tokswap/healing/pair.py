"""Teacher and student in one body: the base is the same modules with other embeddings and without what is trained."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Arm
from tokswap.evaluation.head import captured
from tokswap.evaluation.language_model import (
    LOGIT_BYTES,
    LanguageModel,
    load_language_model,
    logit_slices,
    wrap_model,
)
from tokswap.halfway import states_before
from tokswap.healing.adapters import Adapters, linear_layers
from tokswap.healing.candidates import Draw, narrowed

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.checkpoint import Checkpoint

Tables = tuple["Tensor", "Tensor | None", "Tensor | None"]


@dataclass(frozen=True)
class Reading:
    """What a model thinks of texts, a tensor each: `log_probs` Float[n] of every token.

    `states` Float[n d] are those of a layer after every token, where one was asked for.
    """

    log_probs: tuple[Tensor, ...]
    states: tuple[Tensor, ...] = ()


class Pair:
    """One body, and the embeddings of student and teacher that are put into it in turn.

    `student` is the model that is trained, with its adapters; `layers` are those linear layers that may have one.
    """

    def __init__(
        self, moved: Checkpoint, base: Checkpoint, arms: tuple[Arm, Arm], *, device: str, dtype: str
    ) -> None:
        self.arms = arms
        _refuse_per_layer(moved)
        loaded = load_language_model(moved.folder, known_ids=arms[0].vocab.ids, device=device, dtype=dtype)
        if loaded.states_are_logits:
            raise TokswapError(
                f"the output layer of {moved.source} can't be called apart from its body",
                "this architecture can't be healed here yet",
            )
        self.model = loaded.model
        self.layers = linear_layers(self.model)
        self._twins = _twins(self.model, _tables(base))
        self.adapters: Adapters | None = None
        self.student = loaded
        with self.teaching():
            self.teacher = wrap_model(self.model, known_ids=arms[1].vocab.ids)

    @property
    def depth(self) -> int:
        """The number of layers."""
        return int(self.model.config.get_text_config().num_hidden_layers)

    def train(self, ids: Tensor, *, body: dict[str, Any], rank: int, seed: int) -> Adapters:
        """Put adapters beside the rows `ids` and the linear layers `body`, and return them."""
        made = Adapters(ids)
        made.add_rows(self.model)
        made.add_body(body, rank, seed)
        self.adapters = made
        self.student = wrap_model(self.model, known_ids=self.arms[0].vocab.ids)
        return made

    @contextlib.contextmanager
    def teaching(self) -> Generator[None]:
        """Make the model the base for the length of a block, without gradients."""
        import torch

        mine = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        _put(self.model, *self._twins)
        try:
            with self.untrained(), torch.no_grad():
                yield
        finally:
            _put(self.model, *mine)

    @contextlib.contextmanager
    def untrained(self) -> Generator[None]:
        """Make the student what it was before training for the length of a block."""
        if self.adapters is not None:
            self.adapters.on = False
        try:
            yield
        finally:
            if self.adapters is not None:
                self.adapters.on = True

    def read(
        self, ids: Sequence[NDArray[np.int64]], *, layer: int | None = None, draw: Draw | None = None
    ) -> Reading:
        """Return the student's reading of texts in its own ids, with gradients to its adapters.

        With a `draw` the log-probabilities are normalised over its rows, weighted as it says, in place of all.
        """
        if draw is None:
            return _read(self.student, self.arms[0].start_id, ids, layer)
        with narrowed(self.model.get_output_embeddings(), self.adapters, draw):
            return _read(self.student, self.arms[0].start_id, ids, layer, draw)

    def read_as_teacher(self, ids: Sequence[NDArray[np.int64]]) -> Reading:
        """Return the base's reading of texts in the base's ids."""
        with self.teaching():
            return _read(self.teacher, self.arms[1].start_id, ids, None)

    def states_of_teacher(self, ids: Sequence[NDArray[np.int64]], layer: int) -> tuple[Tensor, ...]:
        """Return the base's states Float[n d] of a layer after every token of texts in the base's ids."""
        with self.teaching():
            batch, mask = _padded(self.teacher, self.arms[1].start_id, ids)
            states = states_before(self.model, layer, batch, mask)
        return tuple(states[row, 1 : 1 + len(its)] for row, its in enumerate(ids))

    def save_memory(self) -> None:
        """Keep no activations inside layers: they are computed again on the way back (gradient checkpointing)."""
        from transformers.modeling_layers import GradientCheckpointingLayer

        renamed = getattr(self.model, "activation_checkpointing_enable", None)  # transformers 5.2 and later
        enable = renamed or self.model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
        for module in self.model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True  # the layer alone: modules inside it stay as they are
                for name, value in [*vars(module).items()]:
                    if "drop" in name and isinstance(value, float):
                        setattr(module, name, 0.0)  # OPT's layer drops out by itself, and would now


def _read(
    lm: LanguageModel,
    start_id: int,
    ids: Sequence[NDArray[np.int64]],
    layer: int | None,
    draw: Draw | None = None,
) -> Reading:
    import torch

    batch, mask = _padded(lm, start_id, ids)
    with captured(lm.model, skip_head=True) as caught:
        out = lm.model(
            input_ids=batch, attention_mask=mask, use_cache=False, output_hidden_states=layer is not None
        )
    # The state at position p, after the start token and p tokens, predicts token p.
    final = torch.cat([caught[0][row, : len(its)] for row, its in enumerate(ids)])  # (N, d)
    targets = torch.cat([batch[row, 1 : 1 + len(its)] for row, its in enumerate(ids)])  # (N)
    if not torch.is_grad_enabled():
        log_probs = _known_log_probs(lm, final, targets)
    elif draw is None:
        log_probs = _log_probs(lm, final, targets)
    else:
        log_probs = _drawn_log_probs(lm, final, targets, draw)
    found = log_probs.split(list(map(len, ids)))
    if layer is None:
        return Reading(tuple(found))
    states = out.hidden_states[layer]
    return Reading(tuple(found), tuple(states[row, 1 : 1 + len(its)] for row, its in enumerate(ids)))


def _padded(lm: LanguageModel, start_id: int, ids: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Return the texts after a start token, and which places are theirs, both (B, T)."""
    import torch

    length = 1 + max(map(len, ids))
    batch, mask = torch.full((len(ids), length), start_id), torch.zeros(len(ids), length, dtype=torch.long)
    for row, its in enumerate(ids):
        batch[row, 1 : 1 + len(its)] = torch.from_numpy(its)
        mask[row, : 1 + len(its)] = 1
    return batch.to(lm.device), mask.to(lm.device)


def _log_probs(lm: LanguageModel, states: Tensor, targets: Tensor) -> Tensor:
    """Return Float[N] of states (N, d); more logits than LOGIT_BYTES are made in slices, and again for gradients."""
    import torch
    from torch.utils.checkpoint import checkpoint

    unknown = lm.unknown_rows.to(states.device)

    def part(states: Tensor, targets: Tensor) -> Tensor:
        logits = lm.head(states[None])[0].float()
        if unknown.numel():
            logits = logits.index_fill(-1, unknown, float("-inf"))
        return logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)

    step = max(1, LOGIT_BYTES // (4 * lm.rows))
    if len(states) <= step:
        return part(states, targets)

    def again(states: Tensor, targets: Tensor) -> Tensor:
        found: Tensor = checkpoint(part, states, targets, use_reentrant=False)
        return found

    return torch.cat([again(s, t) for s, t in zip(states.split(step), targets.split(step), strict=True)])


def _known_log_probs(lm: LanguageModel, states: Tensor, targets: Tensor) -> Tensor:
    """Return `_log_probs` without gradients: one slice's memory is used for all, which saves a third of the time."""
    import torch

    parts: list[Tensor] = []
    for part, logits in logit_slices(lm, states, most_bytes=LOGIT_BYTES):
        target = logits.gather(-1, targets[part, None])[:, 0]
        highest = logits.amax(-1)
        total = logits.sub_(highest[:, None]).exp_().sum(-1)
        parts.append(target - highest - total.log())
    return torch.cat(parts)


def _drawn_log_probs(lm: LanguageModel, states: Tensor, targets: Tensor, draw: Draw) -> Tensor:
    """Return Float[N] of states (N, d) by the rows of a draw, which the output layer has been left."""
    logits = lm.head(states[None])[0].float()  # (N, rows of the draw)
    target = logits.gather(-1, draw.places(targets)[:, None])[:, 0]
    return target - (logits + draw.log_weights).logsumexp(-1)


def _tables(base: Checkpoint) -> Tables:
    """Return the base's input and output rows, the latter None where it is tied, and its output bias."""
    roles = base.roles
    return (
        base.read(roles.input),
        base.read(roles.output) if roles.output else None,
        base.read(roles.bias) if roles.bias else None,
    )


def _twins(model: Any, tables: Tables) -> tuple[Any, Any]:
    """Return modules of the classes of the model's embedding and head, with other tables."""
    rows, output, bias = tables
    embedding = _twin(model.get_input_embeddings(), rows)
    head = _twin(model.get_output_embeddings(), embedding.weight if output is None else output)
    if output is None:
        head.weight = embedding.weight
    if bias is not None:
        head.bias = _frozen(bias, head.bias)
    return embedding, head


def _twin(module: Any, table: Tensor) -> Any:
    own, bias = module.weight, getattr(module, "bias", None)
    module.weight = _frozen(own[:0], own)  # copied with the module, and there may be gigabytes of it
    try:
        twin = copy.deepcopy(module)
    finally:
        module.weight = own
    twin.weight = _frozen(table, own)
    if bias is not None:
        twin.bias = _frozen(bias, bias)
    if hasattr(twin, "padding_idx"):
        twin.padding_idx = None  # it is a row of the other table
    return twin


def _frozen(values: Tensor, like: Tensor) -> Any:
    import torch

    return torch.nn.Parameter(values.to(like.device, like.dtype), requires_grad=False)


def _put(model: Any, embedding: Any, head: Any) -> None:
    model.set_input_embeddings(embedding)
    model.set_output_embeddings(head)


def _refuse_per_layer(moved: Checkpoint) -> None:
    if moved.per_layer_names:
        raise TokswapError(
            f"{moved.source} has a table of rows for every layer, which teacher and student can't share",
            "models like Gemma 3n can't be healed here yet",
        )
