"""tokswap: move a language model onto another tokenizer, and say honestly what it cost.

    import tokswap

    report = tokswap.transplant("gemma3", "smollm2", out="gemma3-with-smollm2-tokens")
    report = tokswap.evaluate("gemma3-with-smollm2-tokens", against="gemma3")
    print(report.to_json())

Importing this imports neither torch nor transformers: each name is looked up when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokswap.api import (
        acceptance,
        audit,
        doctor,
        evaluate,
        heal,
        leaderboard,
        replace_tokens,
        restore,
        transplant,
        trim,
        verify,
    )
    from tokswap.errors import TokswapError
    from tokswap.report import Report
    from tokswap.tokenizer_api import compare, extend_tokenizer, infer_mixture, train_supertokens

__version__ = "0.1.0"

__all__ = [
    "Report",
    "TokswapError",
    "__version__",
    "acceptance",
    "audit",
    "compare",
    "doctor",
    "evaluate",
    "extend_tokenizer",
    "heal",
    "infer_mixture",
    "leaderboard",
    "replace_tokens",
    "restore",
    "train_supertokens",
    "transplant",
    "trim",
    "verify",
]

# No module of this package may bear one of these names: importing it would put the module in the name's place.
_HOMES = {
    "transplant": "tokswap.api",
    "evaluate": "tokswap.api",
    "acceptance": "tokswap.api",
    "heal": "tokswap.api",
    "compare": "tokswap.tokenizer_api",
    "leaderboard": "tokswap.api",
    "infer_mixture": "tokswap.tokenizer_api",
    "verify": "tokswap.api",
    "restore": "tokswap.api",
    "trim": "tokswap.api",
    "replace_tokens": "tokswap.api",
    "train_supertokens": "tokswap.tokenizer_api",
    "extend_tokenizer": "tokswap.tokenizer_api",
    "doctor": "tokswap.api",
    "audit": "tokswap.api",
    "Report": "tokswap.report",
    "TokswapError": "tokswap.errors",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
