"""Tokenizers kept as ranks: tiktoken's text files and Mistral's tekken.json, as tokenizer.json data.

Ranks say in which order tokens were learned, not from which two parts. The parts are found again by merging
a token's own bytes with the ranks below it: what is left just before the last merge are its two parts.
Within a text that token can arise in no other way, so one merge per token encodes exactly like the original.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, AnyStr, cast

from tokswap.errors import TokswapError
from tokswap.pretokenizers import (
    CL100K,
    GPT2,
    LLAMA3,
    O200K,
    QWEN2,
    QWEN35,
    Json,
    PreTokenizer,
    split,
)
from tokswap.reasons import reason_of
from tokswap.tokenizer_build import TokenizerFiles, added_token, byte_level_tokenizer
from tokswap.vocab import gpt2_alphabet

_CHARS = {byte: char for char, byte in gpt2_alphabet().items()}
_BROKEN = "the file is damaged or of another kind: fetch it again from its origin"


@dataclass(frozen=True)
class _Family:
    """A published rank file, known by its number of ranks and the rank of " the"; what it doesn't say itself."""

    name: str
    ranks: int
    the: int
    rules: PreTokenizer
    specials: Mapping[str, int]
    bos: str | None = None
    eos: str | None = None


def _row(first: int, *texts: str) -> dict[str, int]:
    return {text: first + offset for offset, text in enumerate(texts)}


_FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LLAMA3 = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
    *(f"<|reserved_special_token_{number}|>" for number in range(3, 248)),
)
_END = "<|endoftext|>"
_CL100K_SPECIALS = _row(100257, _END, *_FIM) | {"<|endofprompt|>": 100276}
_O200K_SPECIALS = {_END: 199999, "<|endofprompt|>": 200018}

_FAMILIES = (
    _Family("GPT-2", 50256, 262, GPT2, {_END: 50256}, eos=_END),
    _Family("cl100k", 100256, 279, CL100K, _CL100K_SPECIALS, eos=_END),
    _Family("o200k", 199998, 290, O200K, _O200K_SPECIALS, eos=_END),
    _Family("Llama 3", 128000, 279, LLAMA3, _row(128000, *_LLAMA3), _LLAMA3[0], _LLAMA3[1]),
    _Family("Qwen", 151643, 279, QWEN2, _row(151643, *_QWEN), eos=_END),
    _Family("Qwen 3.5", 248044, 279, QWEN35, _row(248044, *_QWEN), eos=_END),
)


def read_tiktoken(path: Path) -> TokenizerFiles:
    """Return the tokenizer of a tiktoken file (lines of base64 and rank).

    The file has neither pattern nor special tokens: the published ones are recognised, for others the
    pattern of cl100k stands in, with a note. Raises TokswapError for a damaged file.
    """
    ranks = dict(_parse_line(path, line) for line in path.read_bytes().splitlines() if line.strip())
    if len(ranks) < len(_CHARS) or len(set(ranks.values())) != len(ranks):
        raise TokswapError(f"{path.name} is no tiktoken file: tokens or ranks are missing or double", _BROKEN)
    known = (family for family in _FAMILIES if (family.ranks, family.the) == (len(ranks), ranks.get(b" the")))
    family = next(known, None)
    if family is None:
        family = _Family("unknown", len(ranks), 0, CL100K, {})
        return _from_ranks(ranks, family, (_unknown_ranks(path.name, len(ranks)),))
    return _from_ranks(ranks, family)


def _unknown_ranks(name: str, count: int) -> str:
    return (
        f"{name} ({count:,} ranks) is no published file tokswap knows, and ranks tell neither the pattern nor "
        "the special tokens: cl100k's pattern stands in, without special tokens"
    )


def _parse_line(path: Path, line: bytes) -> tuple[bytes, int]:
    try:
        token, rank = line.split()
        return base64.b64decode(token, validate=True), int(rank)
    except (ValueError, binascii.Error) as error:
        raise TokswapError(
            f"{path.name} has a line that isn't base64 and rank: {line[:40]!r}", _BROKEN
        ) from error


# What tekken files of 2024 leave out because every one of them had the same.
_TEKKEN_SPECIALS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]"),
    *("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
)


def read_tekken(path: Path, data: Mapping[str, Any]) -> TokenizerFiles:
    """Return the tokenizer of a parsed tekken.json; special tokens take the first ids, ranks follow them.

    Raises TokswapError when parts are missing or don't fit together.
    """
    try:
        config = cast("dict[str, Any]", data["config"])
        offset = int(config["default_num_special_tokens"])
        rows = cast("list[dict[str, Any]]", data["vocab"])[: int(config["default_vocab_size"]) - offset]
        ranks = {
            base64.b64decode(row["token_bytes"], validate=True): int(row["rank"]) + offset for row in rows
        }
        specials = _tekken_specials(cast("list[dict[str, Any]]", data.get("special_tokens") or []), offset)
        rules = PreTokenizer(splits=(split(str(config["pattern"])),), whole_first=True)
    except (KeyError, TypeError, ValueError) as error:
        raise TokswapError(f"{path.name} is no complete tekken file: {reason_of(error)}", _BROKEN) from error
    return _from_ranks(ranks, _Family("tekken", len(ranks), 0, rules, specials, "<s>", "</s>"))


def _tekken_specials(rows: Sequence[Mapping[str, Any]], count: int) -> dict[str, int]:
    named = {str(row["token_str"]): int(row["rank"]) for row in rows} or _row(0, *_TEKKEN_SPECIALS)
    taken = set(named.values())
    return named | {f"<SPECIAL_{i}>": i for i in range(count) if i not in taken}


def _from_ranks(ranks: Mapping[bytes, int], family: _Family, notes: tuple[str, ...] = ()) -> TokenizerFiles:
    vocab = {spelled(token): rank for token, rank in ranks.items()} | dict(family.specials)
    merges = [(spelled(left), spelled(right)) for left, right in merges_from_ranks(ranks)]
    added = [
        added_token(text, i, special=True) for text, i in sorted(family.specials.items(), key=lambda s: s[1])
    ]
    bos = (family.bos, family.specials[family.bos]) if family.bos else None
    # tiktoken looks a piece up as a whole before it merges; so do we, whatever a family's own file says.
    rules = PreTokenizer(family.rules.splits, family.rules.gpt2, family.rules.nfc, whole_first=True)
    config: Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {"bos_token": family.bos, "eos_token": family.eos, "add_bos_token": bos is not None}
    return TokenizerFiles(byte_level_tokenizer(vocab, merges, rules, added, bos), config, notes)


def spelled(token: bytes) -> str:
    """Return a token's bytes in the 256 printable characters of byte-level BPE."""
    return "".join(_CHARS[byte] for byte in token)


def merges_from_ranks(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return the two parts of every token that merging can reach, in order of rank.

    Tokens that merging never yields (put in by hand) have none: they are only found as whole pieces.
    """
    merges: list[tuple[bytes, bytes]] = []
    for token, _ in sorted(ranks.items(), key=lambda item: item[1]):
        parts = parts_below(token, ranks)
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def parts_below(token: AnyStr, ranks: Mapping[AnyStr, int]) -> list[AnyStr]:
    """Merge a token's bytes or characters, lowest rank first and leftmost first, with the ranks below its own."""
    limit = ranks[token]
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, limit) for left, right in pairwise(parts)]
        best = min(pairs)
        if best >= limit:
            break
        at = pairs.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
