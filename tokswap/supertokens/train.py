"""From texts to a tokenizer.json with tokens longer than words, and a report of what it gains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokswap.align import align
from tokswap.corpora import Corpus
from tokswap.display.text import escape
from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.reading import Reader, open_reader, reader_of
from tokswap.report import Figure, Report
from tokswap.supertokens.chunks import train_chunks
from tokswap.supertokens.encoding import up_to, words_in
from tokswap.supertokens.files import blocks_of, check_files, thinned, write_files
from tokswap.supertokens.measure import measure
from tokswap.supertokens.superbpe import (
    END_OF_TEXT,
    Settings,
    Trained,
    train_superbpe,
    train_words,
)
from tokswap.tokenizer_traits import EXAMPLES, unreachable

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

# Of text that stage 2 holds at once, in bytes; its memory is some 25 times that.
MOST_BYTES = 100_000_000
Progress = Callable[[str, int, int], None]


def train_tokenizer(
    corpora: Sequence[Corpus],
    settings: Settings,
    out: Path,
    *,
    style: str = "superbpe",
    held_out: Mapping[str, Text],
    base: Checkpoint | None = None,
    most_bytes: int = MOST_BYTES,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Train on the corpora in one of the `STYLES`; write tokenizer.json to `out`, tokenizer_config.json beside it.

    The report says what it makes of `held_out` texts, and what ordinary BPE of the same size from the same text and
    `base` make of them. Texts larger than `most_bytes` are thinned out evenly for what crosses words. Raises
    TokswapError where `out` can't be written and for what can't be trained.
    """
    if style not in STYLES:
        raise TokswapError(f"there is no style {style!r}", f"the styles are {', '.join(STYLES)}")
    check_files(out, overwrite=overwrite)
    trained = STYLES[style](
        blocks_of(corpora), thinned(blocks_of(corpora), most_bytes), settings, most_bytes, on_progress
    )
    write_files(
        out, trained.tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}
    )
    return _report(trained, style, settings, out, held_out, base)


def _superbpe(
    words: Iterable[str], stretches: Iterable[str], settings: Settings, most_bytes: int, say: Progress | None
) -> Trained:
    return train_superbpe(words, stretches, settings, most_bytes=most_bytes, on_progress=say)


def _chunks(
    words: Iterable[str], blocks: Iterable[str], settings: Settings, most_bytes: int, say: Progress | None
) -> Trained:
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for several in up_to(blocks, most_bytes):
            yield from several
            read += sum(len(block.encode()) for block in several)
            if say is not None:
                say("encode", min(read, most_bytes), most_bytes)

    tokenizer = train_chunks(counted(), settings)
    return Trained(tokenizer, train_words(words, settings), read)


STYLES = {"superbpe": _superbpe, "chunks": _chunks}
"""How a tokenizer learns, by name: functions of the text twice, sizes, and what holds at once."""


def _report(
    trained: Trained,
    style: str,
    settings: Settings,
    out: Path,
    held_out: Mapping[str, Text],
    base: Checkpoint | None,
) -> Report:
    new, ordinary = open_reader(trained.tokenizer), open_reader(trained.ordinary)
    others = {"ordinary": ordinary}
    if base is not None:
        others["base"] = reader_of(base)
    reach = unreachable(new.engine, new.vocab)
    superwords = [token for token in new.vocab.tokens if words_in(token) > 1]
    figures = {
        "tokens": Figure(len(new.vocab), "tokens"),
        "superwords": Figure(len(superwords), "tokens", note="of two words or more"),
        "unreachable": Figure(len(reach.unreachable), "tokens", note=f"of {reach.tried:,} tried"),
        "bytes_read": Figure(trained.read, "bytes", note="by stage 2"),
        **_overlaps(new, others),
    }
    facts = {
        "out": str(out),
        "style": style,
        "transition": settings.transition if style == "superbpe" else None,
        "max_words": settings.max_words if style == "superbpe" else None,
        "base": None if base is None else base.source,
        "superwords": [escape(token) for token in superwords[:EXAMPLES]],
        "unreachable_examples": [escape(new.vocab.bytes_of(i)) for i in reach.unreachable[:EXAMPLES]],
    }
    warnings = [] if len(new.vocab) == settings.vocab_size else [_too_little(len(new.vocab))]
    if style == "chunks":
        warnings.append(_little_shared(float(figures["ordinary_overlap"].value)))
    return Report("supertokens", facts, figures, {"texts": measure(new, others, held_out)}, tuple(warnings))


def _overlaps(new: Reader, others: Mapping[str, Reader]) -> dict[str, Figure]:
    """Return the share of the new tokens that each other tokenizer has too, by their bytes."""
    out: dict[str, Figure] = {}
    for name, other in others.items():
        shared = align(other.vocab, new.vocab).counts()["same_bytes"]
        out[f"{name}_overlap"] = Figure(shared / len(new.vocab), "share", note="of the tokens")
    return out


def _little_shared(overlap: float) -> str:
    return (
        f"{100 * overlap:.0f} % of the tokens are those of ordinary BPE: chunks begin and end inside words, so a model "
        "moved onto them keeps few of its rows; the style superbpe keeps more"
    )


def _too_little(found: int) -> str:
    return f"the text yields {found:,} tokens only: no other pair stands in it twice"
