"""Texts and numbers made fit to show: token texts may hold anything, a terminal may obey any of it."""

from __future__ import annotations

import math
import re
from typing import Any

from tokswap.report import Figure

SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
# Where bytes are no UTF-8, Python's surrogateescape puts 0xDC00 + the byte.
FIRST_RAW, LAST_RAW = 0xDC80, 0xDCFF
BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB")
COUNT_UNITS = ("", "thousand", "M", "B")
# Decimals by unit; the other units are counts.
DECIMALS = {"bits/byte": 3, "x": 3, "bytes/token": 2, "tokens/word": 2, "tokens/term": 2, "nats": 2}
PERCENT = ("share", "probability", "share of tokens")


def escape(token: str | bytes) -> str:
    """Return a token's text with everything visible: control, bidi and zero-width characters, raw bytes.

    >>> escape(b" caf\\xc3\\xa9\\n\\x1b[31m\\xff")
    ' café\\\\n\\\\x1b[31m\\\\xff'
    """
    text = token.decode("utf-8", "surrogateescape") if isinstance(token, bytes) else token
    return "".join(map(_visible, text))


def safe(text: str) -> str:
    """Return a message or text of several lines with nothing in it that a terminal would obey."""
    return "".join(c if c in "\n\\" else _visible(c) for c in text)


def one_line(text: str) -> str:
    """Return a message as one line with nothing in it that a terminal would obey."""
    return safe(" ".join(text.split()))


def safe_json(document: str) -> str:
    """Return a JSON document in which what a terminal would obey is written as \\uNNNN: the same data."""
    return re.sub(r"[^\n -~]", _json_escape, document)


def _visible(character: str) -> str:
    if character in SHORT_ESCAPES:
        return SHORT_ESCAPES[character]
    code = ord(character)
    if FIRST_RAW <= code <= LAST_RAW:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():  # false for control, format, surrogate and private characters
        return character
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def amount(figure: Figure | None) -> str:
    """Return a figure's value as a person writes it, "–" where there is none."""
    return "–" if figure is None else _number(figure.value, figure.unit)


def rounded(figure: Figure) -> str:
    """Return a large count in three digits: "132 M"."""
    value, power = float(figure.value), 0
    while abs(value) >= 999.5 and power < len(COUNT_UNITS) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {COUNT_UNITS[power]}".strip()


def with_interval(figure: Figure | None) -> str:
    """Return a figure with its 95 % interval, where it has one."""
    if figure is None or figure.low is None or figure.high is None:
        return amount(figure)
    low, high = _number(figure.low, figure.unit), _number(figure.high, figure.unit)
    return f"{amount(figure)} ({low} to {high})"


def words(value: Any) -> str:
    """Return a fact as a person writes it: yes and no, lists with commas, nothing as a dash."""
    if value is None or value == "" or value == {} or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{escape(str(k))} = {words(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(words, value))
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def short_name(source: object) -> str:
    """Return the short name of a source: no folders, no provenance in brackets."""
    name = str(source).split(" (")[0].rstrip("/")
    return escape(name.rsplit("/", 1)[-1] or name)


def label(name: str) -> str:
    """Return the name of a figure or fact as words."""
    return escape(name).replace("_", " ")


def _number(value: float | int, unit: str) -> str:
    if not math.isfinite(value):
        return "no number"
    if unit == "bytes":
        return _byte_size(value)
    if unit in ("seconds", "s"):
        return duration(value)
    if unit in PERCENT:
        return f"{100 * value:.1f} %"
    if unit in DECIMALS:
        return f"{value:.{DECIMALS[unit]}f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _byte_size(value: float) -> str:
    power = 0
    while abs(value) >= 999.5 and power < len(BYTE_UNITS) - 1:  # 999.5 would round to four digits
        value, power = value / 1000, power + 1
    return f"{value:.3g} {BYTE_UNITS[power]}" if abs(value) < 1000 else f"{value:,.0f} {BYTE_UNITS[power]}"


def duration(seconds: float) -> str:
    """Return a time in the two largest units: "45 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
