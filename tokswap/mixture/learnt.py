"""Which merges a list says were learnt, and in which order.

Trainers write one merge a token. Conversions from ranks or scores (SentencePiece, Llama 3, gpt-oss) write every
way to cut a token into two others. Which cut was learnt is found by encoding the token's text with the tokens
learnt before it: exactly two symbols must be left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tokswap.rank_files import parts_below
from tokswap.vocab import SPACE_MARK

Pair = tuple[str, str]

MOST_CUTS = 1.05  # merges a token in a trainer's list, which has two only where two merges spell one text
SHORTEST_BLOCK = 4  # no corpus has runs of, say, 2, 3, 4 and 5 line breaks as merges that follow one another;
# indented code has runs of 2, 4, 8 and 3 spaces
WHITE_SPACE = frozenset((SPACE_MARK, *" \t\n\r\f\v", *"ĠĉĊč"))
"""White space as SentencePiece, plain text and byte-level BPE write it."""


@dataclass(frozen=True)
class Learnt:
    """Merges in the order they were learnt; texts of tokens that were put in by hand; what to say about both.

    `odd` are those put in by hand that aren't spelt by tokens before them; the notes don't speak of them.
    """

    pairs: tuple[Pair, ...]
    by_hand: tuple[str, ...]
    odd: tuple[str, ...]
    notes: tuple[str, ...]


def learnt_merges(pairs: Sequence[Pair], ids: Mapping[str, int], alphabet: Collection[str]) -> Learnt:
    """Return the learnt merges of a tokenizer.json's list.

    `ids` are those of all tokens, `alphabet` the symbols that words begin as.
    """
    results = {left + right: ids[left + right] for left, right in pairs}
    expanded = len(pairs) > MOST_CUTS * len(results)
    order: list[str] = list(results)
    cuts: Iterable[Sequence[str]] = pairs
    if expanded:
        # By id, not by place in the list: Mistral's runs of spaces stand last in the list and were learnt first.
        order = sorted(results, key=results.__getitem__)
        cuts = (parts_below(text, results) for text in order)
    runs = _blocks_of_runs(order)
    kept, odd = _reachable(cuts, alphabet, runs)
    notes = _notes(len(pairs), len(results), len(kept), runs, expanded)
    by_hand = (*filter(runs.__contains__, order), *odd)
    return Learnt(tuple(kept), by_hand, tuple(odd), tuple(notes))


def _reachable(
    cuts: Iterable[Sequence[str]], alphabet: Collection[str], runs: Collection[str]
) -> tuple[list[Pair], list[str]]:
    """Keep cuts into two symbols that are there by then, and name the tokens of the others."""
    there = set(alphabet)
    kept: list[Pair] = []
    odd: list[str] = []
    for parts in cuts:
        text = "".join(parts)
        if text in runs:
            continue
        if len(parts) == 2 and there.issuperset(parts):
            kept.append((parts[0], parts[1]))
            there.add(text)
        else:
            odd.append(text)
    return kept, odd


def _blocks_of_runs(order: Sequence[str]) -> frozenset[str]:
    """Return the runs of one white-space character that stand in a block, as people write them into a vocabulary.

    Each is one character longer than the one before it, or each one shorter.
    """
    found: set[str] = set()
    for sign in (1, -1):
        # Runs that get longer by one at each place have the same length less place.
        places = ((_run_of(text), len(text) - sign * at, text) for at, text in enumerate(order))
        for (character, _), block in groupby(places, key=lambda place: place[:2]):
            texts = [text for _, _, text in block]
            if character and len(texts) >= SHORTEST_BLOCK:
                found.update(texts)
    return frozenset(found)


def _run_of(text: str) -> str | None:
    return text[0] if len(set(text)) == 1 and text[0] in WHITE_SPACE else None


def _notes(merges: int, tokens: int, kept: int, runs: Collection[str], expanded: bool) -> list[str]:
    notes: list[str] = []
    if expanded:
        notes.append(
            f"{merges:,} merges are every cut of {tokens:,} tokens; {kept:,} were recovered in order"
        )
    if runs:
        notes.append(f"{len(runs):,} runs of white space were put in by hand: set aside")
    return notes
