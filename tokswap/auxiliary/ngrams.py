"""A space from spelling alone: TF-IDF of the n-grams of bytes, reduced by a truncated singular value decomposition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Bytes of an n-gram, the marks of beginning and end among them.
SHORTEST, LONGEST = 1, 4
FEATURES = 60_000  # the most frequent n-grams; rarer ones are in a handful of tokens
DIMENSIONS = 128
POWER_ITERATIONS = 3
BEGIN, END = "\u0100", "\u0101"  # beyond Latin-1, which stands for the bytes


def ngram_vectors(tokens: Sequence[bytes], *, seed: int = 0) -> Tensor:
    """Return Float32[n f] for n different, non-empty byte strings; f is at most 128.

    Tokens that share rare n-grams are alike: " walking" and "walked", not " walk" and "stroll".
    """
    import torch
    from sklearn.decomposition import TruncatedSVD

    counts = _tf_idf([BEGIN + token.decode("latin-1") + END for token in tokens])
    if min(counts.shape) <= DIMENSIONS:
        return torch.from_numpy(counts.toarray()).float()
    reduce = TruncatedSVD(DIMENSIONS, n_iter=POWER_ITERATIONS, random_state=seed)
    return torch.from_numpy(reduce.fit_transform(counts)).float()


def _tf_idf(texts: list[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        analyzer="char",
        ngram_range=(SHORTEST, LONGEST),
        lowercase=False,  # these are bytes: 0xC3 and 0xE3 are no pair of letters
        max_features=FEATURES,
        sublinear_tf=True,
    ).fit_transform(texts)
