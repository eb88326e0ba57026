"""The definition itself: every token string that covers some bytes, each read by the model alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from tiny_models import tiny_model

from tokswap.evaluation.language_model import LanguageModel, wrap_model
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import Vocab, gpt2_alphabet, read_vocab

CHARS = {byte: char for char, byte in gpt2_alphabet().items()}
SPECIAL = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def spelt(token: bytes) -> str:
    return "".join(CHARS[b] for b in token)


def byte_level(merges: list[tuple[bytes, bytes]], alphabet: bytes, regex: bool = False) -> dict[str, Any]:
    """Byte-level BPE over a few bytes: `<s>` is id 0, `</s>` id 1."""
    tokens = dict.fromkeys([bytes([b]) for b in alphabet] + [a + b for a, b in merges])
    vocab = {"<s>": 0, "</s>": 1} | {spelt(t): i for i, t in enumerate(tokens, 2)}
    step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": t} | SPECIAL for i, t in enumerate(("<s>", "</s>"))],
        "normalizer": None,
        "pre_tokenizer": step,
        "post_processor": None,
        "decoder": step,
        "model": {"type": "BPE", "vocab": vocab, "merges": [[spelt(a), spelt(b)] for a, b in merges]},
    }


def sentencepiece(merges: list[tuple[str, str]], letters: str, fallback: bytes) -> dict[str, Any]:
    """BPE in SentencePiece's manner, with a space put first and byte pieces for some bytes."""
    texts = ["<s>", "</s>", *letters, *(a + b for a, b in merges), *(f"<0x{b:02X}>" for b in fallback)]
    texts = list(dict.fromkeys(texts))
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": t} | SPECIAL for i, t in enumerate(("<s>", "</s>"))],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "vocab": {text: i for i, text in enumerate(texts)},
            "merges": [list(pair) for pair in merges],
            "byte_fallback": True,
        },
    }


class BruteForce:
    """A tiny seeded model over a tiny vocabulary, and the probability of bytes by enumeration."""

    def __init__(self, tokenizer: dict[str, Any], kind: str = "llama", seed: int = 0) -> None:
        self.tokenizer = tokenizer
        self.vocab: Vocab = read_vocab(tokenizer, {"bos_token": "<s>", "eos_token": "</s>"})
        self.model = tiny_model(
            kind, rows=len(self.vocab), seed=seed, initializer_range=0.15
        )  # logits of some units
        self.lm: LanguageModel = wrap_model(self.model, known_ids=self.vocab.ids)
        self.engine = load_tokenizer(tokenizer)
        self.text_ids = [int(i) for i in self.vocab.ids if not self.vocab.is_special(int(i))]
        self.next = cache(self._next)

    def _next(self, ids: tuple[int, ...]) -> list[float]:
        with torch.no_grad():
            values = self.model(input_ids=torch.tensor([[0, *ids]])).logits[0, -1].double()
        return torch.log_softmax(values, -1).tolist()

    def log_probability(self, ids: tuple[int, ...]) -> float:
        return sum(self.next(ids[:i])[token] for i, token in enumerate(ids))

    def decode(self, ids: tuple[int, ...]) -> bytes:
        return b"".join(map(self.vocab.bytes_of, ids))

    def canonical(self, ids: tuple[int, ...]) -> bool:
        """encode(decode(ids)) == ids, by the tokenizer as it is; a space it puts first is no part of the text."""
        content = self.decode(ids)
        if self.tokenizer["normalizer"]:
            if content and content[:1] != b" ":
                return False
            if content == b" ":  # the text is still empty; its space stands there
                return ids == (self.vocab.id_of_text["▁"],)
            content = content[1:]
        try:
            return not ids or self.engine.encode(content.decode(), add_special_tokens=False).ids == list(ids)
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                return False
            return self.cut(ids, error.start + bool(self.tokenizer["normalizer"]))

    def cut(self, ids: tuple[int, ...], whole: int) -> bool:
        """Whether ids are right for bytes that end inside a character, which begins at byte `whole`."""
        if self.tokenizer["normalizer"]:  # byte pieces after canonical text
            head = next(i for i in range(len(ids) + 1) if len(self.decode(ids[:i])) == whole)
            pieces = all(self.vocab.texts[self.vocab.position[i]].startswith("<0x") for i in ids[head:])
            return pieces and self.canonical(ids[:head])
        return self.merged(self.decode(ids)) == list(ids)

    def merged(self, content: bytes) -> list[int]:
        """BPE as it is defined: the pair of the lowest rank, the leftmost first, until none is left."""
        ranks = {tuple(pair): rank for rank, pair in enumerate(self.tokenizer["model"]["merges"])}
        parts = [CHARS[b] for b in content]
        while True:
            found = [(ranks[a, b], i) for i, (a, b) in enumerate(pairwise(parts)) if (a, b) in ranks]
            if not found:
                return [self.tokenizer["model"]["vocab"][part] for part in parts]
            _, at = min(found)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]

    def covers(self, content: bytes, ids: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
        """Every token string, canonical or not, whose bytes begin with `content` and whose last token holds its end."""
        done = len(self.decode(ids))
        if done >= len(content):
            yield ids
            return
        for token in self.text_ids:
            its = self.vocab.bytes_of(token)
            rest = content[done : done + len(its)]
            if rest == its[: len(rest)]:
                yield from self.covers(content, (*ids, token))

    def probability(self, content: bytes) -> float:
        """P of bytes over covers that are canonical, and are so without their last token."""
        return math.fsum(
            math.exp(self.log_probability(ids))
            for ids in self.covers(content)
            if self.canonical(ids) and self.canonical(ids[:-1])
        )

    def __repr__(self) -> str:
        return json.dumps(self.tokenizer["model"])[:60]
