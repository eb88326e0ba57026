"""The model card of a trimmed checkpoint."""

from __future__ import annotations

from tokswap import __version__
from tokswap.card import LOAD_IT, model_name
from tokswap.plan import Plan
from tokswap.sources import public_name
from tokswap.trimming.keep import Kept


def trim_card(plan: Plan, kept: Kept) -> str:
    """Return the text of README.md: what the model is, what was left out, and how to use it."""
    base = public_name(plan.base.source)
    name = model_name(base)
    return f"""---
library_name: transformers
tags: [tokswap, vocabulary-trimming]
---

# {name} with {len(kept.ids):,} tokens

`{base}` without the tokens that a text didn't need: {len(plan.new_vocab):,} of its {len(plan.base_vocab):,} tokens
are left. Made by tokswap {__version__}; no weight was changed, and every row that is left is the base's, bit for bit.

| tokens that stay | |
|---|---|
| bytes, characters, special tokens | {kept.protected:,} |
| used by the text | {kept.used:,} |
| what these are merged from | {kept.needed:,} |
| more, in the order of their ids | {kept.filled:,} |
| all | {len(kept.ids):,} |

They are {100 * kept.coverage:.3f} % of the tokens of that text. A text that the base cuts into tokens which are left is
cut in the same way here and has the same hidden states; other texts are cut into smaller tokens.
`tokswap.json` lists every file with its sha256 and what was proved when it was written. The base's licence applies.

{LOAD_IT}"""
