"""The files around the rows: the base's own, but for the tokenizer, and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokswap import __version__
from tokswap.card import LOAD_IT, calibration_sentences, model_name
from tokswap.graft import as_json
from tokswap.plan import Plan
from tokswap.reload import settled_tokenizer_config
from tokswap.replacing.choose import Replaced
from tokswap.restoring import files_of
from tokswap.sources import public_name

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

TOKENIZER_CONFIG = "tokenizer_config.json"
# The same vocabulary in other formats: a loader that prefers one would read the old tokens.
OTHER_VOCABULARIES = ("vocab.json", "vocab.txt", "merges.txt", "tekken.json")
OTHER_SUFFIXES = (".model", ".tiktoken")


def replacement_files(
    base: Checkpoint, tokenizer: Mapping[str, Any]
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the base's configuration files byte for byte with the new tokenizer.json, and warnings.

    tokenizer_config.json is changed only where transformers would not follow tokenizer.json otherwise.
    """
    files = {
        name: content
        for name, content in files_of(base).items()
        if name not in OTHER_VOCABULARIES and not name.endswith(OTHER_SUFFIXES)
    }
    files["tokenizer.json"] = as_json(tokenizer)
    files.setdefault(TOKENIZER_CONFIG, as_json(base.tokenizer_config))
    files[TOKENIZER_CONFIG], doubts = settled_tokenizer_config(files)
    return files, tuple(doubts)


def replacement_card(plan: Plan, replaced: Replaced, calibration: str) -> str:
    """Return the text of README.md; `calibration` is the kind that was carried out."""
    base = public_name(plan.base.source)
    name = model_name(base)
    return f"""---
library_name: transformers
tags: [tokswap, vocabulary-replacement]
---

# {name} with {len(replaced.ids):,} other tokens

`{base}` with {len(replaced.ids):,} tokens that a text would use in the places of as many that it never does. Made by
tokswap {__version__}: every other token has its id and its row, bit for bit, and the sizes are the base's.

A text that used none of the removed tokens takes no more tokens than under the base; one that did is cut into smaller
ones. The new rows were made by `{plan.method.name}` ({plan.method.paper}). {calibration_sentences(calibration)}
`tokswap.json` lists the ids, and every file with its sha256. The base's licence applies.

{LOAD_IT}"""
