"""What an auxiliary space takes in memory and time, from sizes alone: bounds for a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from tokswap.auxiliary import NGRAMS, open_space
from tokswap.auxiliary.ngrams import DIMENSIONS, FEATURES, LONGEST, SHORTEST
from tokswap.auxiliary.static import table_name

MARKS = 2  # the beginning and the end of a token, beside its bytes
# Of each n-gram of each token: what the sparse matrix and the dictionary of n-grams take, and CPU seconds. 48,000
# tokens of SmolLM2 took 7e-6 s an n-gram.
NGRAM_BYTES, NGRAM_SECONDS = 100, 7e-6
# Of the singular value decomposition, a matrix being a row a token or n-gram, in fp64: its own, a product, a factor.
MATRICES, OVERSAMPLED = 3, 10
COPIES = 3  # of the vectors: as made, with a row for empty tokens, and for each token
BYTES_A_TOKEN = 4  # of an encoder's own tokens, about
TEXTS_A_SECOND = 100_000  # that a tokenizer cuts


@dataclass(frozen=True)
class Cost:
    """Bytes of memory beside the tables, operations of matrix products, other seconds, and the vectors' width."""

    memory: int
    operations: float
    seconds: float
    width: int


def auxiliary_cost(space: str, tokens: Sequence[bytes]) -> Cost:
    """Return at most what vectors of `tokens` in a space take. Raises TokswapError for a space that isn't there."""
    different = [token for token in dict.fromkeys(tokens) if token]
    if space == NGRAMS:
        ngrams = sum(_ngrams(len(token) + MARKS) for token in different)
        sides = len(different) + min(FEATURES, ngrams)
        memory = ngrams * NGRAM_BYTES + MATRICES * 8 * sides * (DIMENSIONS + OVERSAMPLED)
        memory += _vectors(len(tokens), DIMENSIONS)
        return Cost(memory, 0, ngrams * NGRAM_SECONDS, DIMENSIONS)
    model = open_space(space)
    numbers = {name: prod(info.shape) for name, info in model.tensors.items()}
    table = table_name(model)
    if table is not None:
        width = model.tensors[table].shape[1]
        memory = 4 * numbers[table] + _vectors(len(tokens), width)
        return Cost(memory, 0, len(different) / TEXTS_A_SECOND, width)
    width = int(
        model.config.get("hidden_size")
        or max(info.shape[-1] for info in model.tensors.values() if info.shape)
    )
    body = sum(count for name, count in numbers.items() if "embedding" not in name.lower())
    read = sum(len(token) / BYTES_A_TOKEN + MARKS for token in different)
    memory = 4 * sum(numbers.values()) + _vectors(len(tokens), width)
    return Cost(memory, 2 * body * read, len(different) / TEXTS_A_SECOND, width)


def _ngrams(length: int) -> int:
    return sum(max(0, length - size + 1) for size in range(SHORTEST, LONGEST + 1))


def _vectors(tokens: int, width: int) -> int:
    return COPIES * 4 * tokens * width
