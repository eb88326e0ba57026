"""The merges of a BPE tokenizer in the order it learnt them, from any tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tokswap.display.text import escape
from tokswap.errors import TokswapError
from tokswap.mixture.learnt import Learnt, Pair, learnt_merges
from tokswap.mixture.prefixes import KnownMerges, Shared, longest_shared, read_known
from tokswap.mixture.types import MergeList
from tokswap.vocab import BYTE_PIECE, is_byte_level, read_vocab

_GIVE_BPE = "mixtures are read from the order in which BPE learnt its merges: give a BPE tokenizer"
_BROKEN = "the tokenizer.json is damaged or made by hand: fetch it again from its origin"


def merge_list(
    tokenizer: Mapping[str, Any],
    *,
    skip: int | Literal["auto"] = 0,
    known: Sequence[KnownMerges] | None = None,
) -> MergeList:
    """Return the T merges of a parsed tokenizer.json in the order they were learnt.

    Expanded lists are recovered and merges put in by hand set aside; the notes say so. `skip` leading merges are to
    be replayed without asking what they say: "auto" skips those shared with one of the `known` tokenizers (default:
    those that tokswap brings) that this one goes on from. Raises TokswapError for a tokenizer without merges
    (WordPiece, Unigram), a damaged one, and a `skip` that leaves nothing.
    """
    model = _bpe_model(tokenizer)
    alphabet = _alphabet(model, is_byte_level(tokenizer))
    learnt = learnt_merges(_pairs(model), model["vocab"], alphabet)
    if not learnt.pairs:
        raise TokswapError("none of the tokenizer's merges can be reached from its characters", _BROKEN)
    exact = _exact_bytes(tokenizer)
    shared = longest_shared(
        [(exact[left], exact[right]) for left, right in learnt.pairs],
        read_known() if known is None else known,
    )
    notes = (*learnt.notes, *_odd_notes(learnt, exact), *_shared_notes(shared))
    return _build(model, alphabet, learnt, exact, notes, shared, _skipped(skip, len(learnt.pairs), shared))


def _build(
    model: Mapping[str, Any],
    alphabet: Sequence[str],
    learnt: Learnt,
    exact: Mapping[str, bytes],
    notes: tuple[str, ...],
    shared: Shared | None,
    skip: int,
) -> MergeList:
    texts = tuple(dict.fromkeys((*alphabet, *(left + right for left, right in learnt.pairs))))
    index = {text: symbol for symbol, text in enumerate(texts)}
    return MergeList(
        tokens=tuple(exact[text] for text in texts),
        texts=texts,
        alphabet={text: index[text] for text in alphabet},
        pairs=np.array([(index[left], index[right]) for left, right in learnt.pairs], dtype=np.int32),
        results=np.array([index[left + right] for left, right in learnt.pairs], dtype=np.int32),
        byte_fallback=any(BYTE_PIECE.fullmatch(text) for text in alphabet),
        notes=notes,
        set_aside=len(learnt.by_hand),
        shared_prefix=shared and (shared.name, shared.merges),
        skip=skip,
        suffix=model.get("end_of_word_suffix") or "",
    )


def _bpe_model(tokenizer: Mapping[str, Any]) -> Mapping[str, Any]:
    model = tokenizer.get("model")
    if not isinstance(model, Mapping):
        raise TokswapError("the tokenizer has no 'model' section", _BROKEN)
    kind = model.get("type") or ("BPE" if "merges" in model else "WordPiece")
    if kind != "BPE":
        raise TokswapError(f"a {kind} tokenizer has no merges", _GIVE_BPE)
    if not model.get("merges"):
        raise TokswapError("the tokenizer's list of merges is empty", _GIVE_BPE)
    if not isinstance(model["merges"], list) or not isinstance(model.get("vocab"), Mapping):
        raise TokswapError("the tokenizer's merges are no list, or its vocabulary is no table", _BROKEN)
    if not isinstance(suffix := model.get("end_of_word_suffix") or "", str):
        raise TokswapError(f"the tokenizer's end_of_word_suffix is {suffix!r}, which is no text", _BROKEN)
    if prefix := model.get("continuing_subword_prefix"):
        hint = "give a tokenizer whose tokens are spelt alike at every place in a word"
        raise TokswapError(
            f"BPE that writes {prefix!r} before the inner pieces of a word isn't replayed", hint
        )
    return model


def _alphabet(model: Mapping[str, Any], byte_level: bool) -> tuple[str, ...]:
    """Return what words begin as, by id: single characters, the same at the end of a word, and fallback bytes."""
    suffix = model.get("end_of_word_suffix") or ""
    fallback = bool(model.get("byte_fallback")) and not byte_level

    def begins_a_word(text: str) -> bool:
        return len(text.removesuffix(suffix)) == 1 or (fallback and BYTE_PIECE.fullmatch(text) is not None)

    return tuple(sorted(filter(begins_a_word, model["vocab"]), key=model["vocab"].__getitem__))


def _pairs(model: Mapping[str, Any]) -> list[Pair]:
    """Return the merges as (left, right); older files write them as one text with a space between."""
    pairs: list[Pair] = []
    for merge in model["merges"]:
        parts: Any = merge.split(" ") if isinstance(merge, str) else merge
        texts = isinstance(parts, list | tuple) and all(isinstance(part, str) for part in parts)
        if not texts or len(parts) != 2 or parts[0] + parts[1] not in model["vocab"]:
            raise TokswapError(f"the merge {merge!r} yields no token of the vocabulary", _BROKEN)
        pairs.append((parts[0], parts[1]))
    return pairs


def _exact_bytes(tokenizer: Mapping[str, Any]) -> dict[str, bytes]:
    vocab = read_vocab(tokenizer, {})
    return dict(zip(vocab.texts, vocab.tokens, strict=True))


def _odd_notes(learnt: Learnt, exact: Mapping[str, bytes]) -> tuple[str, ...]:
    if not learnt.odd:
        return ()
    example = escape(exact[learnt.odd[0]])
    return (
        f"{len(learnt.odd):,} tokens, such as “{example}”, aren't spelt by tokens before them: set aside",
    )


def _shared_notes(shared: Shared | None) -> tuple[str, ...]:
    if shared is None:
        return ()
    if not shared.goes_on:
        return (f"the merges are {shared.name}'s",)
    theirs = f"the first {shared.merges:,} merges are {shared.name}'s and tell what that was trained on"
    return (f"{theirs}; {shared.own:,} are its own",)


def _skipped(skip: int | Literal["auto"], merges: int, shared: Shared | None) -> int:
    if skip == "auto":
        return shared.merges if shared and shared.goes_on else 0
    if not 0 <= skip < merges:
        raise TokswapError(
            f"{skip:,} merges can't be skipped of {merges:,}",
            "skip fewer, or let `auto` find how many are shared",
        )
    return skip
