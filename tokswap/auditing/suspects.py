"""Rows that shouldn't be trusted, each with its reasons: pure arithmetic over what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokswap.auditing.evidence import Evidence
from tokswap.verification.rows import norm_outliers

NORM_FACTOR = 2.0
"""Times the trusted median, or its inverse, that a norm must pass: honest rebuilt rows were seen to reach 1.6."""
LOGIT_DEVIATIONS = 8.0
"""Robust standard deviations of the mean logit above the median of trusted rows that no ordinary token reaches."""
WIN_SHARE = 0.01
"""Share of states that a token must win to be called one that always wins."""
WRONG_SHARE = 0.8
"""Share of its wins that must be wrong: a frequent token wins often, and is right often."""


@dataclass(frozen=True)
class Suspect:
    """A row and why it is one; `norm` and `logit` are multiples of the trusted rows' median and deviations from it."""

    token_id: int
    reasons: tuple[str, ...]
    norm: float
    logit: float
    wins: float


def find_suspects(
    candidates: NDArray[np.int64],
    trusted: NDArray[np.int64],
    norms: NDArray[np.float64],
    evidence: Evidence | None,
) -> list[Suspect]:
    """Return the rows among `candidates` that stand out from the `trusted` ones, those with most reasons first.

    `norms` Float64[V] of the output rows; `evidence` is what the model did on texts, None where it can't be run.
    """
    if not len(candidates) or not len(trusted):
        return []
    among = np.zeros(len(norms), dtype=np.bool_)
    among[trusted] = among[candidates] = True
    centre = float(np.nanmedian(norms[trusted]))
    outliers = norm_outliers(norms, among)
    far = (norms[outliers] > NORM_FACTOR * centre) | (norms[outliers] * NORM_FACTOR < centre)
    odd = set(outliers[far].tolist()) & set(candidates.tolist())
    logits = np.zeros(len(norms)) if evidence is None else _deviations(evidence.mean_logits, trusted)
    found: list[Suspect] = []
    for i in candidates.tolist():
        share, wrong = _wins(evidence, i)
        reasons = [
            *["its norm is unlike the others'"] * (i in odd),
            *["its logit is high whatever the text"] * bool(logits[i] > LOGIT_DEVIATIONS),
            *["it wins where it is wrong"] * bool(share > WIN_SHARE and wrong > WRONG_SHARE),
        ]
        if reasons:
            found.append(Suspect(i, tuple(reasons), float(norms[i]) / centre, float(logits[i]), share))
    return sorted(found, key=lambda s: (-len(s.reasons), -s.wins, -s.logit, s.token_id))


def _deviations(values: NDArray[np.float64], trusted: NDArray[np.int64]) -> NDArray[np.float64]:
    centre = np.median(values[trusted])
    spread = 1.4826 * np.median(np.abs(values[trusted] - centre))
    return (values - centre) / max(float(spread), 1e-6)


def _wins(evidence: Evidence | None, token_id: int) -> tuple[float, float]:
    if evidence is None or not evidence.wins[token_id]:
        return 0.0, 0.0
    wins = int(evidence.wins[token_id])
    return wins / evidence.states, 1 - int(evidence.right[token_id]) / wins
