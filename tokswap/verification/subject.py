"""What the checks look at: a folder, the base it came from where that is known, and what follows from the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.align import align, preferred_ids, silenced
from tokswap.calibration_kinds import rows_move
from tokswap.digits import out_of_use
from tokswap.errors import TokswapError
from tokswap.provenance import TRAINED_SINCE
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import Vocab, read_vocab, vocab_of

if TYPE_CHECKING:
    from tokswap.align import Alignment
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.language_model import LanguageModel

ROW_BYTES = 64 << 20
"""Rows of a table that are looked at together, in bytes."""
BODY_RUNGS = ("alm", "lm")
"""Rungs of `tokswap heal` that train shared rows and the body beside new rows."""


@dataclass(frozen=True)
class RowFacts:
    """`norms` Float64[V] of a table's rows (NaN where a row is not finite)."""

    norms: NDArray[np.float64]

    @property
    def finite(self) -> NDArray[np.bool_]:
        """Bool[V]: is every number of the row finite?"""
        return np.isfinite(self.norms)


@dataclass(frozen=True)
class Subject:
    """A folder under verification; `base` is None where it isn't at hand, and `why_no_base` says why.

    `manifest` is its tokswap.json, {} where another tool wrote it.
    """

    checkpoint: Checkpoint
    base: Checkpoint | None = None
    why_no_base: str = "no base was given"
    manifest: Mapping[str, Any] = field(default_factory=dict[str, Any])
    device: str = "auto"

    @cached_property
    def lacks_rows(self) -> str:
        """Why the embedding tables can't be looked at: they are quantised, unclear or absent; "" where they can."""
        try:
            self.checkpoint.roles  # noqa: B018 - asked for what it raises
        except TokswapError as error:
            return error.what
        return ""

    @cached_property
    def vocab(self) -> Vocab:
        """The folder's vocabulary; raises TokswapError for a missing or broken tokenizer."""
        if not self.lacks_rows:
            return vocab_of(self.checkpoint)
        files = self.checkpoint
        return read_vocab(
            files.tokenizer,
            files.tokenizer_config,
            files.config,
            files.generation_config,
            rows=files.vocab_size,
        )

    @property
    def shared_rows_moved(self) -> str:
        """Why the rows of shared tokens are not the base's, where the manifest says so, else ""."""
        calibration = self.manifest.get("calibration")
        kind = calibration.get("kind") if isinstance(calibration, Mapping) else None
        if rows_move(str(kind)):
            return "tokswap.json says that shared rows were fitted to text (fit-all)"
        healing = self.manifest.get("healing")
        rung = healing.get("rung") if isinstance(healing, Mapping) else None
        if rung in BODY_RUNGS:
            return f"tokswap.json says that shared rows were trained (healed, rung {rung})"
        return ""

    @property
    def trained_since(self) -> frozenset[str]:
        """Tensors of the body trained since the transplant, by the manifest that `heal` or `restore` wrote."""
        named = self.manifest.get(TRAINED_SINCE)
        return frozenset(map(str, named)) if isinstance(named, list) else frozenset()

    @property
    def extra_rows(self) -> int:
        """Rows of the input beyond those of the output."""
        return 0 if self.lacks_rows else self.checkpoint.extra_rows

    @cached_property
    def engine(self) -> Any:
        """The folder's `tokenizers.Tokenizer`."""
        return load_tokenizer(self.checkpoint.tokenizer, "the tokenizer")

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Bool[V]: does a token have this row?"""
        out = np.zeros(self.checkpoint.rows, dtype=np.bool_)
        out[self.vocab.ids[self.vocab.ids < len(out)]] = True
        return out

    @cached_property
    def ordinary(self) -> NDArray[np.bool_]:
        """Bool[V]: is this the row of a token that text yields? A fallback byte beside its letter is none."""
        out = np.zeros(self.checkpoint.rows, dtype=np.bool_)
        out[[i for i in preferred_ids(self.vocab).values() if i < len(out)]] = True
        return out

    @cached_property
    def alignment(self) -> Alignment:
        """The folder's ids on those of the base, with the overrides that its manifest names."""
        assert self.base is not None
        recipe = self.manifest.get("recipe")
        given = recipe.get("map") if isinstance(recipe, Mapping) else None
        overrides = {str(k): str(v).split() for k, v in given.items()} if isinstance(given, Mapping) else {}
        rows = self.checkpoint.rows
        try:
            found = align(vocab_of(self.base), self.vocab, overrides=overrides, rows=rows)
        except TokswapError:  # a manifest that names tokens which aren't there decides nothing
            found = align(vocab_of(self.base), self.vocab, rows=rows)
        if not isinstance(recipe, Mapping) or recipe.get("keep_digits") != "base":
            return found
        return silenced(found, out_of_use(self.checkpoint.tokenizer, self.vocab, found.new_ids.tolist()))

    @cached_property
    def tables(self) -> Mapping[str, RowFacts]:
        """Facts of the rows of the input and, where one is stored, the output table, by tensor name."""
        roles = self.checkpoint.roles
        return {name: row_facts(self.checkpoint, name) for name in (roles.input, roles.output) if name}

    @cached_property
    def lm(self) -> LanguageModel:
        """The folder's causal language model in fp32; raises TokswapError where it can't be run."""
        from tokswap.evaluation.language_model import load_language_model

        return load_language_model(self.checkpoint.folder, device=self.device, dtype="float32")

    def names(self, ids: NDArray[np.int64]) -> list[str]:
        """Return tokens as they may be shown: their escaped spelling, or the row's number where no token has it."""
        from tokswap.display.text import escape

        position = self.vocab.position
        return [
            repr(escape(self.vocab.texts[position[i]])) if i in position else f"row {i}" for i in ids.tolist()
        ]


def row_facts(checkpoint: Checkpoint, name: str) -> RowFacts:
    """Return the facts of a stored table's rows, read block by block."""
    info, count = checkpoint.tensors[name], checkpoint.rows
    step = max(1, ROW_BYTES * info.shape[0] // max(info.nbytes, 1))
    parts = [
        checkpoint.read_rows(name, start, min(start + step, count)).double().norm(dim=1).numpy()
        for start in range(0, count, step)
    ]
    norms = np.concatenate(parts) if parts else np.zeros(0)
    return RowFacts(np.where(np.isfinite(norms), norms, np.nan))
