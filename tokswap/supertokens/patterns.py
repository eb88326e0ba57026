r"""Where text may be cut: as words for stage 1, as stretches of several words for stage 2.

Every border of stage 2 is one of stage 1: a stretch is a union of whole words, so that stage 2 goes on from what
stage 1 learnt. Words are those of Llama 3's pattern; a stretch is what stands between two numbers, ends of lines
included: in text with short lines many a phrase crosses one.
"""

from __future__ import annotations

from typing import Any

LONGEST_NUMBER = 3


def word_pattern(digits: int = LONGEST_NUMBER) -> str:
    """Return the pattern of stage 1: contractions, words, numbers up to `digits` long, punctuation, white space."""
    return (
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{_number(digits)}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def stretch_pattern(digits: int = LONGEST_NUMBER) -> str:
    """Return the pattern of stage 2: a number, or all up to the next one."""
    return rf"{_number(digits)}|[^\p{{N}}]+"


def byte_level(pattern: str) -> dict[str, Any]:
    """Return the pre-tokenizer of a tokenizer.json that cuts by a pattern and spells in byte-level characters."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    spelling = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, spelling]}


def _number(digits: int) -> str:
    return r"\p{N}" if digits == 1 else rf"\p{{N}}{{1,{digits}}}"
