r"""Let a byte-level tokenizer cut between words only where it must, so that new merges may join them.

Byte-level BPE cuts text into words by a pattern and merges within them. Of its borders those are *safe* where a
character that is no white space, digit or colon stands before a space and a letter. Where no token of the vocabulary
holds a space behind anything but white space, no old merge crosses one: the words of a longer stretch merge as they
did alone, and only what is learnt later joins them. So a text takes the same tokens as before, until there are new
merges.

The new pattern is the old one repeated over safe borders:

    (?:OLD)(?>(?:(?<=[^\s\p{N}:])(?= \p{L})(?:OLD))*)

A repetition that may stop anywhere never makes an engine go back into OLD, so that each repetition matches what OLD
alone would match from there: the cuts are those of OLD without the safe ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tokswap.pretokenizers import byte_level, split
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_parts import steps
from tokswap.tokenizer_traits import encode
from tokswap.vocab import Kind, Vocab, is_byte_level

SAFE = r"(?<=[^\s\p{N}:])(?= \p{L})"
# What the ByteLevel step of the tokenizers library cuts by when it is asked to (GPT-2's pattern).
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Unicode's White_Space, as \s is in such patterns; Python's own holds four control characters more.
WHITE_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()#&~-]")
ALL_MATCHES = (("Isolated", False), ("Removed", True))
"""(behavior, invert) of a Split whose pieces are its pattern's matches."""
SPACE_BEHIND = re.compile(f"[^{WHITE_SPACE}] ")


@dataclass(frozen=True)
class Widened:
    """A tokenizer.json that no longer cuts at safe borders; `why_not` says why it is as it was, "" where it isn't."""

    tokenizer: Mapping[str, Any]
    why_not: str = ""


def widen(tokenizer: Mapping[str, Any], vocab: Vocab) -> Widened:
    """Return the tokenizer with its last cutting step widened; one that does not cut at words is left alone."""
    if not is_byte_level(tokenizer) or not _cuts_words(tokenizer):
        return Widened(tokenizer)
    if crossing := crossing_tokens(vocab):
        return Widened(
            tokenizer, f"{len(crossing):,} of its tokens hold a space behind a word, as {crossing[0]!r}"
        )
    before, pattern, last = _last_cut(tokenizer.get("pre_tokenizer"))
    if pattern is None:
        return Widened(tokenizer, "its pattern is none that can be widened")
    wide = {**last, "pattern": {"Regex": widened_pattern(pattern, whole_words(tokenizer, vocab))}}
    parts = [*before, wide, byte_level(use_regex=False)]
    return Widened({**tokenizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts}})


def widened_pattern(pattern: str, alone: Iterable[str] = ()) -> str:
    """Return the pattern that matches what `pattern` matches, over safe borders again; words in `alone` stay alone."""
    words = "|".join(map(_quoted, alone))
    first, no_word = (rf"(?={words})(?:{pattern})|", f"(?!{words})") if words else ("", "")
    return rf"{first}(?:{pattern})(?>(?:{SAFE}{no_word}(?:{pattern}))*)"


def crossing_tokens(vocab: Vocab) -> list[bytes]:
    """Return ordinary tokens that hold a space behind something else than white space, or behind half a character."""
    return [
        token
        for token, kind in zip(vocab.tokens, vocab.kinds.tolist(), strict=True)
        if kind == Kind.ORDINARY and b" " in token and SPACE_BEHIND.search(token.decode(errors="replace"))
    ]


def whole_words(tokenizer: Mapping[str, Any], vocab: Vocab) -> list[str]:
    """Return the words that are tokens as a whole and that merging does not arrive at (`ignore_merges`, Llama 3).

    Within a stretch they would be cut smaller than they were alone.
    """
    if not tokenizer["model"].get("ignore_merges"):
        return []
    merging = {**tokenizer["model"], "ignore_merges": False}
    uncut = {"normalizer": None, "pre_tokenizer": byte_level(use_regex=False), "added_tokens": []}
    engine = load_tokenizer({**tokenizer, **uncut, "model": merging, "post_processor": None})
    texts: dict[int, str] = {}
    for token_id, token, kind in zip(vocab.ids.tolist(), vocab.tokens, vocab.kinds.tolist(), strict=True):
        text = token.decode(errors="ignore")
        if kind == Kind.ORDINARY and text.encode() == token:
            texts[token_id] = text
    found = encode(engine, list(texts.values()))
    return [text for (i, text), ids in zip(texts.items(), found, strict=True) if ids != [i]]


def _cuts_words(tokenizer: Mapping[str, Any]) -> bool:
    cutter = load_tokenizer(tokenizer).pre_tokenizer
    return cutter is not None and len(cutter.pre_tokenize_str("of the")) > 1


def _last_cut(pre_tokenizer: Any) -> tuple[list[Mapping[str, Any]], str | None, Mapping[str, Any]]:
    """Return the steps before the one that cuts last, its pattern (None for another kind of step), and that step."""
    parts = list(steps(pre_tokenizer, "pretokenizers"))
    if not parts or parts[-1].get("type") != "ByteLevel" or parts[-1].get("add_prefix_space", True):
        return [], None, {}
    if parts[-1].get("use_regex", True):
        return parts[:-1], GPT2_PATTERN, split(GPT2_PATTERN)
    cut: Mapping[str, Any] = parts[-2] if len(parts) > 1 else {}
    pattern = (cut.get("pattern") or {}).get("Regex")
    if cut.get("type") != "Split" or (cut.get("behavior"), bool(cut.get("invert"))) not in ALL_MATCHES:
        return [], None, {}
    return parts[:-2], pattern, cut


def _quoted(text: str) -> str:
    return SPECIAL.sub(r"\\\g<0>", text)
