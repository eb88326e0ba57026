"""Tokenizers that are drawn: Unigram models over substrings of a little text, with noise (arXiv 2405.07883, 3.1)."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.align import align
from tokswap.evaluation.arm import Tokenized
from tokswap.evaluation.spans import token_spans
from tokswap.pieces import spell
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import Kind, Vocab, gpt2_alphabet, is_byte_level, make_vocab, read_vocab

if TYPE_CHECKING:
    from tokswap.methods import Pieces

LONGEST = 15
"""Bytes of a piece at the most."""
EVERY = 4
"""Substrings are counted from every so many bytes of the text: a quarter of the work, and the same shares."""
NOISE, NOISE_SPREAD = 1e-5, 4.0
"""Median of the noise's standard deviation, and the spread of its logarithm from tokenizer to tokenizer."""
LEAST = 1e-12


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as a hypernetwork's student uses it.

    `shared` Int[S] are its ids whose rows are the base's rows `base` Int[S]; `new` Int[N] those that are predicted
    from `pieces`.
    """

    tokenizer: Mapping[str, Any]
    vocab: Vocab
    shared: NDArray[np.int64]
    base: NDArray[np.int64]
    new: NDArray[np.int64]
    pieces: Pieces

    def reader(self) -> Reader:
        """Return what turns text into ids."""
        return Reader(load_tokenizer(self.tokenizer, "a sampled tokenizer"), self.vocab)


@dataclass(frozen=True)
class Reader:
    """An engine and the bytes of its tokens."""

    engine: Any
    vocab: Vocab

    def tokenize(self, document: str) -> Tokenized:
        """Return ids and spans of a document."""
        found = self.engine.encode(document, add_special_tokens=False)
        tokens = [self.vocab.bytes_of(i) for i in found.ids]
        return Tokenized(np.asarray(found.ids, dtype=np.int64), token_spans(document, tokens, found.offsets))


def sample_vocabulary(
    texts: Sequence[str], base: Mapping[str, Any], vocab: Vocab, size: int, seed: Sequence[int]
) -> Vocabulary:
    """Draw a tokenizer for texts: `base` is the tokenizer.json of the base and `vocab` its vocabulary."""
    rng = np.random.default_rng(list(seed))
    outer = outer_tokenizer(base)
    engine = load_tokenizer(outer, "the base's pre-tokenizer")
    words = (
        word for text in texts for word, _ in engine.pre_tokenizer.pre_tokenize_str(_normal(engine, text))
    )
    pieces = noisy_pieces(substring_counts(words, int(rng.integers(EVERY))), size, rng)
    outer["model"] = {"type": "Unigram", "unk_id": None, "byte_fallback": False, "vocab": pieces}
    alphabet = gpt2_alphabet()
    tokens = {
        i: (text, bytes(alphabet[char] for char in text), Kind.ORDINARY) for i, (text, _) in enumerate(pieces)
    }
    return aligned_vocabulary(outer, make_vocab(tokens, {}, None), base, vocab)


def as_vocabulary(
    tokenizer: Mapping[str, Any],
    base: Mapping[str, Any],
    vocab: Vocab,
    config: Mapping[str, Any] | None = None,
) -> Vocabulary:
    """Return any tokenizer.json as a student's vocabulary; `config` is its tokenizer_config.json."""
    return aligned_vocabulary(tokenizer, read_vocab(tokenizer, config or {}), base, vocab)


def aligned_vocabulary(
    tokenizer: Mapping[str, Any], new: Vocab, base: Mapping[str, Any], vocab: Vocab
) -> Vocabulary:
    """Return a tokenizer whose vocabulary is `new` as a student's; `base` and `vocab` are the base's."""
    alignment = align(vocab, new)
    shared = alignment.copied_ids
    pieces = spell(base, vocab, [new.bytes_of(int(i)) for i in alignment.new_ids])
    return Vocabulary(tokenizer, new, shared, alignment.source[shared], alignment.new_ids, pieces)


def outer_tokenizer(base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base's tokenizer.json without its tokens: byte-level, and cut as the base cuts if that is too."""
    byte_level = is_byte_level(base)
    cut = base.get("pre_tokenizer") if byte_level else None
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": copy.deepcopy(base.get("normalizer")) if byte_level else None,
        "pre_tokenizer": copy.deepcopy(cut) or _BYTE_LEVEL,
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "WordLevel",
            "vocab": {char: i for i, char in enumerate(gpt2_alphabet())},
            "unk_token": "!",
        },
    }


_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def substring_counts(words: Iterable[str], phase: int) -> Counter[str]:
    """Count the substrings of at most LONGEST characters that begin at every fourth place, `phase` places on."""
    counts: Counter[str] = Counter()
    for word in words:
        for start in range(-phase % EVERY, len(word), EVERY):
            rest = word[start : start + LONGEST]
            counts.update(rest[:end] for end in range(1, len(rest) + 1))
        phase = (phase + len(word)) % EVERY
    return counts


def noisy_pieces(counts: Counter[str], size: int, rng: np.random.Generator) -> list[tuple[str, float]]:
    """Return `size` pieces with their log-probabilities, all single bytes among them, the likeliest first.

    p + N(0, z²) with z ~ LogNormal(ln 1e-5, 4), and never below half of what a substring that was seen once has: in a
    small text the published median would be no noise at all.
    """
    alphabet = list(gpt2_alphabet())
    texts = [*alphabet, *(text for text in counts if len(text) > 1)]
    total = max(counts.total(), 1)
    p = np.asarray([counts[text] / total for text in texts])
    deviation = max(float(rng.lognormal(np.log(NOISE), NOISE_SPREAD)), 0.5 / total)
    deviation = min(deviation, float(p.max(initial=LEAST)))  # beyond it the pieces would be noise alone
    noisy = p + rng.normal(0.0, deviation, len(p))
    order = np.argsort(-noisy[len(alphabet) :], kind="stable")[: max(size - len(alphabet), 0)] + len(alphabet)
    kept = [*range(len(alphabet)), *order[noisy[order] > 0].tolist()]
    return [(texts[i], float(np.log(max(noisy[i], LEAST)))) for i in kept]


def _normal(engine: Any, text: str) -> str:
    return text if engine.normalizer is None else engine.normalizer.normalize_str(text)
