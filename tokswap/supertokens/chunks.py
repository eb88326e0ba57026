"""Supertokens from random chunks (TokenAdapt, arXiv:2505.09738): ordinary BPE on pieces of text cut at random.

The text is cut into chunks of a random number of characters, whatever stands there, and each chunk is a word to the
trainer; when the tokenizer reads, nothing is cut. The distribution is the one that its authors publish with their
trainer (Tinycompany-AI/SuperTokenizer), which adds up to 1.1 and is brought to 1 here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.supertokens.superbpe import Settings
from tokswap.vocab import gpt2_alphabet

# Characters of a chunk, from and to → weight; within a range all lengths are equally likely.
LENGTHS: Mapping[tuple[int, int], float] = {
    (4, 5): 0.044, (6, 7): 0.091, (8, 9): 0.146, (10, 11): 0.171, (12, 13): 0.185,
    (14, 15): 0.171, (16, 17): 0.146, (18, 19): 0.091, (20, 21): 0.044, (22, 23): 0.011,
}  # fmt: skip
LONGEST_TOKEN = 30


def length_shares() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return Int[n] lengths of chunks in characters, and Float[n] how likely each is; they add up to 1."""
    lengths = [
        (size, weight / (stop - start + 1))
        for (start, stop), weight in LENGTHS.items()
        for size in range(start, stop + 1)
    ]
    sizes, weights = np.asarray([s for s, _ in lengths]), np.asarray([w for _, w in lengths])
    return sizes, weights / weights.sum()


def cut_at_random(text: str, draw: np.random.Generator) -> list[str]:
    """Cut a text into chunks of random lengths; together they are the text."""
    sizes, shares = length_shares()
    ends = np.cumsum(draw.choice(sizes, size=len(text) // int(sizes[0]) + 1, p=shares)).tolist()
    ends = [end for end in ends if end < len(text)]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if end > start]


def train_chunks(blocks: Iterable[str], settings: Settings, seed: int = 0) -> dict[str, Any]:
    """Train byte-level BPE of `vocab_size` tokens on random chunks; nearly all are different, and all are held."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=list(settings.special),
        initial_alphabet=list(gpt2_alphabet()),
        max_token_length=LONGEST_TOKEN,
        show_progress=False,
    )
    draw = np.random.default_rng(seed)

    def chunks() -> Iterator[list[str]]:
        return (cut_at_random(block, draw) for block in blocks)

    engine.train_from_iterator(chunks(), trainer)
    return json.loads(engine.to_str())
