"""What a base scored and wrote, kept in files: many models that come from one base are each held against it.

The base's part is the same every time, and with a large vocabulary it is most of the work.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap import __version__
from tokswap.evaluation.arm import Tokenized
from tokswap.evaluation.probe import Written
from tokswap.evaluation.score import Scored
from tokswap.evaluation.spans import Window
from tokswap.whole_file import write_whole

COLUMNS = ("nll", "new_mass", "is_new", "top", "greedy_new")
"""The arrays of a Scored, in the order in which a file has them."""


@dataclass(frozen=True)
class Kept:
    """A folder of results of one model as it was run; `model` says all that decides what it scores and writes."""

    folder: Path
    model: Sequence[str]

    def scores(
        self,
        documents: Sequence[Tokenized],
        windows: Sequence[Sequence[Window]],
        compute: Callable[[], list[Scored]],
    ) -> list[Scored]:
        """Return the score of each document, from the folder or computed and put there. Raises OSError."""
        what = [[d.ids.tolist(), d.spans.ends.tolist()] for d in documents]
        file = self._file("scores.npz", [what, [[vars(w) for w in its] for its in windows]])
        found = _read_scores(file, documents)
        if found is None:
            found = compute()
            _store(file, _as_arrays(found))
        return found

    def written(self, prompts: Sequence[str], compute: Callable[[], Written]) -> Written:
        """Return what the model writes on prompts, from the folder or computed and put there. Raises OSError."""
        file = self._file("written.json", list(prompts))
        found = _read_written(file, prompts)
        if found is None:
            found = compute()
            _store(file, json.dumps({"ids": found.ids, "texts": found.texts}).encode())
        return found

    def _file(self, ending: str, inputs: Any) -> Path:
        text = json.dumps([__version__, list(self.model), ending, inputs])
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}-{ending}"


def _read_scores(file: Path, documents: Sequence[Tokenized]) -> list[Scored] | None:
    """Return what a file holds; None for one that is not there, damaged, or of other documents."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            tables = [arrays[f"arr_{i}"] for i in range(len(documents))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fit = all(t.shape == (len(COLUMNS), len(d.ids)) for t, d in zip(tables, documents, strict=True))
    return [_scored(d, table) for d, table in zip(documents, tables, strict=True)] if fit else None


def _scored(document: Tokenized, table: NDArray[np.float64]) -> Scored:
    nll, mass, is_new, top, greedy = table
    return Scored(document.spans, nll, mass, is_new > 0, top > 0, greedy > 0)


def _as_arrays(scored: Sequence[Scored]) -> bytes:
    tables = [np.stack([getattr(one, name).astype(np.float64) for name in COLUMNS]) for one in scored]
    buffer = io.BytesIO()
    np.savez(buffer, *tables)
    return buffer.getvalue()


def _read_written(file: Path, prompts: Sequence[str]) -> Written | None:
    try:
        content = json.loads(file.read_bytes())
        return Written(tuple(prompts), tuple(map(list, content["ids"])), tuple(content["texts"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content)
