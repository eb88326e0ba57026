"""Where a trained tokenizer is written, and the text that it learns from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from tokswap.corpora import Corpus
from tokswap.errors import TokswapError
from tokswap.graft import as_json
from tokswap.whole_file import write_whole

GOLDEN = (5**0.5 - 1) / 2


def check_files(out: Path, *, overwrite: bool) -> None:
    """Raise TokswapError for a tokenizer.json that can't be written, before the work is done."""
    if not out.absolute().parent.is_dir():
        raise TokswapError(
            f"the folder {out.absolute().parent} doesn't exist", "create it, or give another --out"
        )
    if out.name == _config_of(out).name or (out.absolute().parent / "config.json").exists():
        raise TokswapError(
            f"{out} is among the files of a model, or named like the configuration that is written beside it",
            "give a --out in a folder of its own, such as --out longer/tokenizer.json",
        )
    if not os.access(out.absolute().parent, os.W_OK):
        raise TokswapError(f"nothing can be written in {out.absolute().parent}", "give another --out")
    if out.is_dir():
        raise TokswapError(f"{out} is a folder", "give a file, such as --out tokenizer.json")
    for path in (out, _config_of(out)):
        # Another tokenizer's configuration is never replaced: without --out there it isn't this one's.
        if path.exists() and not (overwrite and out.exists()):
            raise TokswapError(
                f"{path} is there already",
                "--overwrite replaces it"
                if out.exists()
                else "it is another tokenizer's: give a --out in a folder of its own",
            )


def write_files(out: Path, tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Write tokenizer.json, and tokenizer_config.json beside it: who moves a model onto it learns the roles there."""
    try:
        write_whole(_config_of(out), as_json(config))
        write_whole(out, as_json(tokenizer))
    except OSError as error:
        raise TokswapError(
            f"{out} can't be written: {error.strerror or error}", "give another --out"
        ) from error


def blocks_of(corpora: Sequence[Corpus]) -> Iterator[str]:
    """Yield the text of all corpora, block by block."""
    return (block for corpus in corpora for block in corpus.blocks())


def thinned(blocks: Iterable[str], most_bytes: int) -> Iterator[str]:
    """Yield blocks of at most `most_bytes` bytes in all, evenly spread over the text; the first is always among them.

    How much text there is shows only when all of it was read: the stored size says nothing of packed files and of
    records. So as much is held as may be, and the blocks let go are those i whose i φ, φ the golden ratio, has the
    largest fraction: what is left is evenly spread whatever that fraction has come to (the three gap theorem).
    """
    held: list[tuple[float, int, str]] = []  # a heap that has the largest fraction on top
    size = 0
    for i, block in enumerate(blocks):
        heappush(held, (-(i * GOLDEN % 1), i, block))
        size += len(block.encode())
        while size > most_bytes and len(held) > 1:
            size -= len(heappop(held)[2].encode())
    yield from (block for _, _, block in sorted(held, key=lambda entry: entry[1]))


def _config_of(out: Path) -> Path:
    return out.with_name("tokenizer_config.json")
