"""From an alignment and two sets of rows to the rows of the new vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tokswap.align import preferred_ids
from tokswap.methods import Links, Method, Pieces, RowNetwork, Side, SideBySide, Task, get_method
from tokswap.methods.floors import BLOCK_ROWS, mean_row

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tokswap.align import Alignment
    from tokswap.vocab import Vocab

# A row whose norm is below this share of the median norm was never trained: it is no anchor and no source.
UNTRAINED_NORM = 1e-3


@dataclass(frozen=True)
class Embeddings:
    """`input` Float[V d]; `output` Float[V d], None when tied; `bias` Float[V] of the output, or None."""

    input: Tensor
    output: Tensor | None = None
    bias: Tensor | None = None

    def __post_init__(self) -> None:
        if self.output is not None and self.output.shape != self.input.shape:
            raise ValueError(
                f"input {tuple(self.input.shape)} and output {tuple(self.output.shape)} differ in shape"
            )
        if self.bias is not None and len(self.bias) != len(self.input):
            raise ValueError(f"a bias of {len(self.bias)} for {len(self.input)} rows")

    @property
    def tied(self) -> bool:
        """Is one matrix both input and output?"""
        return self.output is None

    @property
    def output_rows(self) -> Tensor:
        """The rows of the head: `input` when tied."""
        return self.input if self.output is None else self.output


@dataclass(frozen=True)
class Space:
    """Where a donor-space method reasons: its rows, and which of them the targets and the anchors are.

    `targets` Int[n] rows of the space, `alive` Bool[n] those that are trained; `anchors` Int[S 2] (base id, row) of
    the `candidates` that there are.
    """

    rows: Embeddings | None
    targets: Tensor
    alive: Tensor
    anchors: Tensor
    candidates: int


@dataclass(frozen=True)
class Initialised:
    """The new rows, with what had to be set aside: counts of anchors used and dropped, and of replaced rows."""

    rows: Embeddings
    anchors: int
    anchors_dropped: int
    dead_targets: int


def initialise(
    alignment: Alignment,
    base: Embeddings,
    donor: Embeddings | None,
    base_vocab: Vocab,
    pieces: Pieces,
    method: Method,
    parameters: Mapping[str, Any],
    *,
    auxiliary: Tensor | None = None,
    links: Links | None = None,
    network: RowNetwork | None = None,
    device: str = "cpu",
    seed: int = 0,
    budget: int = 512 * 1024**2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Initialised:
    """Make every row of the new vocabulary: copied, composed, initialised by the method, or silent.

    Rows come out in the base's dtype and copied rows bit for bit. `auxiliary` Float[V + n, f], the vectors of all
    base rows and then of the new tokens, takes the donor's place under a donor-space method. A new token whose donor
    row is not finite or zero gets the mean row under such a method, and one without an auxiliary vector the mean of
    its pieces. `links` are for methods that use parallel text, `network` for those that take one. `budget` bytes bound
    a method's working memory.
    """
    import torch

    text_ids = torch.tensor(sorted(preferred_ids(base_vocab).values()), dtype=torch.long)
    usable = usable_ids(base, base_vocab)
    pieces = _only(pieces, usable)
    if auxiliary is None:
        space = _donor_space(alignment, text_ids, usable, donor, method)
    else:
        space = _auxiliary_space(auxiliary, len(base.input), usable)

    def solve(rows: Tensor | SideBySide, table: Tensor | None, side: Side) -> Tensor:
        task = Task(
            base=rows, usable=usable, targets=space.targets, pieces=pieces, anchors=space.anchors, donor=table,
            links=links, network=network, side=side, device=device, seed=seed, budget=budget, on_progress=on_progress,
        )  # fmt: skip
        alive = space.alive
        if not len(alive):  # no new token: no donor was read to make one from
            return torch.zeros(0, rows.shape[1])
        if bool(alive.all()):
            return method(task, **parameters)
        out = get_method("mean" if auxiliary is None else "subword")(replace(task, on_progress=None))
        if bool(alive.any()):
            task = replace(task, targets=space.targets[alive], pieces=_select(pieces, alive))
            out[alive] = method(task, **parameters)
        return out

    new_input, new_output = _both_sides(base, space.rows, method, solve)
    rows = Embeddings(
        input=place(alignment, base.input, new_input),
        output=None if base.output is None else place(alignment, base.output, _given(new_output)),
        bias=None if base.bias is None else _bias(alignment, base.bias, pieces, usable),
    )
    if rows.bias is not None and network is not None and network.bias is not None:
        rows.bias[torch.from_numpy(alignment.new_ids)] = network.bias.to(rows.bias.dtype)
    anchors = len(space.anchors)
    return Initialised(rows, anchors, space.candidates - anchors, int((~space.alive).sum()))


def usable_ids(base: Embeddings, vocab: Vocab) -> Tensor:
    """Return Int[m]: the base ids of ordinary tokens that text yields and whose rows are trained, ascending."""
    import torch

    text_ids = torch.tensor(sorted(preferred_ids(vocab).values()), dtype=torch.long)
    return text_ids[_trained_both(base, text_ids)]


def place(alignment: Alignment, base: Tensor, new: Tensor) -> Tensor:
    """Put copied, composed, new (Float32[n d]) and silent rows together: [V d] in the base's dtype."""
    import torch

    out = torch.zeros(alignment.rows, base.shape[1], dtype=base.dtype)
    source = torch.from_numpy(alignment.source)
    for part in torch.from_numpy(alignment.copied_ids).split(BLOCK_ROWS):
        out[part] = base[source[part]]
    out[torch.from_numpy(alignment.new_ids)] = new.to(base.dtype)
    for new_id, base_ids in alignment.composed.items():
        out[new_id] = base[list(base_ids)].float().mean(0).to(base.dtype)
    silence(alignment, out)
    return out


def silence(alignment: Alignment, rows: Tensor) -> None:
    """Make the silent rows (V d) the mean of all others, in place.

    The logit of a mean row is the mean of the logits: never above the largest, so that it can't win, and its
    probability is at most 1/V (Jensen). That holds whatever the states are, and in a tied matrix too.
    """
    import torch

    silent = torch.from_numpy(alignment.silent_ids)
    if not len(silent):
        return
    speaking = torch.ones(len(rows), dtype=torch.bool)
    speaking[silent] = False
    ids = speaking.nonzero()[:, 0]
    rows[silent] = mean_row(rows, ids[_trained(rows, ids)]).to(rows.dtype)


def _both_sides(
    base: Embeddings,
    donor: Embeddings | None,
    method: Method,
    solve: Callable[[Tensor | SideBySide, Tensor | None, Side], Tensor],
) -> tuple[Tensor, Tensor | None]:
    """Solve input and output, once where one donor space determines both."""
    space = None if donor is None else donor.input
    if base.output is None:
        return solve(base.input, space, "tied"), None
    if method.network or (method.space == "donor" and donor is not None and donor.tied):
        both = solve(SideBySide(base.input, base.output), space, "tied")
        width = base.input.shape[1]
        return both[:, :width], both[:, width:]
    head_space = None if donor is None else donor.output_rows
    return solve(base.input, space, "input"), solve(base.output, head_space, "output")


def _donor_space(
    alignment: Alignment, text_ids: Tensor, usable: Tensor, donor: Embeddings | None, method: Method
) -> Space:
    """Return the space of the donor's rows: its anchors are shared text tokens trained on both sides."""
    import torch

    new_ids = torch.from_numpy(alignment.anchor_ids)
    base_ids = torch.from_numpy(alignment.source)[new_ids]
    fit = torch.isin(base_ids, usable)
    if donor is not None:
        fit &= _trained_both(donor, new_ids)
    targets = torch.from_numpy(alignment.new_ids)
    alive = torch.ones(len(targets), dtype=torch.bool)
    if method.space == "donor" and donor is not None:
        alive = _trained_both(donor, targets)
    anchors = torch.stack([base_ids[fit], new_ids[fit]], dim=1)
    return Space(donor, targets, alive, anchors, int(torch.isin(base_ids, text_ids).sum()))


def _auxiliary_space(vectors: Tensor, base_rows: int, usable: Tensor) -> Space:
    """Return the space of auxiliary vectors: every trained base token that has one is an anchor."""
    import torch

    targets = torch.arange(base_rows, len(vectors))
    known = usable[_trained(vectors, usable)]
    anchors = torch.stack([known, known], dim=1)
    return Space(Embeddings(vectors), targets, _trained(vectors, targets), anchors, len(usable))


def _trained_both(embeddings: Embeddings, ids: Tensor) -> Tensor:
    trained = _trained(embeddings.input, ids)
    return trained if embeddings.output is None else trained & _trained(embeddings.output, ids)


def _trained(rows: Tensor, ids: Tensor) -> Tensor:
    """Return Bool[n]: the row exists, is finite, and is not next to zero beside the table's median row."""
    import torch

    norms = torch.cat([part.float().norm(dim=1) for part in rows.split(BLOCK_ROWS)])
    finite = norms.isfinite() & (norms > 0)
    if bool(finite.any()):
        finite &= norms > UNTRAINED_NORM * norms[finite].median()
    inside = ids < len(rows)
    return inside & finite[torch.where(inside, ids, 0)]


def _only(pieces: Pieces, usable: Tensor) -> Pieces:
    """Leave out the pieces whose rows are not trained: one of them would spoil the whole row."""
    import torch

    fit = torch.isin(pieces.ids, usable)
    kept = torch.cat([torch.zeros(1, dtype=torch.long), fit.cumsum(0)])
    return Pieces(pieces.ids[fit], pieces.lengths[fit], kept[pieces.starts])


def _select(pieces: Pieces, keep: Tensor) -> Pieces:
    import torch

    if bool(keep.all()):
        return pieces
    counts = pieces.starts.diff()
    flat = keep.repeat_interleave(counts)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts[keep].cumsum(0)])
    return Pieces(pieces.ids[flat], pieces.lengths[flat], starts)


def _bias(alignment: Alignment, bias: Tensor, pieces: Pieces, usable: Tensor) -> Tensor:
    """Biases follow their rows; a new token has that of its first piece, which its probability begins with."""
    import torch

    centre = bias[usable].double().mean().to(bias.dtype)
    out = centre.repeat(alignment.rows)
    copied = torch.from_numpy(alignment.copied_ids)
    out[copied] = bias[torch.from_numpy(alignment.source)[copied]]
    spelt = pieces.starts.diff() > 0
    out[torch.from_numpy(alignment.new_ids)[spelt]] = bias[pieces.ids[pieces.starts[:-1][spelt]]]
    for new_id, base_ids in alignment.composed.items():
        out[new_id] = bias[list(base_ids)].float().mean().to(bias.dtype)
    silent = torch.zeros(alignment.rows, dtype=torch.bool)
    silent[torch.from_numpy(alignment.silent_ids)] = True
    if not bool(silent.all()):
        out[silent] = out[~silent].min()  # no bias may lift a silent row above what `silence` says
    return out


def _given(rows: torch.Tensor | None) -> torch.Tensor:
    assert rows is not None
    return rows
