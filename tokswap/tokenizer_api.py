"""The library's front door for tokenizers and texts, beside `tokswap.api`: names or paths in, a `Report` out.

compare("gemma3", "smollm2")
infer_mixture("qwen", {"en": "texts/en/", "zh": "texts/zh/"})
train_supertokens(["texts/en/"], vocab_size=16000, out="tokenizer.json")
extend_tokenizer("smollm2", ["texts/medicine/"], add=2000, out="longer/tokenizer.json")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING

from tokswap.api import Progress, Source, texts_of

if TYPE_CHECKING:
    from tokswap.report import Report


def compare(
    a: Source,
    b: Source,
    *more: Source,
    texts: Sequence[Source] | None = None,
    parallel: str | None = None,
    words: Mapping[str, Source] | None = None,
    terms: Mapping[str, Source] | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Compare two tokenizers: what they share, how they cut texts and numbers, what they can't represent.

    With `more` of them the report has the figures on texts alone. `texts` as for `evaluate`; `parallel` names the one
    that the others are translations of. `words` are word lists by the names of their texts, files of a word a line or
    Hunspell's .dic; `terms` files of a term a line, by the names of their domains. Raises TokswapError for tokenizers,
    texts and lists that can't be used.
    """
    from tokswap.comparison import compare as compare_checkpoints
    from tokswap.sources import open_source
    from tokswap.tokenizer_metrics import measure_tokenizers, require_text
    from tokswap.word_files import read_terms, read_word_list

    chosen = texts_of(texts)
    for name in (parallel, *(words or {})):
        require_text(chosen, name)  # before tokenizers are fetched and read
    lists = {name: read_word_list(Path(path).expanduser()) for name, path in (words or {}).items()}
    domains = {name: read_terms(Path(path).expanduser()) for name, path in (terms or {}).items()}
    names = [fspath(name) for name in (a, b, *more)]
    opened = [open_source(name, only_tokenizer=True, on_progress=on_progress) for name in names]
    if more:
        return measure_tokenizers(opened, chosen, parallel=parallel, words=lists, terms=domains)
    return compare_checkpoints(opened[0], opened[1], chosen, parallel=parallel, words=lists, terms=domains)


def infer_mixture(
    tokenizer: Source,
    categories: Mapping[str, Source | Sequence[Source]],
    *,
    merges: int | None = None,
    skip_merges: int | None = None,
    field: str = "text",
    gap: float | None = None,
    time_limit: float | None = None,
    processes: int | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Infer the shares of `categories`, names with their files, folders or globs, in a BPE tokenizer's training text.

    `merges` bounds how many merges are looked at (None: 30,000, or all there are); `skip_merges` before them are
    replayed and not explained (None: those that the tokenizer took over from a known one). `field` names the text
    in records of .jsonl and .parquet; `processes` count (None: one a core). The linear program is solved to a proved
    relative `gap` (None: 0.01) or for `time_limit` minutes (None: as long as it takes); a warning gives the gap where
    that is larger. Raises TokswapError for a tokenizer without merges, and for categories and texts that can't be
    used. Needs the extra `mixture`.
    """
    from tokswap.mixture.needs import require_mixture

    require_mixture()
    from tokswap.mixture.run import infer_from_files

    return infer_from_files(
        tokenizer,
        categories,
        merges=merges,
        skip_merges=skip_merges,
        field=field,
        gap=gap,
        time_limit=time_limit,
        processes=processes,
        on_progress=on_progress,
    )


def train_supertokens(
    texts: Sequence[Source],
    *,
    out: Source,
    vocab_size: int,
    style: str = "superbpe",
    transition: int | None = None,
    max_words: int = 4,
    digits: int = 3,
    base: Source | None = None,
    held_out: Sequence[Source] | None = None,
    field: str = "text",
    most_bytes: int = 100_000_000,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Train a tokenizer with tokens longer than words on `texts`, write it to `out`, and return what it gains.

    `out` is a tokenizer.json. `texts` are files, folders or patterns, read as they stream; `most_bytes` bytes of them
    are held for what crosses words. The `style` is superbpe or chunks; in superbpe words may be joined from token
    `transition` on (None: half of `vocab_size`), up to `max_words` of them. `held_out` texts are measured, None
    standing for those that come with tokswap, beside ordinary BPE of the same size and `base`. Raises TokswapError
    for texts and sizes that can't be used; `out` is then as it was.
    """
    from tokswap.corpora import open_corpora
    from tokswap.sources import open_source
    from tokswap.supertokens.superbpe import Settings
    from tokswap.supertokens.train import train_tokenizer

    joined = vocab_size // 2 if style == "superbpe" else vocab_size
    settings = Settings(vocab_size, joined if transition is None else transition, max_words, digits)
    opened = None if base is None else open_source(fspath(base), only_tokenizer=True, on_progress=on_progress)
    return train_tokenizer(
        open_corpora([fspath(text) for text in texts], field),
        settings,
        Path(out).expanduser(),
        style=style,
        held_out=texts_of(held_out),
        base=opened,
        most_bytes=most_bytes,
        overwrite=overwrite,
        on_progress=on_progress,
    )


def extend_tokenizer(
    base: Source,
    texts: Sequence[Source],
    *,
    out: Source,
    add: int,
    max_words: int = 1,
    held_out: Sequence[Source] | None = None,
    field: str = "text",
    most_bytes: int = 100_000_000,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Add up to `add` tokens to the BPE tokenizer of `base` that `texts` gain most from, and write it to `out`.

    Old ids stay, and no text takes more tokens than before. `max_words` a token; `texts`, `held_out`, `field` and
    `most_bytes` as for `train_supertokens`. Raises TokswapError for what can't be used; `out` is then as it was.
    """
    from tokswap.corpora import open_corpora
    from tokswap.sources import open_source
    from tokswap.supertokens.extending import extend_tokenizer as extend

    opened = open_source(fspath(base), only_tokenizer=True, on_progress=on_progress)
    return extend(
        opened,
        open_corpora([fspath(text) for text in texts], field),
        add,
        Path(out).expanduser(),
        max_words=max_words,
        held_out=texts_of(held_out),
        most_bytes=most_bytes,
        overwrite=overwrite,
        on_progress=on_progress,
    )
