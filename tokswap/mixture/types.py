"""What mixture inference works on: a tokenizer's merges in the order it learnt them, and words counted by category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

UNKNOWN = -1
"""Stands in a word's symbols for a character that the tokenizer has no symbol for; no merge touches it."""


@dataclass(frozen=True)
class MergeList:
    """A BPE tokenizer's T merges over S symbols, in the order they were learnt.

    `tokens[s]` exact bytes and `texts[s]` the spelling in tokenizer.json of symbol s: first the alphabet, then what
    merges yield, in order of first appearance. `alphabet` what a word's characters are looked up in: one character,
    for SentencePiece also `<0xNN>`. `pairs` Int[T 2] left and right symbol, `results` Int[T] the symbol they become.
    `notes` for a person: what was recovered, set aside, or is shared with a known tokenizer. `set_aside` merges put
    in by hand and left out. `shared_prefix` a known tokenizer and how many leading merges are the same. `skip`
    leading merges that are replayed but say nothing about this tokenizer's own data. `suffix` ends a word (`</w>`).
    """

    tokens: tuple[bytes, ...]
    texts: tuple[str, ...]
    alphabet: Mapping[str, int]
    pairs: NDArray[np.int32]
    results: NDArray[np.int32]
    byte_fallback: bool
    notes: tuple[str, ...]
    set_aside: int
    shared_prefix: tuple[str, int] | None
    skip: int = 0
    suffix: str = ""

    def symbols(self, word: str) -> list[int]:
        """Return the symbols of a normalised word before any merge.

        A character outside the alphabet becomes its bytes where the tokenizer falls back to them, else `UNKNOWN`.
        """
        characters = [*word[:-1], word[-1] + self.suffix] if word else []
        out: list[int] = []
        for character in characters:
            symbol = self.alphabet.get(character)
            out += self._fallback(character) if symbol is None else [symbol]
        return out

    def _fallback(self, character: str) -> list[int]:
        if not self.byte_fallback:
            return [UNKNOWN]
        found = [self.alphabet.get(f"<0x{byte:02X}>", UNKNOWN) for byte in character.encode()]
        return [UNKNOWN] if UNKNOWN in found else found


@dataclass(frozen=True)
class WordCounts:
    """How often each of W distinct words stands in the text of each of n categories.

    `words` normalised and pre-tokenised, in the tokenizer's own alphabet, sorted; `counts` Int[W n];
    `text_bytes` Int[n] UTF-8 bytes of the text counted, before normalising. `dropped` Int[n] occurrences of
    rare words that a cap on distinct words left out, None where nothing was.
    """

    categories: tuple[str, ...]
    words: tuple[str, ...]
    counts: csr_array
    text_bytes: NDArray[np.int64]
    dropped: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if cast("Any", self.counts).shape != (len(self.words), len(self.categories)):
            raise ValueError("counts must have one row a word and one column a category")
        if self.text_bytes.shape != (len(self.categories),):
            raise ValueError("text_bytes must have one entry a category")
