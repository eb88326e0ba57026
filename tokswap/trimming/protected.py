"""What no text can do without: tokens that stay whatever the text uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from tokswap.vocab import BYTE_PIECE, RESERVED, Kind, Vocab, is_byte_level

ALL_BYTES = 256


def protected_ids(
    vocab: Vocab, tokenizer: Mapping[str, Any], configs: Collection[Mapping[str, Any]], mentioned: str
) -> set[int]:
    """Return the ids that always stay.

    These are single bytes, fallback bytes among them; single characters where no bytes stand in for them; added and
    special tokens, but for reserved ones (`<unused7>`) that have no role and that neither `configs` (by id) nor the
    text `mentioned` (chat templates) name; a model's unknown token; and Unigram's lowest score, from which that of
    the unknown is reckoned.
    """
    by_name = set(vocab.roles) | set(_named(tokenizer, vocab))
    kept = {i for i, roles in vocab.roles.items() if roles}
    for token_id in by_name:
        text = vocab.texts[vocab.position[token_id]]
        if not RESERVED.fullmatch(text) or text in mentioned:
            kept.add(token_id)
    kept |= {i for config in configs for i in _ids_in(config) if i in vocab.position}
    kept |= set(vocab.ids[vocab.ids >= vocab.rows].tolist())  # images' tokens, behind the rows
    return kept | _spelling(vocab, tokenizer) | _of_the_model(vocab, tokenizer["model"])


def groups_of(vocab: Vocab) -> list[list[int]]:
    """Return the groups of tokens that stand for the same bytes: which of them a text yields must not change."""
    found: dict[tuple[bytes, int], list[int]] = {}
    for token, token_id, kind in zip(vocab.tokens, vocab.ids.tolist(), vocab.kinds.tolist(), strict=True):
        if kind != Kind.SPECIAL:
            found.setdefault((token, kind), []).append(token_id)
    return [ids for ids in found.values() if len(ids) > 1]


def _named(tokenizer: Mapping[str, Any], vocab: Vocab) -> Iterator[int]:
    """Yield the ids of added tokens, and of those that the post-processor puts around a text."""
    for entry in tokenizer.get("added_tokens") or []:
        yield int(entry["id"])
    steps = tokenizer.get("post_processor") or {}
    for step in steps.get("processors") or [steps]:
        texts = [*(step.get("special_tokens") or {}), *(step[k][0] for k in ("cls", "sep") if step.get(k))]
        yield from (vocab.id_of_text[text] for text in texts if text in vocab.id_of_text)


def _ids_in(config: Mapping[str, Any]) -> Iterator[int]:
    """Yield every id that a configuration names, at any depth."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _ids_in(value)
        elif key.endswith(("_token_id", "_token_index", "_token_ids")):
            yield from (i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int))


def _spelling(vocab: Vocab, tokenizer: Mapping[str, Any]) -> set[int]:
    """Return the bytes, and the single characters where a text could not be spelt in bytes."""
    single = np.fromiter((len(token) == 1 for token in vocab.tokens), dtype=np.bool_, count=len(vocab))
    text = vocab.kinds != Kind.SPECIAL
    out = set(vocab.ids[text & (single | (vocab.kinds == Kind.BYTE))].tolist())
    model = tokenizer["model"]
    pieces = sum(BYTE_PIECE.fullmatch(text) is not None for text in vocab.texts)
    in_bytes = is_byte_level(tokenizer) or (model.get("byte_fallback") and pieces == ALL_BYTES)
    suffix = model.get("end_of_word_suffix") or ""
    if in_bytes and not suffix:  # with a suffix, a byte that ends a word is a token of its own
        return out
    prefix = model.get("continuing_subword_prefix") or ("##" if model.get("type") == "WordPiece" else "")
    return out | {
        token_id
        for token_id, spelling in zip(vocab.ids.tolist(), vocab.texts, strict=True)
        if len(spelling.removeprefix(prefix).removesuffix(suffix)) == 1
    }


def _of_the_model(vocab: Vocab, model: Mapping[str, Any]) -> set[int]:
    unknown = vocab.id_of_text.get(model.get("unk_token") or "")
    out = {unknown} if unknown is not None else set[int]()
    if model.get("type") == "Unigram":
        out |= {int(model["unk_id"])} if model.get("unk_id") is not None else set()
        scores = [score for _, score in model["vocab"]]
        out.add(scores.index(min(scores)))
    return out
