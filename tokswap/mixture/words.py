"""What a tokenizer's trainer took for words: its own normaliser and pre-tokenizer, as one function over text.

SentencePiece says nothing of them in tokenizer.json: it cut at spaces, at changes of script and around digits while
it learnt, and needn't when it encodes. Where no learnt token crosses such a border, the trainer cut there.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tokswap.mixture.types import MergeList
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import SPACE_MARK, is_byte_level

RARE = 1e-3  # of the learnt tokens: what a few odd ones do is no rule
MAY_STAND_APART = "0123456789\t\n\r"
_WORD = re.compile(f"{SPACE_MARK}+[^{SPACE_MARK}]*|[^{SPACE_MARK}]+")
_INNER_SPACE = re.compile(f"[^{SPACE_MARK}]{SPACE_MARK}")
_RUN = re.compile(f"{SPACE_MARK}{{2,}}")
_JOINS = {"Mn", "Mc", "Me", "Cf"}  # marks and joiners, which belong to no script of their own


@dataclass(frozen=True)
class WordSpec:
    """How text becomes words. Two tokenizers with equal specs have the same words, and share cached counts.

    `normalizer` and `pre_tokenizer` as JSON. The rest is what SentencePiece's trainer did: read `lines` one by one,
    cut before `spaces`, took `runs` of spaces out, put characters `apart`, cut where `scripts` change but for marks
    that `marks_join`.
    """

    normalizer: str
    pre_tokenizer: str
    lines: bool = False
    spaces: bool = False
    runs: bool = False
    apart: str = ""
    scripts: bool = False
    marks_join: bool = False

    @property
    def key(self) -> str:
        """A hash of all that decides what the words are."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


def word_spec(tokenizer: Mapping[str, Any], merges: MergeList) -> WordSpec:
    """Return how the trainer of a parsed tokenizer.json cut text into words."""
    normalizer, pre_tokenizer = (
        _canonical(tokenizer.get("normalizer")),
        _canonical(tokenizer.get("pre_tokenizer")),
    )
    if is_byte_level(tokenizer) or SPACE_MARK not in normalizer + pre_tokenizer:
        return WordSpec(normalizer, pre_tokenizer)
    learnt = [merges.texts[result] for result in dict.fromkeys(merges.results.tolist())]
    rare = RARE * len(learnt)
    used = set("".join(learnt))
    apart = "".join(character for character in MAY_STAND_APART if character not in used)
    crossing = [len(_by_script(text, False)) > 1 for text in learnt]
    beyond_marks = [len(_by_script(text, True)) > 1 for text in learnt]
    return WordSpec(
        normalizer,
        pre_tokenizer,
        lines="\n" in apart,
        spaces=sum(_INNER_SPACE.search(text) is not None for text in learnt) <= rare,
        runs=SPACE_MARK * 2 in tokenizer["model"]["vocab"] and SPACE_MARK * 2 not in merges.texts,
        apart=apart,
        scripts=sum(beyond_marks) <= rare,
        marks_join=sum(crossing) > sum(beyond_marks),
    )


def _canonical(step: Any) -> str:
    """Return a step as JSON in which pre-tokenizers that give the same words look the same."""
    return json.dumps(_plain(step), ensure_ascii=False, sort_keys=True)


def _plain(step: Any) -> Any:
    """Set what changes offsets and not words to one value, and steps that do nothing to null."""
    if isinstance(step, Mapping):
        kept = {key: _plain(value) for key, value in step.items()}
        if "trim_offsets" in kept:
            kept["trim_offsets"] = False
        return None if kept == {"type": "Sequence", "normalizers": []} else kept
    return [_plain(part) for part in step] if isinstance(step, list) else step


def word_splitter(spec: WordSpec) -> Callable[[str], Iterable[str]]:
    """Return the function that cuts text into words, before SentencePiece's rules (see `inner_splitter`)."""
    engine = load_tokenizer(
        {
            "version": "1.0",
            "normalizer": json.loads(spec.normalizer),
            "pre_tokenizer": json.loads(spec.pre_tokenizer),
            "model": {"type": "BPE", "vocab": {}, "merges": []},
        }
    )
    normalizer, pre_tokenizer = engine.normalizer, engine.pre_tokenizer

    def words(text: str) -> Iterable[str]:
        normal = normalizer.normalize_str(text) if normalizer else text
        found = [word for word, _ in pre_tokenizer.pre_tokenize_str(normal)] if pre_tokenizer else [normal]
        return [part for word in found for part in _WORD.findall(word)] if spec.spaces else found

    def words_of_lines(text: str) -> Iterable[str]:
        return [word for line in text.split("\n") if line for word in words(line)]

    return words_of_lines if spec.lines else words


def inner_splitter(spec: WordSpec) -> Callable[[str], Iterable[str]] | None:
    """Return the function that cuts a word by SentencePiece's rules; None where a word stays whole."""
    if not (spec.runs or spec.apart or spec.scripts):
        return None
    pieces = re.compile(f"[{re.escape(spec.apart)}]|[^{re.escape(spec.apart)}]+" if spec.apart else r"(?s).+")

    def split(word: str) -> Iterable[str]:
        # A run of spaces is one symbol that was there from the start: no pair begins or ends in it.
        parts = _RUN.sub("\0", word).split("\0") if spec.runs else [word]
        pieced = [piece for part in parts for piece in pieces.findall(part)]
        return [
            w for piece in pieced for w in (_by_script(piece, spec.marks_join) if spec.scripts else [piece])
        ]

    return split


def _by_script(word: str, marks_join: bool) -> list[str]:
    """Cut where the script changes, as SentencePiece tells scripts; leading `▁` belong to what follows."""
    from tokenizers.pre_tokenizers import UnicodeScripts

    body = word.lstrip(SPACE_MARK)
    if word.isascii() and body.isalpha():
        return [word]
    parts = [part for part, _ in UnicodeScripts().pre_tokenize_str(body)]
    out = [word[: len(word) - len(body)] + (parts[0] if parts else "")]
    for part in parts[1:]:
        if marks_join and _JOINS & {unicodedata.category(out[-1][-1:] or "a"), unicodedata.category(part[0])}:
            out[-1] += part
        else:
            out.append(part)
    return out
