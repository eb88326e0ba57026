"""Two tokenizers side by side: what they share, and what each makes of text, numbers and difficult strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokswap.align import Alignment, align
from tokswap.display.text import escape
from tokswap.evaluation.texts import Text, default_texts
from tokswap.report import Figure, Report
from tokswap.token_roles import ROLE_ORDER
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_metrics import measure_tokenizers
from tokswap.tokenizer_traits import (
    EXAMPLES,
    NASTY_STRINGS,
    count_tokens,
    digit_scheme,
    lost_strings,
    unreachable,
)
from tokswap.vocab import Kind, Vocab, vocab_of

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint
    from tokswap.word_list import WordList


@dataclass(frozen=True)
class _Side:
    """One of the two: its name, its vocabulary and what turns text into ids."""

    name: str
    vocab: Vocab
    engine: Any


def compare(
    a: Checkpoint,
    b: Checkpoint,
    texts: Mapping[str, Text] | None = None,
    *,
    parallel: str | None = None,
    words: Mapping[str, WordList] | None = None,
    terms: Mapping[str, Sequence[str]] | None = None,
) -> Report:
    """Compare the tokenizers of two checkpoints; their weights, if any, play no part.

    Tokens are the same when their bytes or their roles agree, whatever their spelling. `texts` None takes those
    that come with tokswap; `parallel`, `words` and `terms` as for `measure_tokenizers`, whose figures are the section
    "metrics". Raises TokswapError for a tokenizer that is missing or broken.
    """
    sides = _side(a), _side(b)
    forth = align(sides[0].vocab, sides[1].vocab)
    back = align(sides[1].vocab, sides[0].vocab)
    chosen = default_texts() if texts is None else texts
    by_text = {name: _text_report(sides, text) for name, text in chosen.items()}
    return Report(
        kind="comparison",
        facts={
            "a": sides[0].name,
            "b": sides[1].name,
            "identical": forth.identical,
            "special_roles": _special_roles(sides[0].vocab, sides[1].vocab),
            "only_in_a": _examples(sides[0].vocab, back),
            "only_in_b": _examples(sides[1].vocab, forth),
        },
        figures=_shared(forth, back),
        sections={
            "a": _traits(sides[0]),
            "b": _traits(sides[1]),
            "texts": Report("texts", sections=by_text),
            "metrics": measure_tokenizers((a, b), chosen, parallel=parallel, words=words, terms=terms),
        },
    )


def _side(checkpoint: Checkpoint) -> _Side:
    vocab = vocab_of(checkpoint)
    engine = load_tokenizer(checkpoint.tokenizer, f"the tokenizer of {checkpoint.source}")
    return _Side(checkpoint.source, vocab, engine)


def _shared(forth: Alignment, back: Alignment) -> dict[str, Figure]:
    """Return counts of tokens by alignment; each direction has its own shadowed and unmatched tokens."""
    ours, theirs = forth.counts(), back.counts()
    return {
        "shared_by_bytes": Figure(ours["same_bytes"], "tokens", note="of b that a has too"),
        "shared_by_role": Figure(ours["same_role"], "tokens", note="special tokens of one role"),
        "only_in_b": Figure(ours["new"], "tokens", note="new to a"),
        "only_in_a": Figure(theirs["new"], "tokens", note="new to b"),
        "silent_in_b": Figure(
            ours["silent"], "tokens", note="no counterpart in a, and text never yields them"
        ),
        "silent_in_a": Figure(
            theirs["silent"], "tokens", note="no counterpart in b, and text never yields them"
        ),
    }


def _examples(vocab: Vocab, alignment: Alignment) -> list[str]:
    """Return some tokens that the other side lacks, spread over the ids."""
    ids = alignment.new_ids.tolist()
    step = max(1, len(ids) // EXAMPLES)
    return [escape(vocab.bytes_of(i)) for i in ids[step // 2 :: step][:EXAMPLES]]


def _special_roles(a: Vocab, b: Vocab) -> dict[str, list[str | None]]:
    """Return role → its token in a and in b, for the roles that one of them knows."""
    out = {role: [_named(a, role), _named(b, role)] for role in ROLE_ORDER}
    return {role: texts for role, texts in out.items() if texts != [None, None]}


def _named(vocab: Vocab, role: str) -> str | None:
    token_id = vocab.role_id(role)
    return None if token_id is None else vocab.texts[vocab.position[token_id]]


def _traits(side: _Side) -> Report:
    lost = lost_strings(side.engine)
    reach = unreachable(side.engine, side.vocab)
    return Report(
        kind="tokenizer",
        facts={
            "source": side.name,
            "numbers": digit_scheme(side.engine, side.vocab),
            "start_token_added": side.vocab.adds_bos,
            "lost_strings": [escape(text) for text in lost],
            "unreachable_examples": [escape(side.vocab.bytes_of(i)) for i in reach.unreachable[:EXAMPLES]],
        },
        figures={
            "tokens": Figure(len(side.vocab), "tokens"),
            "rows": Figure(side.vocab.rows, "rows"),
            "special_tokens": Figure(int((side.vocab.kinds == Kind.SPECIAL).sum()), "tokens"),
            "lost": Figure(len(lost), "strings", note=f"of {len(NASTY_STRINGS)} difficult ones"),
            "unreachable": Figure(len(reach.unreachable), "tokens", note=f"of {reach.tried:,} tried"),
            "fragments": Figure(reach.fragments, "tokens", note="no valid UTF-8 by themselves: not tried"),
        },
    )


def _text_report(sides: tuple[_Side, _Side], text: Text) -> Report:
    figures: dict[str, Figure] = {}
    for prefix, side in zip("ab", sides, strict=True):
        tokens, words = count_tokens(side.engine, text)
        figures[f"{prefix}_bytes_per_token"] = Figure(text.bytes / max(tokens, 1), "bytes/token")
        figures[f"{prefix}_tokens_per_word"] = Figure(tokens / max(words, 1), "tokens/word")
        figures[f"{prefix}_tokens"] = Figure(tokens, "tokens")
    ratio = figures["b_tokens"].value / max(figures["a_tokens"].value, 1)
    figures["ratio"] = Figure(ratio, "x", note="tokens of b over tokens of a")
    return Report("text", {"bytes": text.bytes, "documents": len(text.documents)}, figures)
