"""Which tokens are words of a language: the units of %TR and %Pure (arXiv:2502.07057, section 3).

A word list holds words, endings and prefixes. A token counts for %TR where it is one of them, and for %Pure where it
can't be cut into smaller ones besides. Affixes of a spelling dictionary (Hunspell) say which words they go with and
how they change them; those of a plain list go with every word of two letters or more.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tokswap.report import Figure

# Lists hold letters by their names, and what stands before "-s" in "is" is none of the words that "-s" goes with.
FEWEST_LETTERS = 2


@dataclass(frozen=True)
class Affix:
    """Put `text` in the place of the letters `off` at a word's end (`before`: at its beginning).

    It goes with words that have its `flag` (None: with all) and there match `condition`, in Hunspell's notation.
    """

    text: str
    off: str = ""
    condition: str = "."
    flag: str | None = None
    before: bool = False

    def word_of(self, form: str) -> str | None:
        """Return what `form` was before this was put to it, None where it can't have been."""
        stem = form[len(self.text) :] if self.before else form[: len(form) - len(self.text)]
        word = self.off + stem if self.before else stem + self.off
        pattern = _pattern(self.condition)
        fits = re.match(pattern, word) if self.before else re.search(f"(?:{pattern})$", word)
        return word if fits else None


@dataclass(frozen=True)
class WordList:
    """Words, each with the flags of the affixes it takes, and affixes; all folded as `fold` does."""

    words: Mapping[str, frozenset[str]]
    affixes: tuple[Affix, ...]
    turkic: bool = False

    @cached_property
    def _by_text(self) -> dict[tuple[str, bool], list[Affix]]:
        out: dict[tuple[str, bool], list[Affix]] = {}
        for affix in self.affixes:
            out.setdefault((affix.text, affix.before), []).append(affix)
        return out

    def is_valid(self, token: str) -> bool:
        """Tell whether a token is a word, an ending or a prefix, white space around it and capitals aside."""
        form = fold(token.strip(), turkic=self.turkic)
        return self._is_entry(form) or any(affix.flag is not None for affix in self._cuts(form))

    def is_pure(self, token: str) -> bool:
        """Tell whether a token is an entry that is no smaller word with an ending or prefix."""
        form = fold(token.strip(), turkic=self.turkic)
        return self._is_entry(form) and next(self._cuts(form), None) is None

    def _is_entry(self, form: str) -> bool:
        return form in self.words or any((form, before) in self._by_text for before in (False, True))

    def _cuts(self, form: str) -> Iterator[Affix]:
        """Yield the affixes that make `form` from a word, by themselves or with one at the other side."""
        for affix, word in self._off(form):
            if self._takes(word, affix):
                yield affix
            elif affix.before:
                ends = (pair for pair in self._off(word) if not pair[0].before)
                yield from (end for end, stem in ends if self._takes(stem, affix, end))

    def _off(self, form: str) -> Iterator[tuple[Affix, str]]:
        """Yield each affix that `form` may have, and the word that it leaves."""
        for at in range(1, len(form)):
            for text, before in ((form[at:], False), (form[:at], True)):
                for affix in self._by_text.get((text, before), ()):
                    word = affix.word_of(form)
                    if word is not None and len(word) >= FEWEST_LETTERS and word != form:
                        yield affix, word

    def _takes(self, word: str, *affixes: Affix) -> bool:
        flags = self.words.get(word)
        return flags is not None and all(affix.flag is None or affix.flag in flags for affix in affixes)


def fold(text: str, *, turkic: bool = False) -> str:
    """Return a text in small letters, composed; `turkic`: I is the capital of ı, and İ that of i."""
    text = unicodedata.normalize("NFC", text)
    return text.replace("İ", "i").replace("I", "ı").lower() if turkic else text.casefold()


def make_word_list(words: Iterable[tuple[str, Iterable[str]]], affixes: Iterable[Affix]) -> WordList:
    """Return the list of words with their flags, and affixes, as a file has them.

    Where a word has the letter ı, capitals are folded as in Turkish.
    """
    words = list(words)
    turkic = any("ı" in word for word, _ in words)
    folded: dict[str, frozenset[str]] = {}
    for word, flags in words:
        key = fold(word, turkic=turkic)
        folded[key] = folded.get(key, frozenset()) | frozenset(flags)
    changed = (
        Affix(fold(a.text, turkic=turkic), fold(a.off, turkic=turkic), a.condition, a.flag, a.before)
        for a in affixes
    )
    return WordList(folded, tuple(changed), turkic)


def word_figures(
    counts: NDArray[np.int64], tokens: Mapping[int, bytes], words: WordList
) -> dict[str, Figure]:
    """Return %TR and, where the list has affixes, %Pure: of the different tokens of a text, and of all of them.

    `counts` Int[V] of ids in the text, `tokens` the bytes of those that occur. Parts of characters are no words.
    """
    used = np.asarray(sorted(tokens), dtype=np.int64)
    texts = [_text(tokens[i]) for i in used.tolist()]
    tests = {"valid": words.is_valid} | ({"pure": words.is_pure} if words.affixes else {})
    out: dict[str, Figure] = {}
    for name, test in tests.items():
        passed = np.asarray([text is not None and test(text) for text in texts], dtype=bool)
        share = int(counts[used][passed].sum()) / max(int(counts.sum()), 1)
        out[f"{name}_types"] = Figure(
            int(passed.sum()) / max(len(used), 1), "share", note="of different tokens"
        )
        out[f"{name}_tokens"] = Figure(share, "share", note="of all tokens")
    return out


def _text(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=4096)
def _pattern(condition: str) -> str:
    """Return Hunspell's condition as a regular expression: characters, "." and sets in brackets, nothing else."""
    parts = re.findall(r"\[\^?[^\]]+\]|.", condition)
    return "".join(
        f"[{part[1] if part[1] == '^' else re.escape(part[1])}{re.escape(part[2:-1])}]"
        if len(part) > 1
        else part
        if part == "."
        else re.escape(part)
        for part in parts
    )
