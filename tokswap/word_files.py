"""Word lists as files: plain ones, a word a line, and Hunspell's spelling dictionaries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import read_text
from tokswap.word_list import Affix, WordList, make_word_list

DICTIONARY = ".dic"
RULES = {"SFX": False, "PFX": True}
ONE_BYTE_EACH = "iso-8859-1"  # reads every byte, and is right for the line that names the encoding
LONG_FLAG = 2  # letters
ESCAPED = "\0"  # stands for a slash that belongs to a word


def read_word_list(path: Path) -> WordList:
    """Return the words of a file: of a Hunspell dictionary where it ends in .dic, else an entry a line.

    In a plain list `-ing` is an ending and `un-` a prefix. A dictionary's affixes are in the .aff file beside it; how
    it makes compounds, and affixes of affixes, are left aside. Raises TokswapError for files that can't be used.
    """
    words = _dictionary(path) if path.suffix == DICTIONARY else _plain(read_text(path).splitlines())
    if not words.words:
        raise TokswapError(f"{path} holds no words", "give a file with a word a line, or a Hunspell .dic")
    return words


def read_terms(path: Path) -> tuple[str, ...]:
    """Return the terms of a file, one a line, each once. Raises TokswapError where there are none."""
    terms = tuple(dict.fromkeys(filter(None, map(str.strip, read_text(path).splitlines()))))
    if not terms:
        raise TokswapError(f"{path} holds no terms", "give a file with a term a line")
    return terms


def _plain(lines: Iterable[str]) -> WordList:
    entries = [entry for line in lines if (entry := line.strip()).strip("-")]
    affixes = [Affix(entry.strip("-"), before=entry[-1] == "-") for entry in entries if _is_affix(entry)]
    return make_word_list(((entry, ()) for entry in entries if not _is_affix(entry)), affixes)


def _is_affix(entry: str) -> bool:
    return (entry[0] == "-") != (entry[-1] == "-")


@dataclass(frozen=True)
class _Notation:
    """How a dictionary writes flags: `kind` is "", long or num; `aliases` stand for sets of them, numbered from 1."""

    kind: str
    aliases: tuple[str, ...]

    def flags(self, written: str) -> Iterable[str]:
        if self.aliases and written.isdecimal() and 0 < int(written) <= len(self.aliases):
            written = self.aliases[int(written) - 1]
        if self.kind == "num":
            return written.split(",")
        if self.kind == "long":
            return (written[i : i + LONG_FLAG] for i in range(0, len(written), LONG_FLAG))
        return written


def _dictionary(path: Path) -> WordList:
    beside = path.with_suffix(".aff")
    if not beside.is_file():
        raise TokswapError(
            f"{path} has no {beside.name} beside it", "a Hunspell dictionary is two files; give both"
        )
    encoding = _encoding(beside)
    lines = [line.split() for line in read_text(beside, encoding).splitlines()]
    named = {line[0]: line[1] for line in lines if len(line) > 1}
    aliases = tuple(line[1] for line in lines if len(line) > 1 and line[0] == "AF")[
        1:
    ]  # the first is their number
    notation = _Notation(named.get("FLAG", ""), aliases)
    words = _words(read_text(path, encoding), notation, named.get("FORBIDDENWORD"))
    return make_word_list(words, _rules(lines))


def _encoding(rules: Path) -> str:
    """Return the encoding that the rules name; raises TokswapError for one that Python doesn't know."""
    found = re.search(r"^SET[ \t]+(\S+)", read_text(rules, ONE_BYTE_EACH), re.MULTILINE)
    name = found[1] if found else ONE_BYTE_EACH
    try:
        "".encode(name)
    except LookupError:
        raise TokswapError(f"{rules} names an encoding {name!r}", "convert both files to UTF-8") from None
    return "utf-8-sig" if name.upper() == "UTF-8" else name


def _words(content: str, notation: _Notation, forbidden: str | None) -> Iterator[tuple[str, frozenset[str]]]:
    for number, line in enumerate(content.splitlines()):
        entry = re.split(r"\t|\s+\w\w:", line)[0].strip()  # behind it: what the word means to a grammar
        if not entry or (number == 0 and entry.isdecimal()):
            continue
        word, _, written = entry.replace("\\/", ESCAPED).partition("/")
        flags = frozenset(notation.flags(written))
        if forbidden not in flags:
            yield word.replace(ESCAPED, "/"), flags


def _rules(lines: Iterable[list[str]]) -> Iterator[Affix]:
    """Yield the affixes: lines of SFX or PFX, a flag, letters off ("0" for none), letters on, a condition."""
    for line in lines:
        if len(line) < 4 or line[0] not in RULES or (line[2] in ("Y", "N") and line[3].isdecimal()):
            continue  # what opens a group of rules has Y or N and their number
        text, off = line[3].partition("/")[0], line[2]
        if text != "0":
            condition = line[4] if len(line) > 4 else "."
            yield Affix(text, "" if off == "0" else off, condition, line[1], RULES[line[0]])
