"""More tokens for a tokenizer that is in use: its own BPE goes on, on text of a domain or a language.

New merges stand behind all others, so that a text is first cut as before and then some of its tokens are joined:
no text ever takes more tokens than it did, and every old token keeps its id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.supertokens.encoding import Say, after_colons, after_lines, encode_text, words_in
from tokswap.supertokens.merging import MergeTrainer
from tokswap.supertokens.widening import Widened, widen
from tokswap.vocab import Kind, Vocab

DIGITS = re.compile(rb"[0-9]+")
MAX_WORDS = 1


@dataclass(frozen=True)
class Extended:
    """The longer tokenizer.json; `added` ids; `saved` Int64[added] tokens of the text that each saves, of `tokens`.

    `read` bytes of text were read. `within_words` says why the tokens stay within words where they need not have.
    """

    tokenizer: Mapping[str, Any]
    added: tuple[int, ...]
    saved: NDArray[np.int64]
    tokens: int
    read: int
    within_words: str = ""

    @property
    def suggested(self) -> int:
        """How many of the added tokens are worth it: where the curve of what is saved bends most.

        That is the point farthest above the straight line from nothing to all (Satopaa et al. 2011, "Kneedle").
        """
        total = max(int(self.saved.sum()), 1)
        above = np.cumsum(self.saved) / total - np.arange(1, len(self.saved) + 1) / max(len(self.saved), 1)
        return int(np.argmax(above)) + 1 if len(above) else 0


def extend_bpe(
    tokenizer: Mapping[str, Any],
    vocab: Vocab,
    blocks: Iterable[str],
    add: int,
    *,
    max_words: int = MAX_WORDS,
    most_bytes: int,
    on_progress: Say | None = None,
) -> Extended:
    """Add up to `add` tokens that are frequent in the text, each of at most `max_words` words.

    For tokens of several words a byte-level tokenizer is widened first (`tokswap.supertokens.widening`); where it can't
    be, `within_words` of the result says why, and tokens stay within words. Numbers stay as long in a token as they
    were. Raises TokswapError for a tokenizer that isn't BPE.
    """
    model = tokenizer["model"]
    if model.get("type", "BPE") != "BPE" or "merges" not in model or model.get("continuing_subword_prefix"):
        raise TokswapError(
            "only BPE with merges that spell their tokens alike everywhere can go on merging",
            "give another base, or train a tokenizer with `tokswap supertokens train`",
        )
    widened = widen(tokenizer, vocab) if max_words > 1 else Widened(tokenizer)
    tokenizer = widened.tokenizer
    text = encode_text(tokenizer, blocks, most_bytes, on_progress)
    texts = _texts(tokenizer, vocab)
    breaks = text.breaks | after_colons(text.symbols, texts) | after_lines(text.symbols, texts)
    longest = max(map(digits_in, texts))

    def allowed(left: bytes, right: bytes) -> bool:
        both = left + right
        ends_in_space = both.endswith(b" ") and both.strip(b" ") != b""  # a space belongs to what follows it
        return words_in(both) <= max_words and digits_in(both) <= longest and not ends_in_space

    trainer = MergeTrainer(text.symbols, breaks, texts, allowed)
    tokens, before = len(text.symbols), len(texts)

    def say(size: int) -> None:
        if on_progress is not None:
            on_progress("merge", size - before, add)

    merges = trainer.train(before + add, say)
    saved = np.zeros(len(texts) - before, dtype=np.int64)
    for (_, _, result), joined in zip(merges, trainer.joined, strict=True):
        if result >= before:
            saved[result - before] += joined
    longer = _with_merges(tokenizer, vocab, merges)
    added = tuple(range(before, len(texts)))
    return Extended(longer, added, saved, tokens, text.read, widened.why_not)


def digits_in(text: bytes) -> int:
    """Return the length of the longest number in a token."""
    return max(map(len, DIGITS.findall(text)), default=0)


def _texts(tokenizer: Mapping[str, Any], vocab: Vocab) -> list[bytes]:
    """Return the bytes of tokens by id; none for those that merges never touch: special, added, fallback bytes."""
    out = [b""] * (vocab.max_id + 1)
    apart = {entry["id"] for entry in tokenizer.get("added_tokens") or []}
    for token_id, token, kind in zip(vocab.ids.tolist(), vocab.tokens, vocab.kinds.tolist(), strict=True):
        if kind == Kind.ORDINARY and token_id not in apart:
            out[token_id] = token
    return out


def _with_merges(
    tokenizer: Mapping[str, Any], vocab: Vocab, merges: Iterable[tuple[int, int, int]]
) -> dict[str, Any]:
    """Append merges and their tokens; added tokens are listed in the model's vocabulary too, to keep their ids."""
    model = tokenizer["model"]
    spelt = dict(zip(vocab.ids.tolist(), vocab.texts, strict=True))
    listed = dict(model["vocab"]) | {
        entry["content"]: entry["id"] for entry in tokenizer.get("added_tokens") or []
    }
    added: list[list[str]] = []
    for left, right, result in merges:
        added.append([spelt[left], spelt[right]])
        spelt.setdefault(result, spelt[left] + spelt[right])
        listed.setdefault(spelt[left] + spelt[right], result)
    old = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return {**tokenizer, "model": {**model, "vocab": listed, "merges": old + added}}
