"""Numbers under two tokenizers: how much of a text they cut differently, and the donor's made to cut as the base's.

A model that has only read single digits has no use for a row of "123", however well it is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import CONTEXTS, digit_scheme, encode
from tokswap.vocab import Vocab

# What numbers stand in, when it is tried whether a changed tokenizer still gives every text back.
FRAMES = ("{}", " {}", "a{}b", "\n{}.", "x = {};\n")
ROUND_TRIPS = 1000
_NUMBER = re.compile("[0-9]+")
_GROUPS = re.compile(r"groups of (\d+), from the (left|right)")


def differing_share(
    one: tuple[Any, Vocab], other: tuple[Any, Vocab], texts: Iterable[Text]
) -> tuple[float, float]:
    """Return (bytes in numbers that the two (engine, vocab) cut differently, all bytes), of some texts.

    Each number is cut by itself; a digit is a byte.
    """
    counts: dict[str, int] = {}
    total = 0
    for text in texts:
        total += text.bytes
        for document in text.documents:
            for number in _NUMBER.findall(document):
                counts[number] = counts.get(number, 0) + 1
    numbers = list(counts)
    cuts = [_cuts(engine, vocab, numbers) for engine, vocab in (one, other)]
    differing = sum(
        len(number) * counts[number] for number, a, b in zip(numbers, cuts[0], cuts[1], strict=True) if a != b
    )
    return differing, total


def _cuts(engine: Any, vocab: Vocab, numbers: list[str]) -> list[list[int]]:
    """Return how many digits stand before the end of each token, tokens without digits aside."""
    out: list[list[int]] = []
    for ids in encode(engine, numbers):
        digits = (sum(byte in b"0123456789" for byte in vocab.bytes_of(i)) for i in ids)
        out.append(list(accumulate(n for n in digits if n)))
    return out


def with_digits_of(
    base: tuple[Any, Vocab], donor: Mapping[str, Any], donor_vocab: Vocab, name: str
) -> dict[str, Any]:
    """Return the donor's tokenizer.json (called `name`) with numbers cut as the base (engine, vocab) cuts them.

    A split of numbers is put before whatever else it does; the vocabulary stays. What comes out is tried: the
    scheme must be the base's, and numbers in several surroundings must come back as they do from the donor.
    Raises TokswapError where the base's scheme is no rule, or the donor can't follow it.
    """
    wanted, engine = digit_scheme(*base), load_tokenizer(donor, name)
    pattern = _pattern(wanted)
    if pattern is None:
        raise TokswapError(
            f"--keep-digits base: the base cuts numbers by no rule ({wanted}), and no other tokenizer can follow",
            "leave --keep-digits out: numbers are then cut as the donor does",
        )
    if digit_scheme(engine, donor_vocab) == wanted:
        return dict(donor)
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    old = donor.get("pre_tokenizer")
    steps: list[Any] = [] if old is None else [old]
    if old is not None and old.get("type") == "Sequence":
        steps = list(old.get("pretokenizers") or [])
    changed = {**donor, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, *steps]}}
    new = load_tokenizer(changed, name)
    got = digit_scheme(new, donor_vocab)
    if got != wanted:
        raise TokswapError(
            f"--keep-digits base: the base cuts numbers into {wanted}, and {name} can't (at best {got})",
            "its vocabulary or its own rules don't allow it: leave --keep-digits out, or choose another donor",
        )
    _require_same_texts(engine, new, name)
    return changed


def _pattern(scheme: str) -> str | None:
    """Return the regular expression of one part of a number under a scheme, None where there is no rule."""
    if scheme == "single digits":
        return r"\p{N}"
    found = _GROUPS.fullmatch(scheme)
    if found is None:
        return None
    part = rf"\p{{N}}{{1,{found[1]}}}"
    return part if found[2] == "left" else rf"{part}(?=(?:\p{{N}}{{{found[1]}}})*(?!\p{{N}}))"


def _require_same_texts(old: Any, new: Any, name: str) -> None:
    texts = [frame.format(number) for frame in FRAMES for number in range(ROUND_TRIPS)]
    before, after = (_decoded(engine, texts) for engine in (old, new))
    lost = next((t for t, a, b in zip(texts, before, after, strict=True) if a != b), None)
    if lost is not None:
        raise TokswapError(
            f"--keep-digits base: {name} no longer gives {lost!r} back when its numbers are cut apart",
            "its rules put something before every part: leave --keep-digits out, or choose another donor",
        )


def _decoded(engine: Any, texts: list[str]) -> list[str]:
    return [str(engine.decode(ids, skip_special_tokens=False)) for ids in encode(engine, texts)]


def out_of_use(tokenizer: Mapping[str, Any], vocab: Vocab, ids: Iterable[int]) -> NDArray[np.int64]:
    """Return those of `ids` that hold a digit and that their own text never yields under a tokenizer.

    Tokens that are no text by themselves (a digit and a part of a character) can't be tried and stay.
    """
    texts: dict[int, str] = {}
    for token_id in ids:
        token = vocab.bytes_of(token_id)
        if _NUMBER.search(token.decode("latin-1")) and is_text(token):
            texts[token_id] = token.decode()
    engine = load_tokenizer(tokenizer)
    used: set[int] = set()
    for context in CONTEXTS:
        found = encode(engine, [context + text for text in texts.values()])
        used.update(i for i, cut in zip(texts, found, strict=True) if i in cut)
    return np.array([i for i in texts if i not in used], dtype=np.int64)


def is_text(token: bytes) -> bool:
    """Tell whether bytes are valid UTF-8."""
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
