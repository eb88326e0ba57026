"""The way back: a transplanted model under its base's tokenizer again, every row of the base bit for bit.

The body is that of the transplanted folder: where it was trained since, the training comes along. Rows, tokenizer and
configuration are the base's own bytes, so that of an untrained body nothing is left of the transplant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tokswap import __version__
from tokswap.checkpoint import INDEX_NAME, Checkpoint
from tokswap.commit import MANIFEST_NAME, write
from tokswap.errors import TokswapError
from tokswap.provenance import (
    TRAINED_SINCE,
    differing,
    input_hashes,
    manifest_of,
    row_tensors,
    tensor_hash,
)
from tokswap.report import Figure, Report
from tokswap.sources import public_name

Progress = Callable[[str, int, int], None]

TEXT_SUFFIXES = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken"})
"""Files of a base that belong to configuration or tokenizer."""
LARGEST_FILE = 256 * 1024**2
"""Bytes of one such file; the largest tokenizer.json in use has 33 million."""


def restore_checkpoint(
    moved: Checkpoint,
    base: Checkpoint,
    out: Path,
    *,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Write `moved` with the rows, tokenizer and configuration of `base` to `out`.

    Raises TokswapError where `base` is not what `moved` was made from: by the hashes in its tokswap.json, or by names
    and widths where it has none; where `moved` lacks a tensor of `base` or holds one of another shape; and for what
    `write` refuses.
    """
    noted = manifest_of(moved)
    _require_base(moved, base, noted)
    _require_body(moved, base)
    trained = [name for name in _body(base) if tensor_hash(moved, name) != tensor_hash(base, name)]
    tables = {name: base.read(name) for name in row_tensors(base)}
    manifest = write(
        moved,
        out,
        tensors=tables,
        drop=[name for name in row_tensors(moved) if name not in tables],
        files=files_of(base),
        recipe_id=_recipe_id(moved, base),
        manifest={
            "tokswap": __version__,
            "restored": public_name(moved.source),
            "base": public_name(base.source),
            "inputs": {"base": input_hashes(base)},
            TRAINED_SINCE: trained,
        },
        overwrite=overwrite,
        on_progress=None if on_progress is None else partial(on_progress, "write"),
    )
    return _report(moved, base, out, manifest)


def _report(moved: Checkpoint, base: Checkpoint, out: Path, manifest: Mapping[str, Any]) -> Report:
    trained, foreign = manifest[TRAINED_SINCE], _foreign(moved, base)
    facts = {
        "folder": moved.source,
        "base": base.source,
        "out": str(out),
        "body": "the folder's, trained since" if trained or foreign else "the base's, byte for byte",
    }
    figures = {
        "rows": Figure(base.rows, "rows", note="the base's own, bit for bit"),
        "tensors_copied_and_proved_equal": Figure(manifest["untouched"]["tensors"], "tensors"),
        "tensors_trained_since": Figure(len(trained), "tensors", note="unlike the base's; kept as they are"),
    }
    told = f"{len(foreign):,} tensors that the base lacks came along: {', '.join(foreign[:3])}"
    warnings = ((told,) * bool(foreign)) + healed_for_good(manifest_of(moved))
    return Report("restoration", facts, figures, {}, warnings)


def healed_for_good(noted: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what the way back can't undo of a folder with this manifest, if `heal` trained its body."""
    healing = noted.get("healing")
    if not isinstance(healing, Mapping) or not noted.get(TRAINED_SINCE):
        return ()
    return (
        f"healing trained the body too (rung {healing.get('rung')}, {healing.get('best_step')} steps under the other "
        "tokenizer), and that can't be undone from this folder: the base itself is untouched where it lies",
    )


def _body(checkpoint: Checkpoint) -> list[str]:
    return sorted(set(checkpoint.tensors) - set(row_tensors(checkpoint)))


def _foreign(moved: Checkpoint, base: Checkpoint) -> list[str]:
    """Return the tensors of a body that the base has no place for, such as adapters that training left."""
    return sorted(set(_body(moved)) - set(base.tensors))


def _require_body(moved: Checkpoint, base: Checkpoint) -> None:
    """Refuse a folder without a tensor of the base, or with one of another shape: the base's code couldn't load it."""
    wrong = [f"{name} is missing" for name in _body(base) if name not in moved.tensors]
    wrong += [
        f"{name} is {list(moved.tensors[name].shape)}, the base's {list(base.tensors[name].shape)}"
        for name in _body(base)
        if name in moved.tensors and moved.tensors[name].shape != base.tensors[name].shape
    ]
    if wrong:
        raise TokswapError(
            f"the body of {moved.source} is not one of {base.source}: {len(wrong):,} tensors don't fit "
            f"({'; '.join(wrong[:3])})",
            "a folder saved under other tensor names, pruned or quantised since can't be restored: give the one that "
            "was trained, saved as it was loaded",
        )


def _require_base(moved: Checkpoint, base: Checkpoint, noted: Mapping[str, Any]) -> None:
    inputs = noted.get("inputs")
    other = differing(input_hashes(base), inputs.get("base") if isinstance(inputs, Mapping) else None)
    if other:
        raise TokswapError(
            f"{base.source} is not the base that {moved.source} was made from: {', '.join(other[:3])} differ",
            f"its tokswap.json names {noted.get('base')!r}: give that one, in the same revision",
        )
    if moved.input_name != base.input_name or moved.hidden_size != base.hidden_size:
        raise TokswapError(
            f"{moved.source} ({moved.input_name}, width {moved.hidden_size}) doesn't come from {base.source} "
            f"({base.input_name}, width {base.hidden_size})",
            "give the base that it was made from",
        )


def files_of(base: Checkpoint) -> dict[str, bytes]:
    """Return the base's files but for weights and manifest, byte for byte."""
    left_out = {INDEX_NAME, MANIFEST_NAME}
    found = [
        path for path in base.folder.iterdir() if path.suffix in TEXT_SUFFIXES and path.name not in left_out
    ]
    found += base.folder.glob("*/*.jinja")  # further chat templates, as transformers 5 saves them
    files: dict[str, bytes] = {}
    for path in sorted(found):
        if path.is_file() and not path.name.startswith(".") and path.stat().st_size <= LARGEST_FILE:
            files[path.relative_to(base.folder).as_posix()] = path.read_bytes()
    return files


def _recipe_id(moved: Checkpoint, base: Checkpoint) -> str:
    text = json.dumps(["restore", moved.identity(), base.identity(), __version__])
    return hashlib.sha256(text.encode()).hexdigest()
