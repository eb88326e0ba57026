"""Checks of files: those that the manifest lists, and those that another tokenizer left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokswap.checkpoint import read_json
from tokswap.commit_files import hash_file
from tokswap.commit_stage import MANIFEST_NAME
from tokswap.errors import TokswapError
from tokswap.sentencepiece_files import can_read_pieces, pieces_of
from tokswap.verification.check import Finding, failed, first_of, not_checked, passed
from tokswap.verification.subject import Subject
from tokswap.vocab import SPACE_MARK

PLAIN_NAME = re.compile(r"(?:[^/\\:\x00.][^/\\:\x00]*/)*[^/\\:\x00.][^/\\:\x00]*")
STALE_SHARE = 0.01
"""Share of an older tokenizer file that may differ from tokenizer.json; beyond it is another tokenizer's."""


def manifest(subject: Subject) -> Finding:
    """Every file has the sha256 that the manifest gives it, and none is missing or has come since."""
    listed = subject.manifest.get("files")
    if not isinstance(listed, Mapping):
        return not_checked(f"there is no {MANIFEST_NAME}: another tool wrote this folder")
    folder, wrong = subject.checkpoint.folder, list[str]()
    for name, facts in listed.items():
        path = folder / str(name)
        if not PLAIN_NAME.fullmatch(str(name)) or not path.is_file():
            wrong.append(f"{name} is missing")
        elif not isinstance(facts, Mapping) or hash_file(path) != facts.get("sha256"):
            wrong.append(f"{name} has changed")
    weights = {p.name for p in folder.glob("*.safetensors")} - set(map(str, listed))
    wrong += [f"{name} isn't listed" for name in sorted(weights)]
    return failed("; ".join(wrong)) if wrong else passed(f"{len(listed)} files are as they were written")


def stale_files(subject: Subject) -> Finding:
    """No file of another tokenizer lies beside tokenizer.json: slow tokenizers and converters would read it."""
    folder, wrong, seen = subject.checkpoint.folder, list[str](), 0
    for name in (
        "vocab.json",
        "added_tokens.json",
        "vocab.txt",
        "tokenizer.model",
        "special_tokens_map.json",
    ):
        if not (folder / name).is_file() or (name == "tokenizer.model" and not can_read_pieces()):
            continue
        seen += 1
        try:
            pairs = list(_pairs(folder / name))
        except TokswapError as error:
            wrong.append(error.what)
            continue
        differ = [text for text, token_id in pairs if not _agrees(subject, text, token_id)]
        if len(differ) > STALE_SHARE * len(pairs):
            wrong.append(
                f"{name} is another tokenizer's: {len(differ):,} of its {len(pairs):,} entries differ"
            )
    if wrong:
        return failed("; ".join(wrong))
    return passed(
        f"{seen} older tokenizer files agree with tokenizer.json" if seen else "no older tokenizer files"
    )


def weights_open(folder: Path, error: TokswapError) -> Finding:
    """Return the finding for a folder that can't be opened at all."""
    return failed(f"{error.what.replace(str(folder), folder.name)} ({error.hint})")


def merges(subject: Subject) -> Finding:
    """Every merge joins two tokens into a token: one that doesn't makes the tokenizer fail to load."""
    model: Mapping[str, Any] = subject.checkpoint.tokenizer.get("model") or {}
    vocab, listed = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, Mapping) or not isinstance(listed, list):
        return not_checked("the tokenizer has no merges")
    pairs = [entry.split(" ", 1) if isinstance(entry, str) else entry for entry in listed]
    prefix = str(model.get("continuing_subword_prefix") or "")

    def joins(pair: Any) -> bool:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(p, str) for p in pair):
            return False
        return {pair[0], pair[1], pair[0] + pair[1].removeprefix(prefix)} <= vocab.keys()

    bad = [pair for pair in pairs if not joins(pair)]
    if bad:
        shown = [repr(" ".join(map(str, p)) if isinstance(p, list) else p) for p in bad]
        return failed(f"{len(bad):,} merges name tokens that aren't there: {first_of(shown)}")
    return passed(f"{len(pairs):,} merges, all between tokens")


def _agrees(subject: Subject, text: str, token_id: int | None) -> bool:
    vocab = subject.vocab
    if token_id is None:
        return text in vocab.id_of_text
    at = vocab.position.get(token_id)
    if at is None:
        return False
    return vocab.texts[at] == text or vocab.texts[at].replace(SPACE_MARK, " ") == text.replace(
        SPACE_MARK, " "
    )


def _pairs(path: Path) -> Iterator[tuple[str, int | None]]:
    """Yield the (token, id) that an older tokenizer file declares; the id is None where it gives a name only."""
    if path.name == "vocab.txt":
        yield from (
            (line, i)
            for i, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines())
        )
    elif path.name == "tokenizer.model":
        yield from ((text, i) for i, text in enumerate(pieces_of(path)))
    elif path.name == "special_tokens_map.json":
        yield from ((text, None) for text in _names(list(read_json(path).values())))
    else:
        yield from ((text, i) for text, i in read_json(path).items() if isinstance(i, int))


def _names(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, list):
            yield from _names(value)
        else:
            text = value.get("content") if isinstance(value, Mapping) else value
            if isinstance(text, str):
                yield text
