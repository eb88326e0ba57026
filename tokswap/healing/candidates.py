"""The output rows that a training step normalises over, where a vocabulary is far larger than its text.

A softmax over 262,144 rows costs more than the body of a small model, for tokens of other languages that are all but
impossible where they stand. The sum below it is split: exact over the text's own tokens and the likeliest others,
estimated over a fresh uniform sample of the rest, each counted as often as it stands for another
(Bengio and Senécal 2008). The sum is unbiased; scores of held-out text are always over the whole vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap.evaluation.language_model import final_states, logit_slices

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from tokswap.healing.adapters import Adapters
    from tokswap.healing.pair import Pair
    from tokswap.healing.settings import Settings
    from tokswap.healing.snippets import Snippet

LIKELY_SHARE = 0.75
"""Share of the candidates that are the likeliest tokens, and not drawn anew each step."""
JUDGED = 4
"""Held-out snippets from which the likeliest tokens are read off."""


@dataclass(frozen=True)
class Draw:
    """The rows of one step, Int[n], and the log of how many rows each stands for, Float[n].

    The first `exact` rows rise and stand for themselves.
    """

    rows: Tensor
    log_weights: Tensor
    exact: int

    def places(self, ids: Tensor) -> Tensor:
        """Return where `ids`, Int[k], of the exact rows are among the rows."""
        import torch

        return torch.searchsorted(self.rows[: self.exact], ids)


@dataclass(frozen=True)
class Candidates:
    """Rows that every step takes, Int[a] rising, and the tokens' others, Int[b], of which so many are drawn."""

    exact: NDArray[np.int64]
    others: NDArray[np.int64]
    drawn: int
    seed: int

    def draw(self, step: int, device: torch.device | None = None) -> Draw:
        """Return the rows of a step; which they are follows from its number alone."""
        import torch

        picked = np.random.default_rng([self.seed, step]).choice(self.others, self.drawn, replace=False)
        weights = np.zeros(len(self.exact) + self.drawn, dtype=np.float32)
        weights[len(self.exact) :] = np.log(len(self.others) / self.drawn)
        rows = torch.from_numpy(np.concatenate([self.exact, picked]))
        return Draw(rows.to(device), torch.from_numpy(weights).to(device), len(self.exact))


def rows_of_a_step(settings: Settings, own: int, rows: int) -> int:
    """Return how many of `rows` output rows a step normalises over, `own` of which are the text's."""
    some = own + settings.candidates
    return rows if not settings.candidates or 2 * some > rows else some


def make_candidates(
    pair: Pair, settings: Settings, train: Sequence[Snippet], held_out: Sequence[Snippet]
) -> Candidates | None:
    """Return the candidates of a run, or None where all rows are hardly more than they.

    The likeliest tokens are those to which the student, untrained, gives most in a few held-out snippets.
    """
    own = np.unique(np.concatenate([snippet.student.ids for snippet in train]))
    if rows_of_a_step(settings, len(own), pair.student.rows) == pair.student.rows:
        return None
    known = np.ones(pair.student.rows, dtype=np.bool_)
    known[pair.student.unknown_rows.cpu().numpy()] = False
    known[own] = False
    others = np.flatnonzero(known)
    mass = _mean_probability(pair, held_out[:: max(1, len(held_out) // JUDGED)])
    likely = round(settings.candidates * LIKELY_SHARE)
    order = np.argsort(-mass[others], kind="stable")
    exact = np.sort(np.concatenate([own, others[order[:likely]]]))
    return Candidates(exact, np.sort(others[order[likely:]]), settings.candidates - likely, settings.seed)


def _mean_probability(pair: Pair, snippets: Sequence[Snippet]) -> NDArray[np.float64]:
    """Return Float[rows]: what the student gives each token without what is trained, as a mean over places."""
    import torch

    lm, start = pair.student, pair.arms[0].start_id
    total = torch.zeros(lm.rows, dtype=torch.float64)
    count = 0
    with pair.untrained():
        for snippet in snippets:
            ids = torch.from_numpy(np.concatenate([[start], snippet.student.ids[:-1]]))
            for _, values in logit_slices(lm, final_states(lm, ids[None])[0]):
                total += values.softmax(-1).sum(0).cpu()
            count += len(ids)
    return (total / count).numpy()


@contextlib.contextmanager
def narrowed(head: Any, adapters: Adapters | None, draw: Draw) -> Generator[None]:
    """Leave an output layer only the rows of a draw for the length of a block."""
    import torch

    own, bias = head.weight, getattr(head, "bias", None)
    head.weight = torch.nn.Parameter(own.detach()[draw.rows], requires_grad=False)
    if bias is not None:
        head.bias = torch.nn.Parameter(bias.detach()[draw.rows], requires_grad=False)
    if adapters is not None:
        adapters.output_places = draw.places(adapters.ids.to(own.device))
    try:
        yield
    finally:
        head.weight = own
        if bias is not None:
            head.bias = bias
        if adapters is not None:
            adapters.output_places = None
