"""Figures of tokenizers on texts: compression, fertility, whole words, use of the vocabulary, and parity.

Fertility is tokens a word, a word being what stands between white space. Rényi efficiency is that of Zouhar et al.
2023 (arXiv:2306.16842), parity the premium of Petrov et al. 2023 (arXiv:2305.15425). Words of a list: `word_list`;
terms of a domain: `domain_terms`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.display.text import short_name
from tokswap.domain_terms import term_figures
from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.reading import Reader, reader_of
from tokswap.report import Figure, Report
from tokswap.word_list import WordList, word_figures

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

RENYI_ALPHA = 2.5
"""The order that goes best with translation quality in Zouhar et al. 2023."""
WORD = re.compile(rb"\S+")


def require_text(texts: Mapping[str, Text], name: str | None) -> None:
    """Raise TokswapError where there is no text of that name; None asks for none."""
    if name is not None and name not in texts:
        raise TokswapError(f"there is no text {name!r}", f"the texts are {', '.join(texts)}")


def measure_tokenizers(
    checkpoints: Sequence[Checkpoint],
    texts: Mapping[str, Text],
    *,
    parallel: str | None = None,
    words: Mapping[str, WordList] | None = None,
    terms: Mapping[str, Sequence[str]] | None = None,
) -> Report:
    """Return one section a text and a domain of terms, and in it one a tokenizer, with its figures.

    `parallel` names the text that all others are translations of: each then has its premium, its tokens over those
    of that text. `words` are lists for the texts of those names, `terms` those of domains. Raises TokswapError for
    names that no text has, and for tokenizers that are missing or broken.
    """
    words, terms = words or {}, terms or {}
    for name in (parallel, *words):
        require_text(texts, name)
    readers = {name: reader_of(its) for name, its in zip(_names(checkpoints), checkpoints, strict=True)}
    found = {
        text: {name: text_metrics(r, its, words.get(text)) for name, r in readers.items()}
        for text, its in texts.items()
    }
    if parallel is not None:
        for figures in found.values():
            for name, its in figures.items():
                reference = found[parallel][name]["tokens"].value
                its["premium"] = Figure(
                    its["tokens"].value / max(reference, 1), "x", note=f"its tokens over those of {parallel}"
                )
    sections = {text: _section("text", by_name) for text, by_name in found.items()}
    for domain, its in terms.items():
        by_name = {name: term_figures(reader, its) for name, reader in readers.items()}
        sections[f"{domain} (terms)"] = replace(_section("terms", by_name), facts={"name": domain})
    facts = {
        "tokenizers": list(readers),
        "sources": [checkpoint.source for checkpoint in checkpoints],
        "parallel": parallel,
    }
    return Report("tokenizers", facts, {}, sections, _without_affixes(words))


def _section(kind: str, by_name: Mapping[str, dict[str, Figure]]) -> Report:
    return Report(kind, sections={name: Report("metrics", figures=its) for name, its in by_name.items()})


def _without_affixes(words: Mapping[str, WordList]) -> tuple[str, ...]:
    return tuple(
        f"the word list of {name} has no affixes, such as -ing or un-: without them there is no %Pure"
        for name, its in words.items()
        if not its.affixes
    )


def text_metrics(reader: Reader, text: Text, words: WordList | None = None) -> dict[str, Figure]:
    """Return what a tokenizer makes of a text, and with `words` how many of its tokens are words."""
    counts = np.zeros(reader.vocab.max_id + 1, dtype=np.int64)
    standing = whole = 0
    for document in text.documents:
        ids, ends = reader.read(document)
        np.add.at(counts, ids, 1)
        in_one = whole_words(document.encode(), ends)
        standing, whole = standing + len(in_one), whole + int(in_one.sum())
    tokens = int(counts.sum())
    used = np.flatnonzero(counts).tolist()
    figures = {
        "tokens": Figure(tokens, "tokens"),
        "bytes_per_token": Figure(text.bytes / max(tokens, 1), "bytes/token"),
        "fertility": Figure(tokens / max(standing, 1), "tokens/word"),
        "whole_words": Figure(whole / max(standing, 1), "share", note="of the words, in one token"),
        "renyi_efficiency": Figure(
            renyi_efficiency(counts, len(reader.vocab)),
            "share",
            note=f"of its entropy's bound, order {RENYI_ALPHA}",
        ),
        "tokens_used": Figure(len(used), "tokens", note="different ones"),
    }
    if words is not None:
        figures |= word_figures(counts, {i: reader.vocab.bytes_of(i) for i in used}, words)
    return figures


def renyi_efficiency(counts: NDArray[np.int64], vocab_size: int, alpha: float = RENYI_ALPHA) -> float:
    """Return the Rényi entropy of the tokens' frequencies over its bound, log of the vocabulary's size; 0 to 1.

    `counts` Int[V]; order 1 is Shannon's entropy.
    """
    shares = counts[counts > 0] / max(int(counts.sum()), 1)
    if len(shares) < 2 or vocab_size < 2:
        return 0.0
    if alpha == 1:
        entropy = -float((shares * np.log(shares)).sum())
    else:
        entropy = float(np.log((shares**alpha).sum())) / (1 - alpha)
    return entropy / float(np.log(vocab_size))


def whole_words(document: bytes, ends: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return Bool[words]: does one token hold the whole word, with whatever else? `ends` Int[n] as of `Reader.read`."""
    spans = [match.span() for match in WORD.finditer(document)]
    first, last = np.asarray(spans, dtype=np.int64).reshape(-1, 2).T
    return np.searchsorted(ends, first, side="right") == np.searchsorted(ends, last - 1, side="right")


def _names(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Return short names of the sources, with a number where two would have the same."""
    out: list[str] = []
    for checkpoint in checkpoints:
        name = short_name(checkpoint.source)
        same = sum(short_name(other.source) == name for other in checkpoints)
        out.append(name if same == 1 else f"{name} ({len(out) + 1})")
    return out
