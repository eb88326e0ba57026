"""What special tokens are for: a start, an end of turns, padding; by the configs that name them, and by known names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

CONTROL_NAME = re.compile(r"<.+>|\[.+\]")
# Roles in order of priority: a token with several is matched by the first that the other side has.
CONFIG_ROLES = ("bos", "eos", "pad", "unk", "mask", "cls", "sep", "image", "boi", "eoi", "audio", "video")
TEXT_ROLES: Mapping[str, tuple[str, ...]] = {
    "turn_end": (
        "<|im_end|>",
        "<end_of_turn>",
        "<turn|>",
        "<|eot_id|>",
        "<|eot|>",
        "<|end|>",
        "<|end_of_turn|>",
    ),
    "turn_start": (
        "<|im_start|>",
        "<start_of_turn>",
        "<|turn>",
        "<|start_header_id|>",
        "<|header_start|>",
        "<|start|>",
    ),
    "document_end": ("<|endoftext|>", "<|end_of_text|>", "<eos>", "</s>", "<｜end▁of▁sentence｜>"),
    "fim_prefix": ("<|fim_prefix|>", "<fim_prefix>", "<|fim_begin|>", "<｜fim▁begin｜>", "<PRE>"),
    "fim_suffix": ("<|fim_suffix|>", "<fim_suffix>", "<|fim_end|>", "<｜fim▁end｜>", "<SUF>"),
    "fim_middle": ("<|fim_middle|>", "<fim_middle>", "<|fim_hole|>", "<｜fim▁hole｜>", "<MID>"),
    "repo_name": ("<|repo_name|>", "<repo_name>", "<reponame>"),
    "file_separator": ("<|file_sep|>", "<file_sep>", "<|file_separator|>"),
    "image": ("<|image_pad|>", "<image_soft_token>", "<image>", "<|image|>"),
    "tool_call_start": ("<tool_call>", "<|tool_call|>", "<|python_tag|>"),
}
# A chat model's eos is its turn end and a base model's its document end: the exact role is asked before "eos".
ROLE_ORDER = tuple(
    dict.fromkeys(("bos", "turn_end", "document_end", "turn_start", *CONFIG_ROLES, *TEXT_ROLES))
)


def find_roles(
    texts: dict[int, str],
    special: Collection[int],
    tokenizer_config: Mapping[str, Any],
    config: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    start: str | None,
) -> dict[int, tuple[str, ...]]:
    """Return id → roles, by priority, of every special token and of what a config names as one.

    `texts` are the spellings of all tokens and `special` the ids of control tokens; `start` is what the post-processor
    puts before a text.
    """
    ids = {text: token_id for token_id, text in reversed(texts.items())}
    ids |= {texts[token_id]: token_id for token_id in special}
    found: dict[int, list[str]] = {}

    def give(token_id: Any, role: str) -> None:
        if not isinstance(token_id, int) or token_id not in texts:
            return
        # A config may name "!" as its padding.
        if token_id in special or CONTROL_NAME.fullmatch(texts[token_id]):
            found.setdefault(token_id, []).append(role)

    for role, text in _config_texts(tokenizer_config):
        give(ids.get(text), role)
    enders: list[Any] = []
    for role in ("bos", "eos", "pad"):
        value = generation_config.get(f"{role}_token_id", config.get(f"{role}_token_id"))
        named = [i for i, roles in found.items() if role in roles]
        for token_id in value if isinstance(value, list) else [value]:
            if not named:
                give(token_id, role)
            elif role == "eos" and token_id not in named:
                enders.append(token_id)
    started = ids.get(start or "", -1)
    if not any("bos" in roles for roles in found.values()) and "cls" not in found.get(started, []):
        give(started, "bos")
    for role, names in TEXT_ROLES.items():
        for name in names:  # `</s>` is an ordinary piece of HTML in some vocabularies
            if (token_id := ids.get(name, -1)) in special:
                give(token_id, role)
    for token_id in enders:  # what else stops generation ends a turn, unless it is known to end documents
        if not {"turn_end", "document_end"} & set(found.get(token_id, [])):
            give(token_id, "turn_end")
    if not any("eos" in roles for roles in found.values()):  # a bare tokenizer.json names none
        for roles in found.values():
            if "document_end" in roles:
                roles.append("eos")
    for token_id in special:
        found.setdefault(token_id, [])
    return {i: tuple(sorted({r for r in roles if r}, key=ROLE_ORDER.index)) for i, roles in found.items()}


def _config_texts(tokenizer_config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    extra = tokenizer_config.get("extra_special_tokens")
    named = dict(extra) if isinstance(extra, Mapping) else {}
    for role in CONFIG_ROLES:
        value = tokenizer_config.get(f"{role}_token", named.get(f"{role}_token"))
        if isinstance(value, Mapping):
            value = value.get("content")
        if isinstance(value, str):
            yield role, value
