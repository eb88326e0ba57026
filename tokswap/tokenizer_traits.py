"""What a tokenizer does with text, found by asking it: numbers, difficult strings, tokens out of reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.vocab import Kind, Vocab

BLOCK_TEXTS = 8_192  # texts encoded at once: their results stay within a few hundred megabytes
EXAMPLES = 8  # tokens listed of each kind
LONGEST_NUMBER = 9  # digits; a tokenizer that is regular up to here is regular
NUMBERS_A_LENGTH = 24
# A token may need something before it: SentencePiece puts a space before the first word of a text.
CONTEXTS = ("", "\n", ".", "a ")
DIGITS = re.compile(rb"[0-9]+")

NASTY_STRINGS = (
    "  two spaces first",
    "two spaces last  ",
    "a\tb\r\nc\n\n\nd",
    " " * 17 + "deep",
    "naïve façade",
    "nai\u0308ve",  # decomposed: NFC would join it
    "ﬁne №5 ²",  # compatibility characters: NFKC would replace them
    "ＦＵＬＬ ｗｉｄｔｈ",
    "ÅNGSTRÖM İstanbul",  # lower-casing would lose these
    "שלום \u200fעולם",
    "नमस्ते 你好 こんにちは 한국어",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "zero\u200bwidth\u00a0space\ufeff",
    "\x00\x01\x1b[31m\x7f",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \U0010ffff",
    "can't don 't , .",
    "▁low line Ġ Ċ",
    "<0x41> <unk> [UNK]",
)
"""Strings on which tokenizers that normalise, or lack bytes, lose something."""


@dataclass(frozen=True)
class Reach:
    """Ordinary tokens that text never yields, of those that were tried; the rest are no valid UTF-8 by themselves."""

    unreachable: tuple[int, ...]
    tried: int
    fragments: int


def encode(engine: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return the ids of texts, without special tokens put around them; TokswapError where the tokenizer fails."""
    try:
        return [found.ids for found in engine.encode_batch_fast(list(texts), add_special_tokens=False)]
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the tokenizers library is no Exception
        raise TokswapError(
            f"the tokenizer fails on a text: {error}",
            "its tokenizer.json is damaged or made by hand: fetch it again from its origin",
        ) from error


def count_tokens(engine: Any, text: Text) -> tuple[int, int]:
    """Return (tokens, white-space separated words) of a text."""
    tokens = sum(map(len, encode(engine, text.documents)))
    return tokens, sum(len(document.split()) for document in text.documents)


def lost_strings(engine: Any) -> list[str]:
    """Return the nasty strings that don't come back unchanged when they are encoded and decoded."""
    back = [
        str(engine.decode(ids, skip_special_tokens=False)) if ids else ""
        for ids in encode(engine, NASTY_STRINGS)
    ]
    return [text for text, decoded in zip(NASTY_STRINGS, back, strict=True) if decoded != text]


def unreachable(engine: Any, vocab: Vocab) -> Reach:
    """Find ordinary tokens whose own text is never cut to them, alone or after each of a few contexts."""
    texts: dict[int, str] = {}
    fragments = 0
    for token_id, token, kind in zip(vocab.ids.tolist(), vocab.tokens, vocab.kinds, strict=True):
        if kind == Kind.ORDINARY:
            try:
                texts[token_id] = token.decode()
            except UnicodeDecodeError:
                fragments += 1
    left = dict(texts)
    for context in CONTEXTS:
        before = encode(engine, [context])[0]
        reached = _reached(engine, context, before, left)
        left = {i: text for i, text in left.items() if text and i not in reached}
    return Reach(tuple(left), len(texts), fragments)


def _reached(engine: Any, context: str, before: list[int], texts: dict[int, str]) -> set[int]:
    """Return the ids whose text, after `context`, is cut to the context's tokens and that id."""
    out: set[int] = set()
    items = list(texts.items())
    for start in range(0, len(items), BLOCK_TEXTS):
        block = items[start : start + BLOCK_TEXTS]
        found = encode(engine, [context + text for _, text in block])
        out.update(i for (i, _), ids in zip(block, found, strict=True) if ids == [*before, i])
    return out


def digit_scheme(engine: Any, vocab: Vocab) -> str:
    """Say in words how numbers are cut, from the cuts of numbers of one to nine digits."""
    cuts = {
        length: {_digits_a_token(ids, vocab) for ids in encode(engine, list(_numbers(length)))}
        for length in range(1, LONGEST_NUMBER + 1)
    }
    longest = max((digits for found in cuts.values() for cut in found for digits in cut), default=0)
    if longest == 0:
        return "no digits"
    if longest == 1:
        return "single digits"
    for name, rule in (("from the left", _from_left), ("from the right", _from_right)):
        if all(found == {rule(length, longest)} for length, found in cuts.items()):
            return f"groups of {longest}, {name}"
    return f"arbitrary, up to {longest} digits in a token"


def number_share(texts: Iterable[Text]) -> float:
    """Return the share of the bytes of texts that are in numbers of two digits or more."""
    whole = [document.encode("utf-8", "surrogatepass") for text in texts for document in text.documents]
    inside = sum(len(run) for document in whole for run in DIGITS.findall(document) if len(run) > 1)
    return inside / max(1, sum(map(len, whole)))


def _numbers(length: int) -> Iterable[str]:
    """Yield numbers of a length that are spread over their range, the same ones each time."""
    low, high = 10 ** (length - 1), 10**length - 1
    steps = min(NUMBERS_A_LENGTH, high - low + 1)
    return dict.fromkeys(str(low + (high - low) * i // max(steps - 1, 1)) for i in range(steps))


def _digits_a_token(ids: Sequence[int], vocab: Vocab) -> tuple[int, ...]:
    """Return how many digits each token with digits has."""
    counts = (sum(map(len, DIGITS.findall(vocab.bytes_of(i)))) for i in ids if not vocab.is_special(i))
    return tuple(count for count in counts if count)


def _from_left(length: int, size: int) -> tuple[int, ...]:
    rest = (length % size,) if length % size else ()
    return (size,) * (length // size) + rest


def _from_right(length: int, size: int) -> tuple[int, ...]:
    return _from_left(length, size)[::-1]
