"""What an output was made from, as hashes: so that a base given later is known to be the one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tokswap.checkpoint import Checkpoint, read_json
from tokswap.commit_files import hash_span
from tokswap.commit_stage import MANIFEST_NAME

TRAINED_SINCE = "trained_since"
"""Key of a healed or restored folder's manifest: its tensors that were trained, and differ from the base's."""


def manifest_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return a folder's tokswap.json, {} where another tool wrote it; raises TokswapError for a broken one."""
    path = checkpoint.folder / MANIFEST_NAME
    return read_json(path) if path.is_file() else {}


def row_tensors(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the names of all stored tensors that have a row, or a number, per token, in a fixed order."""
    roles = checkpoint.roles
    found = (roles.input, roles.output, roles.bias, *roles.per_layer, *roles.copies)
    return tuple(dict.fromkeys(name for name in found if name))


def input_hashes(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the sha256 of the tokenizer (as data) and of every stored tensor with token rows, by its name."""
    text = json.dumps(checkpoint.tokenizer, sort_keys=True, ensure_ascii=False)
    tables = row_tensors(checkpoint) if checkpoint.tensors else ()
    return {
        "tokenizer": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "tables": {name: tensor_hash(checkpoint, name) for name in tables},
    }


def tensor_hash(checkpoint: Checkpoint, name: str) -> str:
    """Return the sha256 of a stored tensor's bytes."""
    info = checkpoint.tensors[name]
    with (checkpoint.folder / info.shard).open("rb", buffering=0) as file:
        return hash_span(file, info.start, info.end, lambda _: None)


def differing(given: Mapping[str, Any], noted: object) -> list[str]:
    """Return what of an input's hashes differs from those noted in a manifest; nothing where none were noted."""
    if not isinstance(noted, Mapping):
        return []
    tables, before = given["tables"], noted.get("tables")
    out = ["its tokenizer"] if given["tokenizer"] != noted.get("tokenizer") else []
    if isinstance(before, Mapping):
        out += [
            str(name) for name in sorted(set(tables) | set(before)) if tables.get(name) != before.get(name)
        ]
    return out
