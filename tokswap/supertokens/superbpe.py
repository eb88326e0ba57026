"""SuperBPE (Liu et al. 2025, arXiv:2503.13423): BPE that first learns words, and then what stands between them.

Stage 1 is ordinary BPE up to the transition. Stage 2 reads the text in the tokens of stage 1, cut into stretches of
several words, and goes on merging. What it learns never crosses a colon and a space after it, and holds at most
`max_words` words. The result is one list of merges for any BPE encoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokswap.errors import TokswapError
from tokswap.pieces import BYTE_TO_CHAR
from tokswap.supertokens.encoding import Say, after_colons, encode_text, words_in
from tokswap.supertokens.merging import LEAST_COUNT, MergeTrainer
from tokswap.supertokens.patterns import byte_level, stretch_pattern, word_pattern
from tokswap.vocab import gpt2_alphabet

BYTES = 256
END_OF_TEXT = "<|endoftext|>"
MAX_WORDS = 4
MOST_TOKENS = 10_000_000  # the library makes room for all of them before it begins


@dataclass(frozen=True)
class Settings:
    """`vocab_size` tokens in all, of which the first `transition` are learnt as words; `digits` in a number's token."""

    vocab_size: int
    transition: int
    max_words: int = MAX_WORDS
    digits: int = 3
    special: tuple[str, ...] = (END_OF_TEXT,)

    def __post_init__(self) -> None:
        least = BYTES + len(self.special)
        if not least <= self.vocab_size <= MOST_TOKENS:
            raise TokswapError(
                f"no tokenizer of {self.vocab_size:,} tokens can be trained",
                f"give a --vocab-size from {least} (all bytes and the special tokens) to {MOST_TOKENS:,}",
            )
        if not least <= self.transition <= self.vocab_size:
            raise TokswapError(
                f"a transition at {self.transition:,} of {self.vocab_size:,} tokens is none",
                f"give a --transition from {least} (all bytes and the special tokens) up to --vocab-size",
            )


@dataclass(frozen=True)
class Trained:
    """`tokenizer` with superwords and `ordinary` of the same size without, both as parsed tokenizer.json.

    `read` bytes of text were read for what crosses words.
    """

    tokenizer: Mapping[str, Any]
    ordinary: Mapping[str, Any]
    read: int


def train_superbpe(
    words: Iterable[str],
    stretches: Iterable[str],
    settings: Settings,
    *,
    most_bytes: int,
    on_progress: Say | None = None,
) -> Trained:
    """Train stage 1 on the blocks of `words`, stage 2 on those of `stretches`, of which it holds `most_bytes` bytes.

    Raises TokswapError where the text has too few different words for the transition.
    """
    ordinary = train_words(words, settings)
    if len(ordinary["model"]["vocab"]) < settings.transition:
        raise TokswapError(
            f"the text yields only {len(ordinary['model']['vocab']):,} tokens of words",
            "give more text, or a lower --transition",
        )
    first = stage_one(ordinary, settings)
    text = encode_text(first, stretches, most_bytes, on_progress)
    texts = _texts(first)
    breaks = text.breaks | after_colons(text.symbols, texts)
    trainer = MergeTrainer(text.symbols, breaks, texts, lambda a, b: words_in(a + b) <= settings.max_words)

    def say(tokens: int) -> None:
        if on_progress is not None:
            on_progress("merge", tokens, settings.vocab_size)

    merges = trainer.train(settings.vocab_size, say)
    return Trained(_with_merges(first, merges, texts), ordinary, text.read)


def train_words(blocks: Iterable[str], settings: Settings) -> dict[str, Any]:
    """Train ordinary byte-level BPE of `vocab_size` tokens, special tokens and bytes first."""
    from tokenizers import Tokenizer, decoders, models, trainers

    engine = Tokenizer.from_str(json.dumps(_tokenizer({}, [], word_pattern(settings.digits), ())))
    engine.model = models.BPE()
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=LEAST_COUNT,
        special_tokens=list(settings.special),
        initial_alphabet=list(gpt2_alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(blocks, trainer)
    return json.loads(engine.to_str())


def stage_one(ordinary: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the first `transition` tokens of an ordinary tokenizer, cutting text into stretches."""
    vocab = {text: i for text, i in ordinary["model"]["vocab"].items() if i < settings.transition}
    merges = [m for m in ordinary["model"]["merges"] if m[0] + m[1] in vocab]
    return _tokenizer(vocab, merges, stretch_pattern(settings.digits), settings.special)


def _texts(tokenizer: Mapping[str, Any]) -> list[bytes]:
    """Return the bytes of tokens by id; a special token has none, and is joined with nothing."""
    alphabet = gpt2_alphabet()
    special = {token["id"] for token in tokenizer["added_tokens"]}
    out = [b""] * len(tokenizer["model"]["vocab"])
    for text, token_id in tokenizer["model"]["vocab"].items():
        out[token_id] = b"" if token_id in special else bytes(alphabet[c] for c in text)
    return out


def _with_merges(
    first: Mapping[str, Any], merges: Iterable[tuple[int, int, int]], texts: list[bytes]
) -> dict[str, Any]:
    model = first["model"]
    spelt = ["".join(BYTE_TO_CHAR[byte] for byte in text) for text in texts]
    vocab = model["vocab"] | {spelt[result]: result for _, _, result in merges}
    added = [[spelt[left], spelt[right]] for left, right, _ in merges]
    return {**first, "model": {**model, "vocab": vocab, "merges": [*model["merges"], *added]}}


def _tokenizer(
    vocab: Mapping[str, int], merges: list[Any], pattern: str, special: tuple[str, ...]
) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": vocab[text], "content": text, "special": True} | flags for text in special],
        "normalizer": None,
        "pre_tokenizer": byte_level(pattern),
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": dict(vocab),
            "merges": merges,
        },
    }
