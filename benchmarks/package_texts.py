"""Text out of the files of packages: HTML, pages of the manual, message catalogues, dictionaries, source code.

Each reader takes a path and yields texts: lines or paragraphs of prose, whole files of code.
"""

from __future__ import annotations

import gettext
import gzip
import html
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Reader = Callable[[Path], Iterable[str]]

_SCRIPT = re.compile(r"(?is)<(script|style|head)\b.*?</\1>")
_BLOCK = re.compile(
    r"(?i)</?(p|div|h\d|li|ul|ol|td|th|tr|table|br|dt|dd|pre|section|nav|title|item|desc|a id)\b[^>]*>"
)
_TAG = re.compile(r"(?s)<[^>]*>")
_REQUEST = re.compile(r"^[.']\s*(\S+)\s*(.*)")
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"|(\S+)')
_ESCAPE = re.compile(r"\\(?:f[A-Z0-9]|f\(..|f\[[^\]]*\]|\*\(..|\*\[[^\]]*\]|s[+-]?\d+|[&/,|^:%c)])")
_NAMED = re.compile(r"\\(?:\((..)|\[([^\]]+)\])")
_SIGNS = {
    "aq": "'", "dq": '"', "oq": "‘", "cq": "’", "lq": "“", "rq": "”", "bu": "•", "em": "—", "en": "–", "hy": "-",
    "mi": "−", "pl": "+", "eq": "=", "rs": "\\", "ti": "~", "ha": "^", "ga": "`", "co": "©", "mu": "×", "de": "°",
    "->": "→", "<-": "←", ">=": "≥", "<=": "≤", "+-": "±", "Fo": "«", "Fc": "»", "at": "@", "sh": "#",
}  # fmt: skip
# Requests that go on with the paragraph, and whether their arguments stand together without a space.
_FONTS = {"B": False, "I": False, "SM": False, "SB": False} | dict.fromkeys(
    ("BR", "IR", "RB", "RI", "BI", "IB"), True
)
_HEADINGS = ("SH", "SS")
_TABLES = {"TS": "TE", "EQ": "EN", "de": "."}


def page(path: Path) -> list[str]:
    """Lines of text of a page of HTML or Mallard."""
    text = _SCRIPT.sub("", path.read_text(encoding="utf-8", errors="replace"))
    return html.unescape(_TAG.sub("", _BLOCK.sub("\n", text))).splitlines()


def packed(path: Path) -> list[str]:
    """Lines of a gzipped text; a dictionary's .dict.dz is one."""
    return gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()


def manual(path: Path) -> list[str]:
    """Paragraphs and headings of a page of the manual, without its tables."""
    paragraphs: list[str] = []
    words: list[str] = []
    end = ""
    for line in packed(path):
        found = _REQUEST.match(line)
        name = found[1] if found else ""
        if end:
            end = "" if name == end else end
        elif not found:
            words.append(line)
        elif name in _FONTS:
            words.append(("" if _FONTS[name] else " ").join(_arguments(found[2])))
        elif not name.startswith("\\"):  # not a comment
            paragraphs.append(" ".join(words))
            words = []
            end = _TABLES.get(name, "")
            if name in _HEADINGS:
                paragraphs.append(" ".join(_arguments(found[2])))
    paragraphs.append(" ".join(words))
    return [plain_roff(text) for text in paragraphs]


def _arguments(text: str) -> list[str]:
    return [(quoted or bare).replace('""', '"') for quoted, bare in _ARGUMENT.findall(text)]


def plain_roff(text: str) -> str:
    r"""Return a line of troff as text: fonts and sizes go, `\-`, `\(bu` and `\[aq]` become their signs."""
    text = _ESCAPE.sub("", text)
    text = _NAMED.sub(lambda found: _SIGNS.get(found[1] or found[2], ""), text)
    return re.sub(r"\\([-e .~'`])", lambda found: {"e": "\\", "~": " "}.get(found[1], found[1]), text)


def translations(path: Path) -> list[str]:
    """Lines of the translated texts of a message catalogue."""
    texts = (text for key, text in _catalogue(path) if key and isinstance(text, str))
    return [line for text in texts for line in text.splitlines()]


def originals(path: Path) -> list[str]:
    """Lines of the English texts of a message catalogue."""
    texts = (key.split("^", 1)[-1] for key, _ in _catalogue(path) if isinstance(key, str))
    return [line for text in texts for line in text.split("\x04")[-1].splitlines()]


def _catalogue(path: Path) -> Iterable[tuple[object, object]]:
    with path.open("rb") as file:
        return gettext.GNUTranslations(file)._catalog.items()  # type: ignore[attr-defined]


def whole(path: Path) -> list[str]:
    """A file of source code as it is, unpacked; nothing when it isn't UTF-8."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        return [data.decode()]
    except UnicodeDecodeError:
        return []


def archived(path: Path) -> Iterator[str]:
    """The Java files of a zip."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".java"):
                yield archive.read(name).decode("utf-8", "replace")
