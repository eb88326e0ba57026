"""A BPE tokenizer over bytes: the canonical tokens of any bytes, and which token may follow which tokens.

A string of tokens is *canonical* when the tokenizer gives it back for its own text: encode(decode(t)) = t. A tokenizer
reads characters, and a model may stop inside one, so encoding is carried on to bytes that end there: a byte-level
tokenizer merges the bytes there are (cut into words as if the first character that begins with them stood there),
SentencePiece spells them in its byte pieces.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.pretokenizers import gguf_name
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_parts import steps
from tokswap.vocab import SPACE_MARK, Kind, Vocab, is_byte_level

CONTEXT_TOKENS = 4
"""Tokens before a token that are encoded with it again; more where these are not the end of what they stand in."""

HARMLESS = {"Prepend", "NFC"}
"""Normalisers that leave a text as it is, but for a space in front; NFC text passes NFC, and other text is refused."""

VISIBLE = range(0x21, 0x7F)
CROSSING = re.compile(rb"[!-~] ")


@dataclass(frozen=True)
class ByteCodec:
    """Tokens as byte strings in their order, and the tokenizer that says which of them make up a text.

    `keys` are the bytes of every text token, sorted, `ids` Int[n] those tokens' ids; `apart` are the visible
    ASCII bytes after which a token that begins with a space is always a new one, whatever else stands there; `spaced`
    Bool[n] are those tokens, and `alone` Int[n] says which are canonical by themselves, -1 until it is asked.
    """

    engine: Any
    vocab: Vocab
    byte_level: bool
    keys: tuple[bytes, ...]
    ids: NDArray[np.int64]
    byte_ids: Mapping[int, int]
    apart: frozenset[int]
    spaced: NDArray[np.bool_]
    alone: NDArray[np.int8]

    def encode(self, content: bytes) -> list[int] | None:
        """Return the canonical ids of bytes; None where there are none (no UTF-8, or text that it would change)."""
        return self.encode_many([content])[0]

    def encode_many(self, contents: Sequence[bytes]) -> list[list[int] | None]:
        """Encode byte strings, each by itself."""
        found = self._encoded(contents)
        return [
            its if its is None or self.decode(its) == c else None
            for its, c in zip(found, contents, strict=True)
        ]

    def _encoded(self, contents: Sequence[bytes]) -> list[list[int] | None]:
        """Encode byte strings, without a look whether the ids spell them."""
        out: list[list[int] | None] = [None] * len(contents)
        whole: dict[int, str] = {}
        for i, content in enumerate(contents):
            try:
                whole[i] = content.decode()
            except UnicodeDecodeError as error:
                if error.reason == "unexpected end of data":
                    out[i] = self._cut(content[: error.start].decode(), content[error.start :])
        encoded = self.engine.encode_batch_fast(list(whole.values()), add_special_tokens=False)
        for i, found in zip(whole, encoded, strict=True):
            out[i] = found.ids
        return out

    def decode(self, ids: Sequence[int]) -> bytes:
        """Return the exact bytes of ids."""
        return b"".join(map(self.vocab.bytes_of, ids))

    def starting_with(self, start: bytes) -> tuple[int, int]:
        """Return the first and the last + 1 place in `keys` of the tokens that begin with these bytes."""
        low = bisect_left(self.keys, start)
        return low, bisect_left(self.keys, _after(start), lo=low) if start.strip(b"\xff") else len(self.keys)

    def may_follow(self, ids: Sequence[int], places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return Bool[n]: whether `ids`, a canonical string, stays canonical with the token at each place after it."""
        context, content = self._context(ids)
        out = np.ones(len(places), dtype=np.bool_)
        split = bool(content) and content[-1] in self.apart
        apart = self.spaced[places] if split else np.zeros(len(places), dtype=np.bool_)
        out[apart] = self._alone(places[apart])
        ask = np.flatnonzero(~apart)
        keys, wanted = [self.keys[i] for i in places[ask]], self.ids[places[ask]].tolist()
        found = self._encoded(
            [content + key for key in keys]
        )  # ids that are those wanted spell what was asked
        out[ask] = [its == [*context, last] for its, last in zip(found, wanted, strict=True)]
        return out

    def _context(self, ids: Sequence[int]) -> tuple[list[int], bytes]:
        """Return the last few ids that are by themselves encoded as they are, and their bytes."""
        size = CONTEXT_TOKENS
        while size < len(ids):
            last = list(ids[-size:])
            content = self.decode(last)
            if self.encode(content) == last:
                return last, content
            size *= 2
        return list(ids), self.decode(ids)

    def _alone(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each token whether it is canonical with nothing before it; asked once."""
        unknown = places[self.alone[places] < 0]
        found = self._encoded([self.keys[i] for i in unknown])
        self.alone[unknown] = [its == [int(self.ids[i])] for i, its in zip(unknown, found, strict=True)]
        return self.alone[places] > 0

    def _cut(self, head: str, tail: bytes) -> list[int] | None:
        """Encode text that goes on with the first bytes of a character."""
        if not self.byte_level:
            before = self.engine.encode(head, add_special_tokens=False).ids if head else []
            return [*before, *(self.byte_ids[b] for b in tail)] if self.byte_ids.keys() >= set(tail) else None
        character = _first_character(tail)
        words = [word for word, _ in self.engine.pre_tokenizer.pre_tokenize_str(head + character)]
        left = len(character.encode()) - len(tail)  # a byte-level word has one character for each byte
        words[-1] = words[-1][: len(words[-1]) - left]
        return [token.id for word in words if word for token in self.engine.model.tokenize(word)]


def make_codec(tokenizer: Mapping[str, Any], vocab: Vocab, name: str = "the tokenizer") -> ByteCodec:
    """Return the codec of a parsed tokenizer.json; raises TokswapError for one whose tokens do not spell every text."""
    _refuse_lossy(tokenizer, name)
    text = (vocab.kinds != Kind.SPECIAL) & (vocab.ids < vocab.rows)
    pairs = sorted((vocab.tokens[i], int(vocab.ids[i])) for i in np.flatnonzero(text) if vocab.tokens[i])
    keys = tuple(token for token, _ in pairs)
    byte_level = is_byte_level(tokenizer)
    # No BPE merges across two bytes that stand together in no token, and none of the known patterns looks over
    # a space at what stands before it.
    known = not byte_level or gguf_name(tokenizer.get("pre_tokenizer")) is not None
    crossed = {found[0] for key in keys for found in CROSSING.findall(key)}
    return ByteCodec(
        engine=load_tokenizer(_as_it_stands(tokenizer), name),
        vocab=vocab,
        byte_level=byte_level,
        keys=keys,
        ids=np.asarray([token_id for _, token_id in pairs], dtype=np.int64),
        byte_ids={
            t[0]: int(i)
            for t, i, k in zip(vocab.tokens, vocab.ids, vocab.kinds, strict=True)
            if k == Kind.BYTE
        },
        apart=frozenset(VISIBLE) - crossed if known else frozenset(),
        spaced=np.asarray([key[:1] == b" " for key in keys], dtype=np.bool_),
        alone=np.full(len(keys), -1, dtype=np.int8),
    )


def _refuse_lossy(tokenizer: Mapping[str, Any], name: str) -> None:
    model = tokenizer["model"]
    if (
        model.get("type") != "BPE"
        or model.get("end_of_word_suffix")
        or model.get("continuing_subword_prefix")
    ):
        raise TokswapError(
            f"{name} is no BPE over the bytes of a text ({model.get('type')})",
            "exact byte probabilities are there for byte-level BPE and SentencePiece's; leave --exact-bytes out",
        )
    for step in steps(tokenizer.get("normalizer"), "normalizers"):
        spaces = step.get("type") == "Replace" and (step.get("pattern"), step.get("content")) == (
            _SPACE,
            SPACE_MARK,
        )
        if step.get("type") not in HARMLESS and not spaces:
            raise TokswapError(
                f"{name} changes texts before it reads them ({step.get('type')}), so that bytes are lost",
                "exact byte probabilities need a tokenizer that gives every text back; leave --exact-bytes out",
            )


def _as_it_stands(tokenizer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tokenizer without what it puts around a text: a space in front and special tokens."""
    kept = [s for s in steps(tokenizer.get("normalizer"), "normalizers") if s.get("type") != "Prepend"]
    before = [_without_space(s) for s in steps(tokenizer.get("pre_tokenizer"), "pretokenizers")]
    return {
        **tokenizer,
        "normalizer": {"type": "Sequence", "normalizers": kept} if kept else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": before} if before else None,
        "post_processor": None,
        "model": {**tokenizer["model"], "dropout": None},
    }


def _without_space(step: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(step)
    if "add_prefix_space" in out:
        out["add_prefix_space"] = False
    if out.get("type") == "Metaspace":
        out.pop("add_prefix_space", None)
        out["prepend_scheme"] = "never"
    return out


def _after(start: bytes) -> bytes:
    """Return the first byte string after all that begin with `start`, which holds a byte below 255."""
    kept = start.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1])


def _first_character(tail: bytes) -> str:
    """Return the first character whose UTF-8 begins with `tail`, one to three bytes that a character may begin with."""
    size = 2 if tail[0] < 0xE0 else 3 if tail[0] < 0xF0 else 4
    second = {0xE0: 0xA0, 0xF0: 0x90}.get(tail[0], 0x80)
    rest = [second, 0x80, 0x80][len(tail) - 1 : size - 1]
    return (tail + bytes(rest)).decode()


_SPACE = {"String": " "}
