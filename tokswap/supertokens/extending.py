"""From a base and texts to a tokenizer.json with more tokens, and a report of what each of them gains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap.corpora import Corpus
from tokswap.display.text import escape
from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.reading import Reader, reader_of
from tokswap.report import Figure, Report
from tokswap.supertokens.encoding import words_in
from tokswap.supertokens.extend import MAX_WORDS, Extended, extend_bpe
from tokswap.supertokens.files import blocks_of, check_files, thinned, write_files
from tokswap.supertokens.measure import measure
from tokswap.supertokens.train import MOST_BYTES
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import EXAMPLES, unreachable
from tokswap.vocab import read_vocab

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

CURVE_POINTS = 8
Progress = Callable[[str, int, int], None]


def extend_tokenizer(
    base: Checkpoint,
    corpora: Sequence[Corpus],
    add: int,
    out: Path,
    *,
    max_words: int = MAX_WORDS,
    held_out: Mapping[str, Text],
    most_bytes: int = MOST_BYTES,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Add tokens to the base's tokenizer, write it to `out`, and return what they save of the text and elsewhere.

    Raises TokswapError where `out` can't be written, and for tokenizers and texts that can't be used.
    """
    if add < 1:
        raise TokswapError(f"{add} tokens can't be added", "give a number above 0 with --add")
    check_files(out, overwrite=overwrite)
    reader = reader_of(base)
    found = extend_bpe(
        base.tokenizer,
        reader.vocab,
        thinned(blocks_of(corpora), most_bytes),
        add,
        max_words=max_words,
        most_bytes=most_bytes,
        on_progress=on_progress,
    )
    write_files(out, found.tokenizer, base.tokenizer_config)
    return _report(base, reader, found, add, out, held_out)


def _report(
    base: Checkpoint, reader: Reader, found: Extended, add: int, out: Path, held_out: Mapping[str, Text]
) -> Report:
    new, figures, facts = describe(base, found.tokenizer, found)
    figures = {"base_tokens": Figure(len(reader.vocab), "tokens"), **figures}
    figures["added"] = replace(figures["added"], note="ids behind all others")
    facts = {"base": base.source, "out": str(out), **facts}
    texts = measure(new, {"base": reader}, held_out)
    return Report("extension", facts, figures, {"texts": texts}, found_warnings(found, add))


def describe(
    base: Checkpoint, tokenizer: Mapping[str, Any], found: Extended
) -> tuple[Reader, dict[str, Figure], dict[str, Any]]:
    """Return a reader of the new tokenizer, figures and facts of what was learnt; `found.added` are ids of it."""
    vocab = read_vocab(tokenizer, base.tokenizer_config, base.config, base.generation_config, rows=None)
    new = Reader(load_tokenizer(tokenizer, "the new tokenizer"), vocab)
    tokens = [vocab.bytes_of(i) for i in found.added]
    lost = set(unreachable(new.engine, vocab).unreachable) & set(found.added)
    figures = {
        "added": Figure(len(found.added), "tokens"),
        "superwords": Figure(
            sum(words_in(token) > 1 for token in tokens), "tokens", note="of two words or more"
        ),
        "unreachable": Figure(len(lost), "tokens", note="of the new ones: text yields them in places only"),
        "bytes_read": Figure(found.read, "bytes"),
        "saved": Figure(int(found.saved.sum()) / max(found.tokens, 1), "share", note="of the text's tokens"),
        "suggested": Figure(found.suggested, "tokens", note="where the curve of what is saved bends most"),
    }
    return new, figures, {"curve": _curve(found), "examples": [escape(token) for token in tokens[:EXAMPLES]]}


def found_warnings(found: Extended, add: int) -> tuple[str, ...]:
    """Warn where the text yielded fewer tokens than were asked for, or none of several words."""
    few = f"the text yields {len(found.added):,} tokens only: no other pair stands in it twice"
    within = f"the new tokens stay within words, whatever --max-words says: {found.within_words}"
    return (*[few] * (len(found.added) < add), *[within] * bool(found.within_words))


def _curve(found: Extended) -> list[list[float]]:
    """Return [tokens added, share of the text's tokens saved] at some points up to all."""
    saved = np.cumsum(found.saved) / max(found.tokens, 1)
    places = {max(1, len(saved) * i // CURVE_POINTS) for i in range(1, CURVE_POINTS + 1)} | {found.suggested}
    return [[n, round(float(saved[n - 1]), 4)] for n in sorted(places) if 0 < n <= len(saved)]
