"""Rebuild the real tokenizer from a GGUF file's metadata.

A GGUF keeps tokens, types, scores or merges, and only a name for the pre-tokenizer; runs of spaces are
spelled in another way than the model's own tokenizer spells them, and unused rows get made-up names.
Read naively it gives a tokenizer that is almost right, which is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, cast

from tokswap.errors import TokswapError
from tokswap.pretokenizers import BY_GGUF_NAME, GPT2, Json
from tokswap.tokenizer_build import (
    SPACE,
    TokenizerFiles,
    added_token,
    byte_level_tokenizer,
    merges_from_scores,
    sentencepiece_tokenizer,
)


class TokenType(IntEnum):
    """What `tokenizer.ggml.token_type` says of a token."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_REMAKE = "the file is incomplete: convert the model to GGUF again, or give its own folder"
_PADDING_ROW = re.compile(r"\[PAD\d+\]")  # converters name the rows behind the last token so
_RESERVED = re.compile(r"<unused\d+>|<mask>")  # control tokens to GGUF, plain added tokens to their family
_SPECIAL_THOUGH_USER_DEFINED = {"<start_of_image>", "<end_of_image>"}
_BOS_BY_DEFAULT = {"llama-bpe", "llama3", "llama-v3", "tekken"}  # llama.cpp's defaults when nothing is said


def tokenizer_from_metadata(metadata: Mapping[str, Any]) -> TokenizerFiles:
    """Return the tokenizer that a GGUF's `tokenizer.ggml.*` fields describe.

    Raises TokswapError for a kind of tokenizer that isn't byte-level or SentencePiece BPE.
    """
    kind = str(metadata.get("tokenizer.ggml.model", "missing"))
    if kind not in _BUILDERS:
        known = ", ".join(sorted(_BUILDERS))
        raise TokswapError(
            f"the GGUF holds a tokenizer of kind {kind!r}, which can't be rebuilt (known: {known})",
            "give the model's own folder, or its tokenizer.json, instead of the GGUF",
        )
    _require_lists(metadata, needed=("scores",) if kind == "llama" else ("merges",))
    return _BUILDERS[kind](metadata)


def _require_lists(metadata: Mapping[str, Any], needed: tuple[str, ...]) -> None:
    """Refuse a tokenizer whose lists are missing or of different lengths."""
    for name in ("tokens", *needed):
        if not metadata.get(f"tokenizer.ggml.{name}"):
            raise TokswapError(f"the GGUF's tokenizer lacks its {name}", _REMAKE)
    count = len(_texts(metadata))
    for name in ("token_type", "scores"):
        values = metadata.get(f"tokenizer.ggml.{name}")
        if values is not None and len(values) != count:
            raise TokswapError(
                f"the GGUF's tokenizer has {count:,} tokens and {len(values):,} {name}", _REMAKE
            )


def _byte_level(metadata: Mapping[str, Any]) -> TokenizerFiles:
    name = str(metadata.get("tokenizer.ggml.pre", "default"))
    rules = BY_GGUF_NAME.get(name)
    notes = () if rules else (_unknown_pre_tokenizer(name),)
    vocab = _vocab(metadata, _texts(metadata))
    merges = [_pair(merge) for merge in cast("list[str]", metadata.get("tokenizer.ggml.merges", []))]
    bos = _bos(metadata, vocab, default=name in _BOS_BY_DEFAULT)
    tokenizer = byte_level_tokenizer(vocab, merges, rules or GPT2, _added(metadata, vocab), bos)
    return TokenizerFiles(tokenizer, _config(metadata, vocab, bos is not None), notes)


def _unknown_pre_tokenizer(name: str) -> str:
    return (
        f"the GGUF names the pre-tokenizer {name!r}, which tokswap doesn't know: GPT-2's pattern stands in "
        "and some texts will be cut differently; the model's own tokenizer.json is better"
    )


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _sentencepiece(metadata: Mapping[str, Any]) -> TokenizerFiles:
    texts = _space_runs_restored(_texts(metadata))
    vocab = _vocab(metadata, texts)
    bos = _bos(metadata, vocab, default=True)
    types = _types(metadata, len(texts))
    unk = _named(metadata, "unknown", {i: t for t, i in vocab.items()})
    tokenizer = sentencepiece_tokenizer(
        vocab,
        merges_from_scores(vocab, _merge_scores(metadata, texts, types)),
        _added(metadata, vocab),
        unk=unk,
        prefix_space=bool(metadata.get("tokenizer.ggml.add_space_prefix", True)),
        byte_fallback=TokenType.BYTE in types,
        bos=bos,
    )
    return TokenizerFiles(tokenizer, _config(metadata, vocab, bos is not None))


_BUILDERS = {"gpt2": _byte_level, "llama": _sentencepiece}


def _texts(metadata: Mapping[str, Any]) -> list[str]:
    return cast("list[str]", metadata.get("tokenizer.ggml.tokens", []))


def _types(metadata: Mapping[str, Any], count: int) -> list[int]:
    return cast("list[int]", metadata.get("tokenizer.ggml.token_type", [TokenType.NORMAL] * count))


def _space_runs_restored(texts: list[str]) -> list[str]:
    """Write runs of spaces as `▁▁…` again: converters store them as spaces, which no text ever reaches."""
    taken = set(texts)
    return [_with_marks(text) if _with_marks(text) not in taken else text for text in texts]


def _with_marks(text: str) -> str:
    return SPACE * len(text) if text and not text.strip(" ") else text


def _vocab(metadata: Mapping[str, Any], texts: list[str]) -> dict[str, int]:
    """Map text to id, without the rows that belong to no token; the first of two equal texts wins."""
    vocab: dict[str, int] = {}
    for token_id, (text, kind) in enumerate(zip(texts, _types(metadata, len(texts)), strict=True)):
        if not (kind == TokenType.UNUSED and _PADDING_ROW.fullmatch(text)):
            vocab.setdefault(text, token_id)
    return vocab


def _merge_scores(metadata: Mapping[str, Any], texts: list[str], types: list[int]) -> dict[str, float]:
    """Return each piece's score; user-defined runs get 0, the best, as in the SentencePiece model.

    Bytes and control tokens are never the result of a merge.
    """
    scores = cast("list[float]", metadata["tokenizer.ggml.scores"])
    made = (TokenType.NORMAL, TokenType.USER_DEFINED)
    rows = zip(texts, scores, types, strict=True)
    return {text: score if kind == TokenType.NORMAL else 0.0 for text, score, kind in rows if kind in made}


def _added(metadata: Mapping[str, Any], vocab: Mapping[str, int]) -> list[Json]:
    """List the tokens found whole in the raw text: control (special) and user-defined ones."""
    types = _types(metadata, len(vocab))
    added: list[Json] = []
    for text, token_id in vocab.items():
        if types[token_id] in (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN):
            added.append(added_token(text, token_id, special=_is_special(text, types[token_id])))
    return added


def _is_special(text: str, kind: int) -> bool:
    if kind == TokenType.USER_DEFINED:
        return text in _SPECIAL_THOUGH_USER_DEFINED
    return not _RESERVED.fullmatch(text)


def _bos(metadata: Mapping[str, Any], vocab: Mapping[str, int], *, default: bool) -> tuple[str, int] | None:
    """Return (text, id) of the token to put in front of every text, or None when there is none."""
    token_id = metadata.get("tokenizer.ggml.bos_token_id")
    if token_id is None or not metadata.get("tokenizer.ggml.add_bos_token", default):
        return None
    text = next((text for text, i in vocab.items() if i == token_id), None)
    return None if text is None else (text, int(token_id))


def _named(metadata: Mapping[str, Any], role: str, texts: Mapping[int, str]) -> str | None:
    token_id = metadata.get(f"tokenizer.ggml.{role}_token_id")
    return None if token_id is None else texts.get(int(token_id))


def _config(metadata: Mapping[str, Any], vocab: Mapping[str, int], add_bos: bool) -> Json:
    """Return tokenizer_config.json: the class that takes tokenizer.json as it is, roles, chat template."""
    texts = {token_id: text for text, token_id in vocab.items()}
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    config: Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {f"{role}_token": _named(metadata, name, texts) for role, name in roles.items()}
    config |= {"add_bos_token": add_bos, "add_eos_token": bool(metadata.get("tokenizer.ggml.add_eos_token"))}
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
    architecture = metadata.get("general.architecture")
    if (length := metadata.get(f"{architecture}.context_length")) is not None:
        config["model_max_length"] = int(length)
    return config
