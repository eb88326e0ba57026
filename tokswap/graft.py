"""The files around the weights: config, generation config and tokenizer of the new model, as data.

The body is the base's and the tokenizer the donor's, except where the body is at stake: whether a text begins
with a start token is the base's habit and travels with it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from tokswap.align import Alignment
from tokswap.embedding_roles import TEXT_CONFIG_KEYS, text_config
from tokswap.vocab import Vocab

# What a tokenizer_config of any version of transformers reads; all else is in tokenizer.json or names a class.
KEPT_TOKENIZER_KEYS = (
    "bos_token", "eos_token", "pad_token", "unk_token", "mask_token", "cls_token", "sep_token",
    "additional_special_tokens", "chat_template", "padding_side", "truncation_side", "model_input_names",
)  # fmt: skip
# Lists of ids in a generation config that mean nothing under another tokenizer.
STALE_GENERATION_KEYS = (
    "bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens",
    "forced_decoder_ids", "decoder_start_token_id", "sequence_bias", "force_words_ids",
)  # fmt: skip
# Models whose positions count from pad_token_id + 1: another id would give every token another position.
POSITIONS_FROM_PAD = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet", "ibert", "data2vec-text",
)  # fmt: skip
START_TEXT = "<|bos|>"
TERMINATOR_ROLES = ("eos", "turn_end", "document_end")


@dataclass(frozen=True)
class TokenizerFiles:
    """A parsed tokenizer.json and tokenizer_config.json."""

    tokenizer: Mapping[str, Any]
    config: Mapping[str, Any]


def with_start_token(donor: TokenizerFiles, base: Vocab, new: Vocab) -> TokenizerFiles:
    """Return the donor's tokenizer with a start token for a base that expects one; unchanged where it has one.

    The token is added at the first id without a token after the highest one. A model that keeps its vocabulary
    by name gets it too: an added token alone would be given the number of tokens as its id, whatever it says.
    """
    if not base.adds_bos or new.role_id("bos") is not None:
        return donor
    text = START_TEXT if START_TEXT not in new.id_of_text else f"{START_TEXT}tokswap"
    entry = {
        "id": new.max_id + 1, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False, "special": True,
    }  # fmt: skip
    added = [*(donor.tokenizer.get("added_tokens") or []), entry]
    model = dict(donor.tokenizer["model"])
    if isinstance(model.get("vocab"), Mapping) and new.max_id + 1 != len(new):
        model["vocab"] = {**model["vocab"], text: new.max_id + 1}
    tokenizer = {**donor.tokenizer, "model": model, "added_tokens": added}
    return TokenizerFiles(tokenizer, {**donor.config, "bos_token": text})


def with_input_tokens(donor: TokenizerFiles, base: Vocab, new: Vocab, rows: int) -> TokenizerFiles:
    """Return the donor's tokenizer with the base's special tokens that have an input row only (Mllama's `<|image|>`).

    Those rows stay behind the `rows` of the new vocabulary, in their order, and the tokens with them.
    """
    moved = {
        rows + int(i) - base.rows: base.texts[base.position[int(i)]]
        for i in base.out_of_rows
        if base.is_special(int(i))
    }
    moved = {i: text for i, text in moved.items() if text not in new.id_of_text and i > new.max_id}
    model = donor.tokenizer["model"]
    if not moved or not isinstance(model.get("vocab"), Mapping):
        return donor
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": i, "content": text, "special": True} | flags for i, text in moved.items()]
    vocab = {**model["vocab"], **{text: i for i, text in moved.items()}}
    tokens = [*(donor.tokenizer.get("added_tokens") or []), *added]
    return TokenizerFiles(
        {**donor.tokenizer, "model": {**model, "vocab": vocab}, "added_tokens": tokens}, donor.config
    )


def start_token_id(alignment: Alignment, base: Vocab, new: Vocab) -> int | None:
    """Return the new id that stands before a text: the one that holds the row of the base's start token."""
    own = new.start_id
    if base.start_id is None:
        return own
    holders = np.flatnonzero(alignment.source == base.start_id).tolist()
    return own if own in holders or not holders else int(holders[0])


def new_tokenizer(donor: TokenizerFiles, base: Vocab, new: Vocab, start_id: int | None) -> dict[str, Any]:
    """Return the tokenizer.json: the donor's, which puts a start token before a text if and only if the base's did."""
    out = copy.deepcopy(dict(donor.tokenizer))
    out["truncation"], out["padding"] = None, None
    kept = _without_start(out.get("post_processor"), _start_text(new))
    if not base.adds_bos or start_id is None:
        out["post_processor"] = kept
        return out
    out["post_processor"] = _with_start(kept, new.texts[new.position[start_id]], start_id)
    return out


def new_tokenizer_config(
    donor: TokenizerFiles, base_config: Mapping[str, Any], base: Vocab, new: Vocab, start_id: int | None
) -> dict[str, Any]:
    """Return the tokenizer_config.json: the donor's special tokens and chat template, the base's length and habits.

    The class is the generic fast one: a named class may rebuild the tokenizer from parts and lose what
    tokenizer.json says.
    """
    out = {key: donor.config[key] for key in KEPT_TOKENIZER_KEYS if donor.config.get(key) is not None}
    for key, value in out.items():
        if isinstance(value, Mapping) and key != "chat_template":
            out[key] = value.get("content")
    extra = out.pop("additional_special_tokens", None)
    if isinstance(extra, list):
        names = [t.get("content") if isinstance(t, Mapping) else t for t in extra]
        out["additional_special_tokens"] = [name for name in names if isinstance(name, str)]
    if start_id is not None:
        out["bos_token"] = new.texts[new.position[start_id]]
    if (eos := new.role_id("eos")) is not None:  # a bare tokenizer.json names none
        out.setdefault("eos_token", new.texts[new.position[eos]])
    text = text_config(base_config)
    length = text.get("max_position_embeddings") or text.get("n_positions")
    if length:
        out["model_max_length"] = length
    out["add_bos_token"] = bool(base.adds_bos and start_id is not None)
    out["add_eos_token"] = False
    out["clean_up_tokenization_spaces"] = False
    out["tokenizer_class"] = "PreTrainedTokenizerFast"
    return out


def terminators(new: Vocab) -> list[int]:
    """Return every id that ends a turn or a document, the eos first."""
    out = [new.role_id("eos")]
    out += [i for role in TERMINATOR_ROLES for i, roles in sorted(new.roles.items()) if role in roles]
    return list(dict.fromkeys(i for i in out if i is not None and i < new.rows))


def new_config(
    base_config: Mapping[str, Any],
    alignment: Alignment,
    new: Vocab,
    start_id: int | None,
    *,
    tied: bool,
    extra_rows: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """Return the config.json and warnings: sizes, ids and the tied flag, at the root and in the text config.

    `extra_rows` are rows of the base's input that stay behind the new ones: ids that name them move along.
    """
    out = copy.deepcopy(dict(base_config))
    warnings: list[str] = []
    back = {int(b): int(n) for n, b in reversed(list(enumerate(alignment.source))) if b >= 0}
    back |= {alignment.base_rows + i: alignment.rows + i for i in range(extra_rows)}
    special = {"bos_token_id": start_id, "pad_token_id": new.role_id("pad")}
    if base_config.get("model_type") in POSITIONS_FROM_PAD:
        special["pad_token_id"] = _kept_pad(base_config, special["pad_token_id"], warnings)
    ends = terminators(new)
    parts = _parts(out)
    for part in parts:
        if "vocab_size" in part or part is parts[-1]:
            part["vocab_size"] = alignment.rows
        if "vocab_size_per_layer_input" in part and not alignment.unchanged:
            part["vocab_size_per_layer_input"] = alignment.rows
        for key in [k for k in part if k.endswith(("_token_id", "_token_index"))]:
            if key in special or key == "eos_token_id":
                continue
            _remap(part, key, back, warnings)
        part.update({k: v for k, v in special.items() if k in part or part is out})
        if "eos_token_id" in part or part is out:
            part["eos_token_id"] = ends[0] if ends else None
        if part is out or "tie_word_embeddings" in part:
            part["tie_word_embeddings"] = tied
        part.pop("auto_map", None)
    return out, warnings


def new_generation_config(
    base: Mapping[str, Any], new: Vocab, start_id: int | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the generation_config.json and warnings: the base's sampling, every terminator of the new vocabulary."""
    out = copy.deepcopy(dict(base))
    stale = [key for key in STALE_GENERATION_KEYS if out.pop(key, None)]
    warnings = (
        [f"generation_config: {', '.join(stale)} named ids of the old tokenizer and were left out"]
        if stale
        else []
    )
    ends = terminators(new)
    for key, value in (
        ("bos_token_id", start_id),
        ("eos_token_id", ends),
        ("pad_token_id", new.role_id("pad")),
    ):
        out.pop(key, None)
        if value is not None and value != []:
            out[key] = value
    if "pad_token_id" not in out and ends:
        out["pad_token_id"] = ends[0]
    return out, warnings


def new_processor(
    config: Mapping[str, Any], alignment: Alignment, *, extra_rows: int = 0
) -> tuple[dict[str, Any], list[str]]:
    """Return a base's processor configuration and warnings: what it does to images and sounds, with ids that moved."""
    out = copy.deepcopy(dict(config))
    warnings: list[str] = []
    back = {int(b): int(n) for n, b in reversed(list(enumerate(alignment.source))) if b >= 0}
    back |= {alignment.base_rows + i: alignment.rows + i for i in range(extra_rows)}
    for part in (out, *(value for value in out.values() if isinstance(value, dict))):
        for key in [k for k in part if k.endswith(("_token_id", "_token_index"))]:
            _remap(part, key, back, warnings)
    return out, warnings


def as_json(value: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON file."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def _kept_pad(base_config: Mapping[str, Any], found: int | None, warnings: list[str]) -> int | None:
    kept = base_config.get("pad_token_id")
    if kept != found:
        warnings.append(
            f"config: pad_token_id stays {kept}, from which this architecture counts positions; the new tokenizer's "
            f"padding is {found}, so pad with an attention mask"
        )
    return kept


def _remap(part: dict[str, Any], key: str, back: Mapping[int, int], warnings: list[str]) -> None:
    """Give a special id of the config its new number, or say that the new vocabulary has no such token."""
    old = part[key]
    if not isinstance(old, int) or old < 0:
        return
    if old in back:
        part[key] = back[old]
    else:
        warnings.append(f"config: {key} = {old} has no counterpart in the new vocabulary and was left out")
        del part[key]


def _parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the config and, inside it, those of the language model that it wraps."""
    found = (config.get(key) for key in TEXT_CONFIG_KEYS)
    inner = next((part for part in found if isinstance(part, dict)), None)
    return [config] if inner is None else [config, *_parts(cast("dict[str, Any]", inner))]


def _start_text(new: Vocab) -> str:
    bos = new.role_id("bos")
    return "" if bos is None else new.texts[new.position[bos]]


def _without_start(processor: Any, start: str) -> dict[str, Any] | None:
    """Take the start token out of a post-processor; what is left of it, or None."""
    if not isinstance(processor, dict):
        return None
    if processor.get("type") == "Sequence":
        parts = [_without_start(p, start) for p in processor.get("processors", [])]
        left = [p for p in parts if p is not None]
        return {**processor, "processors": left} if left else None
    if processor.get("type") in ("BertProcessing", "RobertaProcessing"):
        return None
    if processor.get("type") != "TemplateProcessing":
        return processor

    def rest(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [p for p in pieces if (p.get("SpecialToken") or {}).get("id") != start]

    single, pair = rest(processor["single"]), rest(processor["pair"])
    if all("Sequence" in p for p in single):
        return None
    tokens = {k: v for k, v in processor.get("special_tokens", {}).items() if k != start}
    return {**processor, "single": single, "pair": pair, "special_tokens": tokens}


def _with_start(processor: dict[str, Any] | None, text: str, token_id: int) -> dict[str, Any]:
    """Put a start token before every sequence of the post-processor's template, or add a template that does.

    It must be one template: a second one takes the special tokens of the first for sequences of their own.
    """
    steps = _flat_steps(processor)
    at = next((i for i, s in enumerate(steps) if s.get("type") == "TemplateProcessing"), len(steps))
    old = steps[at] if at < len(steps) else _BARE_TEMPLATE
    token = {text: {"id": text, "ids": [token_id], "tokens": [text]}}
    template = {
        "type": "TemplateProcessing",
        "single": _start_each(old["single"], text),
        "pair": _start_each(old["pair"], text),
        "special_tokens": {**old["special_tokens"], **token},
    }
    steps = [*steps[:at], template, *steps[at + 1 :]]
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "processors": steps}


def _flat_steps(processor: dict[str, Any] | None) -> list[dict[str, Any]]:
    if processor is None:
        return []
    if processor.get("type") != "Sequence":
        return [processor]
    return [step for part in processor["processors"] for step in _flat_steps(part)]


def _start_each(pieces: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for piece in pieces:
        if "Sequence" in piece:
            out.append({"SpecialToken": {"id": text, "type_id": piece["Sequence"]["type_id"]}})
        out.append(piece)
    return out


_BARE_TEMPLATE: dict[str, Any] = {
    "single": [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {},
}
