"""One controlled trial: train a BPE tokenizer on a known mixture, infer it from its merges, and compare.

As in arXiv:2407.16607, section 4: categories and shares are drawn (uniformly on the simplex), and the error is the
mean squared error of the shares. The tokenizer is GPT-2's kind, trained by the tokenizers library.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.mixture.documents import Documents, word_counts
from tokswap.mixture.infer import infer
from tokswap.mixture.merges import merge_list
from tokswap.mixture.types import MergeList, WordCounts

ESTIMATES = ("byte_share", "efficiency_share", "classification_share", "uniform_share")
"""The answer, the paper's two baselines, and the same share for all."""

SMALLEST_ERROR = 1e-16
"""Of a mean square: what rounding leaves of an exact answer, whose logarithm would be infinite."""

FEWEST = 2
"""Times that a pair must stand in the text to be merged: the order of those that stand there once is chance."""


@dataclass(frozen=True)
class Found:
    """What `merges` merges of a trial's tokenizer say, one entry a category: shares of bytes and their intervals."""

    shares: Mapping[str, list[float]]
    """By estimate."""
    low: list[float]
    high: list[float]
    fold_error: list[float]
    """Standard errors from folds of the merges alone."""
    gap: float
    cpu_seconds: float

    def log_error(self, truth: Sequence[float], estimate: str = ESTIMATES[0]) -> float:
        """Return log10 of the mean squared error of an estimate's shares."""
        error = np.mean((np.array(truth) - np.array(self.shares[estimate])) ** 2)
        return float(np.log10(max(float(error), SMALLEST_ERROR)))

    def inside(self, truth: Sequence[float]) -> list[bool]:
        """Return for each category whether the interval holds its true share."""
        return [low <= share <= high for low, share, high in zip(self.low, truth, self.high, strict=True)]


@dataclass(frozen=True)
class Trial:
    """A known mixture and what was found of it, by numbers of merges."""

    seed: int
    categories: list[str]
    truth: list[float]
    """Shares of the bytes that were trained on."""
    train_bytes: int
    """In all: less than was asked for where a category's text was too little for its share."""
    text_bytes: list[int]
    """Counted of each category."""
    merges: int
    """Of the trained tokenizer."""
    found: dict[int, Found]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return asdict(self)


@dataclass(frozen=True)
class Setting:
    """What all trials of an experiment have in common; sizes in bytes, `count_bytes` of each category."""

    draw: int
    merges: tuple[int, ...]
    train_bytes: float
    count_bytes: float
    overlap: bool = False


def run_trial(
    trained_on: Mapping[str, Documents],
    counted_on: Mapping[str, Documents],
    number: dict[str, int],
    setting: Setting,
    seed: int,
) -> Trial:
    """Train on documents of `trained_on`, count others, and infer; all that is random comes from the seed.

    `number` numbers the words that were counted so far, here and in earlier trials, and gets those that are new.

    Where both are the same, each category's documents are parted in two halves, one for each, or with
    `setting.overlap` the same ones are counted. Raises TokswapError where the text is too little to infer from.
    """
    draw = np.random.default_rng(seed)
    names = [list(trained_on)[i] for i in draw.choice(len(trained_on), setting.draw, replace=False)]
    shares = draw.dirichlet(np.ones(setting.draw))
    texts: list[str] = []
    sizes: list[int] = []
    held: dict[str, tuple[Documents, NDArray[np.int64]]] = {}
    for name, share in zip(names, shares, strict=True):
        source = trained_on[name]
        there, other = _halves(source, counted_on[name], setting.overlap, draw)
        seen = source.first(there, share * setting.train_bytes)
        texts += [source.texts[at] for at in seen]
        sizes.append(int(source.sizes[seen].sum()))
        held[name] = counted_on[name], counted_on[name].first(other, setting.count_bytes)
    learnt = merge_list(train(texts, max(setting.merges)), known=())
    counted = word_counts(held, number)
    truth = (np.array(sizes) / sum(sizes)).tolist()
    steps = sorted({min(n, len(learnt.pairs)) for n in setting.merges})
    found = {n: _found(learnt, counted, n) for n in steps}
    return Trial(seed, names, truth, sum(sizes), counted.text_bytes.tolist(), len(learnt.pairs), found)


def _halves(
    trained: Documents, counted: Documents, overlap: bool, draw: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = draw.permutation(len(trained.texts))
    if trained is not counted:
        return order, draw.permutation(len(counted.texts))
    half = len(order) // 2
    return (order, order) if overlap else (order[:half], order[half:])


def train(texts: Sequence[str], merges: int) -> dict[str, Any]:
    """Return the tokenizer.json of GPT-2's kind of tokenizer with at most `merges` merges, trained on texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + merges,
        initial_alphabet=alphabet,
        min_frequency=FEWEST,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())


def _found(merges: MergeList, counted: WordCounts, steps: int) -> Found:
    start = time.process_time()
    report = infer("trained", merges, counted, steps=steps)
    parts = [section.figures for section in report.sections.values()]
    shares = [part["byte_share"] for part in parts]
    return Found(
        shares={name: [float(part[name].value) for part in parts] for name in ESTIMATES},
        low=[float(share.value if share.low is None else share.low) for share in shares],
        high=[float(share.value if share.high is None else share.high) for share in shares],
        fold_error=[float(part["fold_error"].value) for part in parts],
        gap=float(report.figures["gap"].value),
        cpu_seconds=time.process_time() - start,
    )
