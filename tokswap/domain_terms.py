"""What the terms of a domain cost in tokens, as in the KL3M tokenizers' evaluation (arXiv:2503.17247)."""

from __future__ import annotations

from collections.abc import Sequence

from tokswap.reading import Reader
from tokswap.report import Figure

# Terms are read behind a word and a space, as they stand in text: most vocabularies hold words with their space. The
# colon keeps a tokenizer with tokens of several words from joining it to them.
BEFORE = "x: "


def term_tokens(reader: Reader, term: str) -> int:
    """Return the number of tokens that hold a part of the term where it stands in a text."""
    _, ends = reader.read(BEFORE + term)
    return int((ends > len(BEFORE)).sum())


def term_figures(reader: Reader, terms: Sequence[str]) -> dict[str, Figure]:
    """Return tokens a term, the share of terms in one token, and the most that one takes."""
    counts = [term_tokens(reader, term) for term in terms]
    return {
        "terms": Figure(len(terms), "terms"),
        "tokens_per_term": Figure(sum(counts) / max(len(counts), 1), "tokens/term"),
        "one_token": Figure(counts.count(1) / max(len(counts), 1), "share", note="of the terms"),
        "most_tokens": Figure(max(counts, default=0), "tokens", note="of one term"),
    }
