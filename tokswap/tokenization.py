"""A parsed tokenizer.json made to encode, with its failures turned into errors that a person can read."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from tokswap.errors import TokswapError

MOST_GROWTH = 64.0
"""How many times longer a normaliser may make a text; SentencePiece's needs 1, the widest in use 3."""
# Runs of one letter make careless patterns try every way to cut them; the rest touches every step once.
PROBE = "a" * 32 + " 1234 Émile's\r\n\t  日本 🙂! " + "a" * 32 + "\n"


def load_tokenizer(tokenizer: Mapping[str, Any], name: str = "the tokenizer") -> Any:
    """Return a `tokenizers.Tokenizer`, without truncation or padding.

    Raises TokswapError for a definition that the library refuses, on which it panics now or on a first text, or that
    multiplies texts.
    """
    from tokenizers import Tokenizer

    _refuse_growth(tokenizer, name)
    try:
        with _without_panic_messages():
            engine = Tokenizer.from_str(json.dumps(tokenizer))
            engine.no_truncation()
            engine.no_padding()
            engine.encode(PROBE)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the Rust library is no Exception
        raise TokswapError(
            f"{name} can't be loaded: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            "its tokenizer.json is damaged or needs a newer tokenizers library",
        ) from None
    _check_ids(engine, tokenizer, name)
    return engine


def _refuse_growth(tokenizer: Mapping[str, Any], name: str) -> None:
    """Refuse steps of Replace that together make a text many times longer: a few lines of file, gigabytes of text."""
    for component, children in (("normalizer", "normalizers"), ("decoder", "decoders")):
        factor = _growth(tokenizer.get(component), children)
        if factor > MOST_GROWTH:
            raise TokswapError(
                f"the {component} of {name} makes a text up to {factor:,.0f} times as long",
                "its tokenizer.json is damaged or hostile: fetch it again from its origin",
            )


def _growth(component: Any, children: str) -> float:
    if not isinstance(component, Mapping):
        return 1.0
    if component.get("type") == "Sequence":
        parts = component.get(children)
        return math.prod(_growth(part, children) for part in parts) if isinstance(parts, list) else 1.0
    if component.get("type") not in ("Replace", "Prepend"):
        return 1.0
    content, pattern = component.get("content", component.get("prepend")), component.get("pattern")
    given = pattern.get("String") if isinstance(pattern, Mapping) else None
    whole = len(given) if isinstance(given, str) and given else 1
    return max(1.0, len(content) / whole) if isinstance(content, str) else 1.0


@contextmanager
def _without_panic_messages() -> Generator[None]:
    """Keep what a panicking Rust library prints by itself off stderr: the error that follows says it."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError, ValueError):  # a program without a stderr
        yield
        return
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)


def _check_ids(engine: Any, tokenizer: Mapping[str, Any], name: str) -> None:
    """Refuse a definition whose added tokens the library silently gives other ids than the file says."""
    for entry in tokenizer.get("added_tokens") or []:
        got = engine.token_to_id(entry["content"])
        if got != entry["id"]:
            raise TokswapError(
                f"{name} declares {entry['content']!r} as id {entry['id']}, and it loads as {got}",
                "its added tokens leave a gap or clash with the model's; mend the ids in tokenizer.json",
            )
