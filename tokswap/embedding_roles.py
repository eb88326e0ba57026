"""Which stored tensors have one row per token: found from names and shapes, without building any model.

    find_roles({"model.embed_tokens.weight": …, "lm_head.weight": …}, config, same_bytes)
    → EmbeddingRoles(input="model.embed_tokens.weight", output="lm_head.weight", …)

A table that was overlooked would keep its old order and make the new checkpoint silently wrong, so whatever
is doubtful (two different tables for one role, a quantised one) is an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tokswap.errors import TokswapError
from tokswap.safetensors_header import TensorInfo

# Ends of tensor names, the likeliest first. A name matches as a whole or after a dot.
INPUT_NAMES = (
    "embed_tokens.weight",  # Llama, Qwen, Gemma, Mistral, Phi, OPT, …
    "wte.weight",  # GPT-2, GPT-J
    "embed_in.weight",  # GPT-NeoX
    "word_embeddings.weight",  # BERT, BLOOM, Falcon
    "tok_embeddings.weight",  # InternLM 2, ModernBERT
    "shared.weight",  # T5, BART
    "word_embedding.weight",  # XLNet
    "token_embedding.weight",
    "backbone.embedding.weight",  # Mamba, as first published
    "embeddings.weight",  # Mamba, RWKV
    "embeddings.embedding.weight",
)
OUTPUT_NAMES = (
    "lm_head.weight",
    "embed_out.weight",  # GPT-NeoX
    "cls.predictions.decoder.weight",  # BERT
    "lm_head.decoder.weight",  # RoBERTa
    "generator_lm_head.weight",  # ELECTRA
    "predictions.decoder.weight",  # ALBERT
    "vocab_projector.weight",  # DistilBERT
    "shared_head.head.weight",  # DeepSeek's multi-token prediction
    "output.weight",  # InternLM 2
    "decoder.weight",  # ModernBERT
)
BIAS_NAMES = (
    "lm_head.bias",
    "cls.predictions.bias",
    "cls.predictions.decoder.bias",
    "lm_head.decoder.bias",
    "embed_out.bias",
    "generator_lm_head.bias",
    "predictions.decoder.bias",
    "predictions.bias",
    "vocab_projector.bias",
    "decoder.bias",
)
PER_LAYER_NAMES = ("embed_tokens_per_layer.weight",)  # Gemma 3n and 4
# Parts of names that rule a tensor out: tables of pixels, sounds or positions, not of tokens.
OTHER_TABLES = (
    "vision", "visual", "image", "audio", "speech", "codec", "talker", "patch", "posit", "token_type",
    "per_layer",
)  # fmt: skip
# What quantisers store instead of, or beside, a weight.
QUANTISED_LEAVES = (
    "qweight", "weight_packed", "weight_scale", "weight_scale_inv", "scales", "SCB", "weight.absmax",
    "weight.quant_map", "qzeros",
)  # fmt: skip
# Where wrapped models keep the configuration of their language model.
TEXT_CONFIG_KEYS = ("text_config", "llm_config", "language_config", "thinker_config", "decoder")
FLOAT_DTYPES = frozenset({"F64", "F32", "F16", "BF16"})

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class EmbeddingRoles:
    """The names of the tensors that have one row (or one number) per token.

    `copies` maps every further stored tensor to the one whose bytes it repeats (a tied head that was stored
    all the same, a multi-token-prediction layer): each must be dropped or written with its original's rows.
    """

    input: str
    output: str | None = None
    bias: str | None = None
    per_layer: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: tuple[str, ...] = ()


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a configuration that describes the language model (the whole when not wrapped)."""
    for key in TEXT_CONFIG_KEYS:
        part = config.get(key)
        if isinstance(part, Mapping):
            return text_config(cast("Mapping[str, Any]", part))
    return config


def vocab_size(config: Mapping[str, Any]) -> int | None:
    """Return the declared number of rows, from the text part or else the root; None when there's none."""
    for part in (text_config(config), config):
        size = part.get("vocab_size")
        if isinstance(size, int) and not isinstance(size, bool):
            return size
    return None


def tie_flag(config: Mapping[str, Any]) -> bool | None:
    """Return `tie_word_embeddings` of the root or else of the text part; None when neither says."""
    for part in (config, text_config(config)):
        flag = part.get("tie_word_embeddings")
        if isinstance(flag, bool):
            return flag
    return None


def find_roles(
    tensors: Tensors, config: Mapping[str, Any], same_bytes: Callable[[str, str], bool]
) -> EmbeddingRoles:
    """Return the embedding tensors of a checkpoint; `same_bytes` compares two stored tensors by name.

    Raises TokswapError when no input embedding is found, when one is quantised, or when two tables that
    differ claim the same role.
    """
    _refuse_quantised(tensors)
    declared = vocab_size(config)
    source, source_copies = _find_input(tensors, declared, same_bytes)
    rows = {tensors[source].shape[0], declared}
    head, head_copies = _find_role(tensors, OUTPUT_NAMES, 2, rows, same_bytes)
    bias, bias_copies = _find_role(tensors, BIAS_NAMES, 1, rows, same_bytes)
    _require_float(tensors, (source, head, bias))
    tied, notes = _is_tied(tensors, source, head, tie_flag(config), same_bytes)
    copies = source_copies | head_copies | bias_copies
    if tied and head is not None:
        copies |= dict.fromkeys((head, *head_copies), source)
    per_layer = tuple(name for name in tensors if _match(name, PER_LAYER_NAMES) is not None)
    return EmbeddingRoles(source, None if tied else head, bias, per_layer, copies, notes)


def _find_input(
    tensors: Tensors, declared: int | None, same_bytes: Callable[[str, str], bool]
) -> tuple[str, dict[str, str]]:
    found = [name for name in _named(tensors, INPUT_NAMES) if len(tensors[name].shape) == 2]
    if not found:
        raise TokswapError("no input embedding was found by its name", _largest_tables(tensors))
    pool = [name for name in found if tensors[name].shape[0] == declared]
    if not pool:
        most = max(tensors[name].shape[0] for name in found)
        pool = [name for name in found if tensors[name].shape[0] == most]
    return _first_and_copies(tensors, pool, INPUT_NAMES, same_bytes)


def _find_role(
    tensors: Tensors,
    table: Sequence[str],
    dimensions: int,
    rows: set[int | None],
    same_bytes: Callable[[str, str], bool],
) -> tuple[str | None, dict[str, str]]:
    found = [name for name in _named(tensors, table) if len(tensors[name].shape) == dimensions]
    pool = [name for name in found if tensors[name].shape[0] in rows]
    if pool:
        return _first_and_copies(tensors, pool, table, same_bytes)
    for name in found:
        if (
            _match(name, table) == 0
        ):  # `lm_head` is a head whatever its size: a mismatch is no reason to skip it
            raise TokswapError(
                f"{name} has {tensors[name].shape[0]:,} rows, where the embedding has {max(filter(None, rows)):,}",
                "only language-model heads with one row per token are supported",
            )
    return None, {}


def _first_and_copies(
    tensors: Tensors, pool: Sequence[str], table: Sequence[str], same_bytes: Callable[[str, str], bool]
) -> tuple[str, dict[str, str]]:
    def preference(name: str) -> tuple[bool, int, int, str]:
        return _in_block(name), name.count("."), _match(name, table) or 0, name

    first, *others = sorted(pool, key=preference)
    for name in others:
        alike = tensors[name].shape == tensors[first].shape and tensors[name].dtype == tensors[first].dtype
        if not alike or not same_bytes(first, name):
            raise TokswapError(
                f"{first} and {name} hold different values for the same role",
                "models with two separate vocabulary tables are not supported",
            )
    return first, dict.fromkeys(others, first)


def _is_tied(
    tensors: Tensors, source: str, head: str | None, flag: bool | None, same_bytes: Callable[[str, str], bool]
) -> tuple[bool, tuple[str, ...]]:
    if head is None:
        said = "the configuration says untied, but no output embedding is stored: taken as tied"
        return True, (said,) if flag is False else ()
    if flag is False:
        return False, ()
    alike = tensors[source].shape == tensors[head].shape and tensors[source].dtype == tensors[head].dtype
    if alike and same_bytes(source, head):
        return True, ()
    said = f"the configuration says tied, but {head} is stored with other values: taken as untied"
    return False, (said,) if flag else ()


def _named(tensors: Tensors, table: Sequence[str]) -> list[str]:
    return [name for name in tensors if _match(name, table) is not None and not _is_other(name)]


def _match(name: str, table: Sequence[str]) -> int | None:
    for place, end in enumerate(table):
        if name == end or name.endswith("." + end):
            return place
    return None


def _is_other(name: str) -> bool:
    return any(part in name for part in OTHER_TABLES)


def _in_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))


def _refuse_quantised(tensors: Tensors) -> None:
    for name in tensors:
        leaf = next((leaf for leaf in QUANTISED_LEAVES if name.endswith("." + leaf)), None)
        if leaf is None or _in_block(name) or _is_other(name):
            continue
        whole = name.removesuffix(leaf) + "weight"
        if _match(whole, INPUT_NAMES) is not None or _match(whole, OUTPUT_NAMES) is not None:
            raise _quantised(f"{whole} is quantised (the checkpoint stores {name})")


def _require_float(tensors: Tensors, names: Iterable[str | None]) -> None:
    for name in names:
        if name is not None and tensors[name].dtype not in FLOAT_DTYPES:
            raise _quantised(f"{name} is stored as {tensors[name].dtype}")


def _quantised(what: str) -> TokswapError:
    return TokswapError(
        f"{what}: rows of a quantised embedding can't be rewritten",
        "use a checkpoint whose embedding and head are F16, BF16 or F32; the body may stay quantised",
    )


def _largest_tables(tensors: Tensors) -> str:
    tables = [(name, info) for name, info in tensors.items() if len(info.shape) == 2]
    tables.sort(key=lambda pair: pair[1].shape[0] * pair[1].shape[1], reverse=True)
    shown = ", ".join(f"{name} {list(info.shape)}" for name, info in tables[:3])
    return (
        f"the largest tables stored are {shown}"
        if shown
        else "the checkpoint stores no two-dimensional tensor"
    )
