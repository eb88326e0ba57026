"""Inner lexicon: a model that reads a word in pieces has put it together a few layers on (arXiv:2410.05864).

The state at the last piece, at a low layer, knows which word was read. An affine map takes it to the row that a token
of that word would have: it is fitted on tokens that the base does have and that are read in pieces on purpose, and
then applied to new ones. The map predicts what the mean of the pieces' rows misses, by ridge regression: where states
tell nothing, what it misses on average is left. Layer and penalty are those of the least error on tokens not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Penalties that are tried, as shares of the mean eigenvalue of the states' second moment.
RIDGES = (0.1, 1.0, 10.0)
# Of how many known tokens one judges the map.
ONE_IN = 5


@dataclass(frozen=True)
class Lexicon:
    """The map: `weights` Float64[d e] from states less `mean` Float64[d] to what the pieces' mean misses less `offset`.

    `layer` it reads, `ridge` its penalty; `error` is that of tokens that it did not see, squared, as a share of what
    the mean of their pieces leaves.
    """

    weights: Tensor
    mean: Tensor
    offset: Tensor
    layer: int
    ridge: float
    error: float = 1.0

    def __call__(self, states: Tensor) -> Tensor:
        """Return Float32[n e]: what is to be added to the mean of the pieces' rows, for states (n d) of its layer."""
        return ((states.double() - self.mean) @ self.weights + self.offset).float()


def fit_lexicon(states: Tensor, misses: Tensor) -> Lexicon:
    """Fit the map to states Float[l n d] of l layers and `misses` Float[n e]: a token's row less its pieces' mean."""
    import torch

    judging = torch.arange(len(misses)) % ONE_IN == ONE_IN - 1
    tried = [
        _ridge(states[layer][~judging], misses[~judging], layer, ridge)
        for layer in range(len(states))
        for ridge in RIDGES
    ]
    errors = [_error(made, states[made.layer][judging], misses[judging]) for made in tried]
    error, best = min(zip(errors, range(len(tried)), strict=True))
    layer, ridge = tried[best].layer, tried[best].ridge
    return replace(_ridge(states[layer], misses, layer, ridge), error=error)


def _ridge(states: Tensor, misses: Tensor, layer: int, ridge: float) -> Lexicon:
    import torch

    mean, offset = states.double().mean(0), misses.double().mean(0)
    centred = states.double() - mean
    gram = centred.T @ centred
    penalty = max(ridge * float(gram.diagonal().mean()), 1e-30)
    gram += penalty * torch.eye(len(gram), dtype=torch.float64)
    weights = torch.linalg.solve(gram, centred.T @ (misses.double() - offset))
    return Lexicon(weights, mean, offset, layer, ridge)


def _error(made: Lexicon, states: Tensor, misses: Tensor) -> float:
    left = misses.double() - made(states)
    return float(left.square().sum() / misses.double().square().sum().clamp_min(1e-30))
