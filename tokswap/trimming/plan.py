"""A trim as a plan of the straight line: the base's own tokenizer without some tokens, every row a copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.align import Alignment, Origin
from tokswap.errors import TokswapError
from tokswap.graft import POSITIONS_FROM_PAD, TokenizerFiles, start_token_id
from tokswap.methods import get_method
from tokswap.plan import Plan
from tokswap.recipe import Recipe
from tokswap.trimming.tokenizer import trimmed_tokenizer
from tokswap.vocab import Vocab

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

WHY = "every row is a copy: there is none to make"


@dataclass(frozen=True)
class NewIds:
    """`table` old id → new id of every token that stays, ascending in both; `rows` of the new matrix."""

    table: Mapping[int, int]
    rows: int


def new_ids(
    kept: NDArray[np.int64], base: Checkpoint, *, keep_ids: bool = False, multiple: int | None = None
) -> NewIds:
    """Number the tokens that stay: without gaps, or as before.

    Tokens behind the base's rows (Mllama's image) stay behind the new ones. `multiple` rounds the rows up. Raises
    TokswapError for a Unigram tokenizer with `keep_ids`: its ids are places in a list.
    """
    inside, outside = kept[kept < base.rows].tolist(), kept[kept >= base.rows].tolist()
    if keep_ids:
        if isinstance(base.tokenizer["model"].get("vocab"), list):
            raise TokswapError(
                "the ids of a Unigram tokenizer are places in its list, and can't have gaps",
                "leave out --keep-ids: the tokens are numbered anew",
            )
        # Rows that only the input has stand behind all others: their ids hold only if none of these goes.
        rows = base.rows if base.extra_rows else max(inside, default=-1) + 1
        table = {old: old for old in kept.tolist()}
    else:
        rows = len(inside)
        table = {old: new for new, old in enumerate(inside)}
    rows = -(-rows // multiple) * multiple if multiple else rows
    if not keep_ids:
        table |= {old: rows + old - base.rows for old in outside}
    return NewIds(table, rows)


def trimmed_vocab(vocab: Vocab, ids: NewIds) -> Vocab:
    """Return the vocabulary of the tokens that stay, under their new ids."""
    places = [vocab.position[old] for old in ids.table]
    return Vocab(
        ids=np.asarray(list(ids.table.values()), dtype=np.int64),
        tokens=tuple(vocab.tokens[at] for at in places),
        texts=tuple(vocab.texts[at] for at in places),
        kinds=vocab.kinds[places],
        roles={ids.table[old]: roles for old, roles in vocab.roles.items() if old in ids.table},
        rows=ids.rows,
        adds_bos=vocab.adds_bos,
    )


def copies(ids: NewIds, base_rows: int) -> Alignment:
    """Return the alignment in which every token that stays has its own row of the base."""
    source = np.full(ids.rows, -1, dtype=np.int64)
    origin = np.full(ids.rows, Origin.UNUSED, dtype=np.uint8)
    for old, new in ids.table.items():
        if old < base_rows:
            source[new], origin[new] = old, Origin.SAME_BYTES
    return Alignment(source, origin, base_rows)


def trim_plan(base: Checkpoint, vocab: Vocab, ids: NewIds, *, out: str | None, device: str) -> Plan:
    """Return the plan that writes the trimmed model.

    Raises TokswapError where a model that counts positions from its padding would get another padding id.
    """
    new = trimmed_vocab(vocab, ids)
    pad = base.config.get("pad_token_id")
    if base.config.get("model_type") in POSITIONS_FROM_PAD and ids.table.get(pad or 0) != (pad or 0):
        raise TokswapError(
            f"{base.source} counts positions from its padding id {pad}, which would become {ids.table.get(pad or 0)}",
            "keep the ids with --keep-ids",
        )
    alignment = copies(ids, vocab.rows)
    return Plan(
        recipe=Recipe(
            base=base.source, donor=base.source, out=out, method="subword", calibrate="none", device=device
        ),
        base=base,
        donor=base,
        base_vocab=vocab,
        new_vocab=new,
        tokenizer=TokenizerFiles(trimmed_tokenizer(base.tokenizer, ids.table), base.tokenizer_config),
        alignment=alignment,
        start_id=start_token_id(alignment, vocab, new),
        method=get_method("subword"),
        parameters={},
        reason=WHY,
        warnings=base.notes,
    )
