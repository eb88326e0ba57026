"""Two line-aligned texts, read and turned into links from new tokens to base tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import load_texts

if TYPE_CHECKING:
    from tokswap.methods import Links

Lines = tuple[list[str], list[str]]
"""The base's lines and, line for line, those in the language of the new tokenizer."""

_HINT = "give two files with a line for a line: first the base's language, then that of the new tokenizer"


def read_parallel(paths: Sequence[Path]) -> Lines | None:
    """Return the lines of both files, None for no files; raises TokswapError unless there are two of equal length."""
    if not paths:
        return None
    if len(paths) != 2:
        raise TokswapError(f"parallel text is two files, and {len(paths)} were given", _HINT)
    base, new = map(_lines, paths)
    if len(base) != len(new):
        raise TokswapError(f"{paths[0]} has {len(base):,} lines and {paths[1]} has {len(new):,}", _HINT)
    return base, new


def _lines(path: Path) -> list[str]:
    load_texts([path])  # for what it refuses
    # Only a line feed ends a line: Python's splitlines also cuts at form feeds and U+2028, which stand in sentences.
    content = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    return content.removesuffix("\n").split("\n")


def links_of(lines: Lines, base_tokenizer: Mapping[str, Any], new_tokenizer: Mapping[str, Any]) -> Links:
    """Return P(base token | new token) from parallel lines, each side cut by its own tokenizer.json."""
    import torch

    from tokswap.cooccurrence import translation_table
    from tokswap.methods import Links
    from tokswap.tokenization import load_tokenizer
    from tokswap.tokenizer_traits import encode

    tokenizers = (base_tokenizer, new_tokenizer)
    base, new = (encode(load_tokenizer(t), side) for t, side in zip(tokenizers, lines, strict=True))
    new_ids, base_ids, chances = translation_table(base, new)
    return Links(torch.from_numpy(new_ids), torch.from_numpy(base_ids), torch.from_numpy(chances).float())
