"""BPE by the book, and merge lists of both kinds: one merge a token, and every cut of every token."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

Pair = tuple[str, str]


def encode(word: str, merges: Sequence[Pair]) -> list[str]:
    """Join the pair that stands first in the list, the leftmost of several, until none is left."""
    symbols = list(word)
    while True:
        found = [(merges.index(pair), at) for at, pair in enumerate(pairwise(symbols)) if pair in merges]
        if not found:
            return symbols
        at = min(found)[1]
        symbols = [*symbols[:at], symbols[at] + symbols[at + 1], *symbols[at + 2 :]]


def cuts(text: str, tokens: set[str]) -> list[Pair]:
    found = [(text[:at], text[at:]) for at in range(1, len(text))]
    return [pair for pair in found if tokens.issuperset(pair)]


@st.composite
def tokenizers(draw: st.DrawFn) -> dict[str, Any]:
    """A BPE over a, b and c; its merges one a token or every cut, in the order of the ids or in any order."""
    tokens = list("abc")
    for _ in range(draw(st.integers(1, 14))):
        joined = draw(st.sampled_from(tokens)) + draw(st.sampled_from(tokens))
        if joined not in tokens and len(joined) < 9:
            tokens.append(joined)
    expanded, shuffled = draw(st.booleans()), draw(st.booleans())
    merges: list[Pair] = []
    for text in tokens[3:]:
        found = cuts(text, set(tokens))
        merges += found if expanded else [draw(st.sampled_from(found))]
    if shuffled:
        random.Random(draw(st.integers(0, 99))).shuffle(merges)
    vocab = {text: i for i, text in enumerate(tokens)}
    model = {"type": "BPE", "vocab": vocab, "merges": [list(pair) for pair in merges]}
    return {"version": "1.0", "added_tokens": [], "model": model}


WORDS = st.lists(st.text("abc", min_size=1, max_size=14), min_size=1, max_size=4)
