"""A draft for speculative decoding: the donor is the target, and ids, sizes and special tokens are exactly its own.

A serving engine hands the target's ids to the draft and takes ids back. It refuses a draft with another vocab_size
(transformers, vLLM) or other start and end tokens (llama.cpp), so what a transplant keeps of the base's habits, the
start token first, gives way to the target's here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from tokswap.align import Alignment, align
from tokswap.chat_turns import turn_overrides
from tokswap.embedding_roles import text_config
from tokswap.errors import TokswapError
from tokswap.graft import as_json
from tokswap.recipe import Recipe
from tokswap.vocab import Vocab

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
OWN_SIZE = ("pad_vocab_to", "pad_to_multiple_of")


def check_draft(recipe: Recipe, target: Checkpoint) -> int:
    """Return the target's rows; raises TokswapError for a recipe that wants others, or a target that names none."""
    wanted = [name for name in OWN_SIZE if getattr(recipe, name) is not None]
    if recipe.keep_digits == "base":
        wanted.append("keep_digits")
    if wanted:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in wanted)
        raise TokswapError(
            f"{options} would make another tokenizer than the target's, and no engine would take the draft",
            "leave it out: size and tokenizer of a draft are the target's",
        )
    if target.vocab_size is None:
        raise TokswapError(
            f"{target.source} doesn't say how many rows its model has",
            "give the target's folder or Hub id, with its config.json: a tokenizer alone isn't enough for a draft",
        )
    return target.vocab_size


def align_draft(
    base: tuple[Checkpoint, Vocab],
    target: tuple[Checkpoint, Vocab],
    overrides: Mapping[str, Sequence[str]],
    rows: int,
) -> Alignment:
    """Align the base's rows with the target's ids: `overrides` first, then both chat templates, then bytes and roles.

    `rows` is the target's vocab_size; its tokens beyond (Gemma 3's image token) have no row here either.
    """
    plain = align(base[1], target[1], overrides=overrides, rows=rows)
    turns = {} if plain.identical else turn_overrides(base, target)
    turns = {name: parts for name, parts in turns.items() if _has_rows(base[1], target[1], name, parts, rows)}
    if all(_holds(plain, base[1], target[1], name, parts) for name, parts in turns.items()):
        return plain
    return align(base[1], target[1], overrides={**turns, **overrides}, rows=rows)


def draft_files(files: Mapping[str, bytes], target: Checkpoint, vocab: Vocab) -> dict[str, bytes]:
    """Return a checkpoint's new files with the target's tokenizer, and its special ids in all configurations."""
    config, generation, settings = (
        json.loads(files[name]) for name in ("config.json", "generation_config.json", "tokenizer_config.json")
    )
    theirs = {**target.config, **text_config(target.config)}
    for part in (config, cast("dict[str, Any]", text_config(config))):
        for key in SPECIAL_IDS:
            if key in theirs and (key in part or part is config):
                part[key] = theirs[key]
    for key in SPECIAL_IDS:
        if key in target.generation_config:
            generation[key] = target.generation_config[key]
    start = target.tokenizer_config.get("bos_token")
    settings["bos_token"] = start.get("content") if isinstance(start, Mapping) else start
    settings["add_bos_token"] = vocab.adds_bos
    changed = {
        "config.json": as_json(config),
        "generation_config.json": as_json(generation),
        "tokenizer.json": as_json(target.tokenizer),
        "tokenizer_config.json": as_json(
            {name: value for name, value in settings.items() if value is not None}
        ),
    }
    return {**files, **changed}


def draft_warnings(base: Vocab, target: Vocab, alignment: Alignment) -> list[str]:
    """Warn of a start token that the body has never seen, or will miss."""
    start = target.start_id
    if start is None or start >= alignment.rows:
        return []
    if target.adds_bos and alignment.source[start] < 0 and start not in alignment.composed:
        name = target.texts[target.position[start]]
        return [
            f"the target begins a text with {name!r}, for which the base has no row: name one with --map "
            f"'{name}=TOKEN'"
        ]
    if base.adds_bos and not target.adds_bos:
        return ["the base has always read a start token before a text, and the target puts none there"]
    return []


def _has_rows(base: Vocab, target: Vocab, name: str, parts: Sequence[str], rows: int) -> bool:
    return target.id_of_text[name] < rows and all(base.id_of_text[part] < base.rows for part in parts)


def _holds(plain: Alignment, base: Vocab, target: Vocab, name: str, parts: Sequence[str]) -> bool:
    """Is a token's row already what the templates say?"""
    token_id, ids = target.id_of_text[name], [base.id_of_text[part] for part in parts]
    if token_id in plain.composed or len(ids) > 1:
        return plain.composed.get(token_id) == tuple(ids)
    return int(plain.source[token_id]) == ids[0]
