"""A replacement as a plan of the straight line: every row a copy at its own place, but for those of the new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tokswap.align import Alignment, Origin
from tokswap.checkpoint import Checkpoint
from tokswap.errors import TokswapError
from tokswap.graft import TokenizerFiles, start_token_id
from tokswap.methods import get_method
from tokswap.plan import Plan, choose_method
from tokswap.recipe import Recipe
from tokswap.replacing.choose import Replaced
from tokswap.supertokens.donor import with_tokenizer
from tokswap.vocab import Vocab, vocab_of

FIELDS = {
    "method", "parameters", "auxiliary", "calibrate", "calibration_texts", "evaluate", "evaluation_texts",
    "device", "seed",
}  # fmt: skip
"""Of a recipe, those that decide something about a replacement."""


def check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse fields of a recipe that decide nothing here, and methods that would need what there isn't."""
    if vain := sorted(set(fields) - FIELDS):
        raise TokswapError(
            f"{vain[0]} decides nothing about a replacement",
            f"leave it out; there are {', '.join(sorted(FIELDS))}",
        )
    name = fields.get("method", "auto")
    if name != "auto" and (get_method(name).network or get_method(name).parallel):
        raise TokswapError(
            f"method {name!r} can't make the rows of a replacement",
            "choose --method subword, or one that compares tokens with --auxiliary ngrams",
        )


def replacement_plan(recipe: Recipe, base: Checkpoint, vocab: Vocab, replaced: Replaced) -> Plan:
    """Return the plan; raises TokswapError for a method that needs another model's rows."""
    donor = with_tokenizer(base, replaced.tokenizer, len(replaced.ids))
    new = replace(vocab_of(donor), rows=vocab.rows)
    alignment = in_place(vocab, replaced.ids)
    method, parameters, reason = choose_method(recipe, donor, alignment)
    return Plan(
        recipe=recipe,
        base=base,
        donor=donor,
        base_vocab=vocab,
        new_vocab=new,
        tokenizer=TokenizerFiles(replaced.tokenizer, base.tokenizer_config),
        alignment=alignment,
        start_id=start_token_id(alignment, vocab, new),
        method=method,
        parameters=parameters,
        reason=reason,
        warnings=base.notes,
    )


def in_place(vocab: Vocab, new_ids: tuple[int, ...]) -> Alignment:
    """Return the alignment in which every row, padding too, is the base's of the same id, and `new_ids` are made."""
    source = np.arange(vocab.rows, dtype=np.int64)
    origin = np.full(vocab.rows, Origin.UNUSED, dtype=np.uint8)
    origin[vocab.ids[vocab.ids < vocab.rows]] = Origin.SAME_BYTES
    source[list(new_ids)], origin[list(new_ids)] = -1, Origin.NEW
    return Alignment(source, origin, vocab.rows)
