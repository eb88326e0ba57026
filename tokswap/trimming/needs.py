"""Which tokens a kept token needs: those that it is merged from.

BPE reaches a token through others: a text that yields `▁the` passes through `▁t` and `h` + `e`, whatever the merges
are called. Where a merge list holds every cut of a token (conversions of SentencePiece, Llama 3), only one of them
is ever taken: the one that is left when the token's own text is encoded. The same cut is taken wherever the token
stands in a text, because no merge has crossed its borders there. Unigram and WordPiece choose whole pieces and need
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any

from tokswap.errors import TokswapError

Pair = tuple[str, str]
Needs = Callable[[int], tuple[int, ...]]
"""The ids that a token can't be emitted without; empty for what a text begins as."""


def needs_of(tokenizer: Mapping[str, Any]) -> Needs:
    """Return the function from an id to the ids it is merged from, for a parsed tokenizer.json.

    Raises TokswapError for models of which it isn't known what they need.
    """
    model = tokenizer["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "WordPiece")
    if kind in ("Unigram", "WordPiece"):
        return lambda _: ()
    if kind != "BPE":
        raise TokswapError(
            f"a {kind} tokenizer has no smaller pieces to fall back on", "trim BPE, Unigram or WordPiece"
        )
    if model.get("continuing_subword_prefix"):
        raise TokswapError(
            f"BPE that writes {model['continuing_subword_prefix']!r} before the inner pieces of a word isn't trimmed",
            "give a tokenizer whose tokens are spelt alike at every place in a word",
        )
    return _merged_from(model)


def last_merge(text: str, ranks: Mapping[Pair, int], suffix: str = "") -> Pair | None:
    """Return the two symbols that BPE joins last into `text`; None where it doesn't get that far.

    The pair of lowest rank is joined first, the leftmost of several.

    >>> last_merge("the", {("t", "h"): 0, ("h", "e"): 1, ("t", "he"): 2, ("th", "e"): 3})
    ('th', 'e')
    """
    symbols = list(text.removesuffix(suffix)) if suffix else list(text)
    if suffix and symbols and text.endswith(suffix):
        symbols[-1] += suffix
    while len(symbols) > 2:
        found = [(ranks[pair], at) for at, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not found:
            return None
        _, at = min(found)
        symbols[at : at + 2] = [symbols[at] + symbols[at + 1]]
    if len(symbols) < 2 or (symbols[0], symbols[1]) not in ranks:
        return None
    return symbols[0], symbols[1]


def merge_pairs(model: Mapping[str, Any]) -> Iterator[Pair]:
    """Yield the merges of a BPE model as (left, right); older files write them as one text with a space between."""
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right


def _merged_from(model: Mapping[str, Any]) -> Needs:
    ids: Mapping[str, int] = model["vocab"]
    texts = {token_id: text for text, token_id in ids.items()}
    suffix = model.get("end_of_word_suffix") or ""
    ranks: dict[Pair, int] = {}
    cuts: dict[str, Pair | None] = {}  # None: several, and the text must be asked
    for rank, pair in enumerate(merge_pairs(model)):
        ranks[pair] = rank  # of two equal merges the later one counts, as in the tokenizers library
        text = pair[0] + pair[1]
        cuts[text] = pair if cuts.get(text, pair) == pair else None

    @cache
    def needs(token_id: int) -> tuple[int, ...]:
        text = texts.get(token_id, "")
        if text not in cuts:
            return ()
        pair = cuts[text] or last_merge(text, ranks, suffix)
        return () if pair is None else tuple(dict.fromkeys(ids[part] for part in pair))

    return needs
