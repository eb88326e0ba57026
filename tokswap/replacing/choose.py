"""Which tokens go and which come: those that a text never uses, for those that it would use most.

A token may go when the text yields it nowhere and nothing that stays is merged from it. What is left merges as before:
a text that yielded none of them went through none of them, so that its tokens are the same until the new merges, which
stand behind all others, join some of them. Such a text never takes more tokens than before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.supertokens.encoding import Say
from tokswap.supertokens.extend import Extended, extend_bpe
from tokswap.trimming.keep import Kept, choose_kept
from tokswap.trimming.needs import Needs, merge_pairs, needs_of
from tokswap.trimming.protected import groups_of
from tokswap.trimming.tokenizer import trimmed_tokenizer
from tokswap.vocab import Vocab


@dataclass(frozen=True)
class Replaced:
    """The tokenizer.json; `ids` ascending, whose tokens went and whose new tokens came, in the order they were learnt.

    `removable` tokens could have gone; `found` is what was learnt, as if it had been added behind all others.
    """

    tokenizer: Mapping[str, Any]
    ids: tuple[int, ...]
    removable: int
    found: Extended


def replace_tokens(
    tokenizer: Mapping[str, Any],
    vocab: Vocab,
    counts: NDArray[np.int64],
    protected: Collection[int],
    blocks: Iterable[str],
    add: int,
    *,
    max_words: int,
    most_bytes: int,
    on_progress: Say | None = None,
) -> Replaced:
    """Learn up to `add` tokens from the blocks, and give them the ids of as many that a text does not need.

    `counts` Int[max id + 1] of that text's tokens; of those that it lacks the highest ids go first, which BPE learnt
    last and saw least. `protected` ids stay, and all added tokens and those of equal bytes. Raises TokswapError for a
    tokenizer that isn't BPE, and where fewer than `add` tokens may go.
    """
    needs = needs_of(tokenizer)
    stays = _always(tokenizer, vocab, protected)
    _require(add, len(vocab) - len(choose_kept(counts, stays, needs).ids))
    found = extend_bpe(
        tokenizer, vocab, blocks, add, max_words=max_words, most_bytes=most_bytes, on_progress=on_progress
    )
    used = _with_parts(counts, tokenizer, found)
    removable = len(vocab) - len(choose_kept(used, stays, needs).ids)
    _require(len(found.added), removable)
    kept = _all_but(len(found.added), vocab, used, stays, needs)
    gone = sorted(set(vocab.ids.tolist()) - set(kept.ids.tolist()))
    places = {i: i for i in kept.ids.tolist()} | dict(zip(found.added, gone, strict=True))
    changed = trimmed_tokenizer(found.tokenizer, places)
    own = {name: tokenizer.get(name) for name in ("truncation", "padding")}
    return Replaced({**changed, **own}, tuple(gone), removable, replace(found, added=tuple(gone)))


def _always(tokenizer: Mapping[str, Any], vocab: Vocab, protected: Collection[int]) -> set[int]:
    """Return what never goes; of tokens with equal bytes, which of them a text yields must not change."""
    special = {i for i in vocab.ids.tolist() if vocab.is_special(i)}
    added = {int(entry["id"]) for entry in tokenizer.get("added_tokens") or []}
    return {*protected, *special, *added, *(i for group in groups_of(vocab) for i in group)}


def _with_parts(
    counts: NDArray[np.int64], tokenizer: Mapping[str, Any], found: Extended
) -> NDArray[np.int64]:
    """Return the counts with one at least for each old token that a new merge joins or yields."""
    ids: Mapping[str, int] = found.tokenizer["model"]["vocab"]
    first = len(tokenizer["model"]["merges"])
    out = counts.copy()
    for left, right in list(merge_pairs(found.tokenizer["model"]))[first:]:
        for token_id in (ids[left], ids[right], ids[left + right]):
            if token_id < len(out):
                out[token_id] = max(out[token_id], 1)
    return out


def _all_but(
    number: int, vocab: Vocab, used: NDArray[np.int64], stays: Collection[int], needs: Needs
) -> Kept:
    return choose_kept(used, stays, needs, keep=len(vocab) - number, candidates=vocab.ids.tolist())


def _require(wanted: int, removable: int) -> None:
    if wanted > removable:
        raise TokswapError(
            f"{wanted:,} tokens can't be replaced: the text, and what its tokens are merged from, leave {removable:,}",
            f"give --add {removable} or less"
            if removable
            else "the text uses them all: `tokswap transplant --supertokens` adds tokens without taking any away",
        )
