"""A parsed tokenizer.json made to encode, with its failures turned into errors that a person can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tokswap.errors import TokswapError


def load_tokenizer(tokenizer: Mapping[str, Any], name: str = "the tokenizer") -> Any:
    """Return a `tokenizers.Tokenizer`, without truncation or padding.

    Raises TokswapError for a definition that the library refuses, or on which it panics.
    """
    from tokenizers import Tokenizer

    try:
        engine = Tokenizer.from_str(json.dumps(tokenizer))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the Rust library is no Exception
        raise TokswapError(
            f"{name} can't be loaded: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            "its tokenizer.json is damaged or needs a newer tokenizers library",
        ) from None
    engine.no_truncation()
    engine.no_padding()
    _check_ids(engine, tokenizer, name)
    return engine


def _check_ids(engine: Any, tokenizer: Mapping[str, Any], name: str) -> None:
    """Refuse a definition whose added tokens the library silently gives other ids than the file says."""
    for entry in tokenizer.get("added_tokens") or []:
        got = engine.token_to_id(entry["content"])
        if got != entry["id"]:
            raise TokswapError(
                f"{name} declares {entry['content']!r} as id {entry['id']}, and it loads as {got}",
                "its added tokens leave a gap or clash with the model's; mend the ids in tokenizer.json",
            )
