"""A decoder that reads and predicts merged tokens: how much shorter its sequences are, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokswap.checkpoint import Checkpoint, read_embeddings
from tokswap.device import choose_device, choose_dtype
from tokswap.dynamic.merging import Merges, Word, find_merges
from tokswap.dynamic.rows import RowCache, network_rows, pieces_of
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Arm, open_arm
from tokswap.evaluation.bootstrap import paired_interval
from tokswap.evaluation.texts import Text
from tokswap.healing.snippets import SNIPPET_BYTES, cut
from tokswap.hypernet.files import Hypernet
from tokswap.hypernet.sampling import Vocabulary
from tokswap.hypernet.student import START, Columns, Student
from tokswap.initialise import Embeddings, usable_ids
from tokswap.methods import SideBySide
from tokswap.report import Figure, Report

BATCH_BYTES = 16_384
"""Bytes of text that are merged together."""


@dataclass(frozen=True)
class Scored:
    """Snippets under some merges: `nats` Float[n] and `tokens` Int[n] of each."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]


class DynamicReader:
    """A frozen decoder with a cache of rows for merged tokens; `hypernet` makes them."""

    def __init__(
        self, base: Checkpoint, hypernet: Hypernet, *, device: str = "auto", dtype: str = "auto"
    ) -> None:
        from tokswap.evaluation.language_model import load_language_model

        where = choose_device(device)
        number = str(choose_dtype(dtype, where)).removeprefix("torch.")
        self.arm: Arm = open_arm(base)
        embeddings = Embeddings(*read_embeddings(base))
        rows = (
            embeddings.input if embeddings.output is None else SideBySide(embeddings.input, embeddings.output)
        )
        usable = usable_ids(embeddings, self.arm.vocab)
        hypernet.network.to(where)
        lm = load_language_model(base.folder, known_ids=self.arm.vocab.ids, device=str(where), dtype=number)
        self.student = Student(lm, self.arm, rows)
        self.size = base.rows
        self.longest = hypernet.config.hn_surface_maxlen
        ids = self.arm.vocab.ids
        self._known = np.sort(ids[(ids < self.size) & (ids != self.arm.start_id)])
        self._pieces = frozenset(usable.tolist())
        self.cache = RowCache(network_rows(hypernet, rows, usable, self.arm.vocab.byte_lengths, str(where)))

    def words(self, text: str) -> list[Word]:
        """Return a text in base ids, cut where the tokenizer's pre-tokenizer cuts."""
        encoded: Any = self.arm.encoder.encode(text, add_special_tokens=False)
        out: list[list[int]] = []
        last: int | None = None
        for token, word in zip(encoded.ids, encoded.word_ids, strict=True):
            if word is None or word != last or not out:
                out.append([])
            out[-1].append(token)
            last = word
        return [tuple(word) for word in out]

    def merges(self, texts: Sequence[str], count: int) -> Merges:
        """Return the merges of a batch of texts, of tokens whose rows are trained."""
        words = [word for text in texts for word in self.words(text) if self._pieces.issuperset(word)]
        return find_merges(words, count, size=self.size, longest=self.longest)

    def score(self, texts: Sequence[str], merges: Merges) -> Scored:
        """Return the loss of texts in merged tokens: each text's own probability, in nats, and its tokens.

        The softmax is over all base tokens and all merged ones.
        """
        import torch

        vocabulary, columns = self._vocabulary(merges)
        read = [[s for word in merges.apply(self.words(text)) for s in word] for text in texts]
        width = self.student.rows.shape[1]
        rows = self.cache.rows(merges.spellings) if merges.spellings else torch.zeros(0, width)
        with torch.no_grad():
            tables = self.student.tables(vocabulary, rows.to(self.student.lm.device))
            nats = [
                -float(self.student.read(tables, columns, np.asarray(ids, dtype=np.int64))[0].double().sum())
                for ids in read
            ]
        return Scored(np.asarray(nats), np.asarray([len(ids) for ids in read]))

    def _vocabulary(self, merges: Merges) -> tuple[Vocabulary, Columns]:
        """Return the base's tokens and the merged ones as a student's vocabulary, and the columns of all of them."""
        count = len(merges.pairs)
        place = np.full(self.size + count, -1, dtype=np.int64)
        place[self.arm.start_id] = START
        place[self._known] = 1 + np.arange(len(self._known))
        place[self.size :] = 1 + len(self._known) + np.arange(count)
        pieces = pieces_of(merges.spellings, self.arm.vocab.byte_lengths)
        new = self.size + np.arange(count)
        vocabulary = Vocabulary({}, self.arm.vocab, self._known, self._known, new, pieces)
        return vocabulary, Columns(place, np.arange(count))


def dynamic_scores(
    base: Checkpoint,
    hypernet: Hypernet,
    texts: Mapping[str, Text],
    merges: Sequence[int],
    *,
    learnt_from: Mapping[str, Text] | None = None,
    batch_bytes: int = BATCH_BYTES,
    device: str = "auto",
    dtype: str = "auto",
) -> Report:
    """Score texts with so many merges in each batch, against none: sequence reduction and bits per byte.

    Merges are those of each batch itself, as in the paper: which ones they are is then known to the reader and not
    counted among the bits. With `learnt_from` they are those of other text, and nothing is known beforehand. Raises
    TokswapError for text that is too short and models that `Student` can't read with.
    """
    if not merges or min(merges) < 1:
        raise TokswapError(
            f"{list(merges)} are no numbers of merges", "give one above 0, or more, as 100 500"
        )
    reader = DynamicReader(base, hypernet, device=device, dtype=dtype)
    snippets = [
        piece for text in texts.values() for d in text.documents for piece in cut(d, SNIPPET_BYTES) if piece
    ]
    sizes = np.asarray([len(piece.encode()) for piece in snippets], dtype=np.float64)
    if len(snippets) < 2:
        raise TokswapError("the text is too short", "give a few kilobytes")
    batches = _batches(snippets, batch_bytes)
    taught = None
    if learnt_from is not None:
        taught = reader.merges([d for text in learnt_from.values() for d in text.documents], max(merges))
    plain = _joined([reader.score(batch, Merges(reader.size, (), ())) for batch in batches])
    levels = {
        str(count): _level(_scored(reader, batches, count, taught), plain, sizes)
        for count in sorted(set(merges))
    }
    figures = {
        "bits_per_byte": Figure(float(plain.nats.sum() / sizes.sum() / math.log(2)), "bits/byte"),
        "tokens": Figure(int(plain.tokens.sum()), "tokens"),
        "rows_made": Figure(reader.cache.made, "rows"),
        "rows_from_cache": Figure(reader.cache.found, "rows"),
    }
    facts = {"base": base.source, "hypernet": Path(hypernet.source).name, "batches": len(batches)}
    return Report("dynamic_tokenization", facts, figures, levels)


def _scored(
    reader: DynamicReader, batches: Sequence[Sequence[str]], count: int, taught: Merges | None
) -> Scored:
    return _joined(
        [
            reader.score(batch, reader.merges(batch, count) if taught is None else taught.first(count))
            for batch in batches
        ]
    )


def _level(scored: Scored, plain: Scored, sizes: NDArray[np.float64]) -> Report:
    gap = paired_interval(scored.nats, plain.nats, sizes).difference
    reduction = 1 - float(scored.tokens.sum()) / float(plain.tokens.sum())
    bits = float(scored.nats.sum() / sizes.sum() / math.log(2))
    figures = {
        "sequence_reduction": Figure(reduction, "share", note="of the tokens"),
        "bits_per_byte": Figure(bits, "bits/byte"),
        "loss": Figure(gap.value, "bits/byte", gap.low, gap.high, note="above the base without merges"),
    }
    return Report("dynamic_level", {}, figures)


def _batches(snippets: Sequence[str], batch_bytes: int) -> list[list[str]]:
    size = max(1, batch_bytes // SNIPPET_BYTES)
    return [list(snippets[at : at + size]) for at in range(0, len(snippets), size)]


def _joined(parts: Sequence[Scored]) -> Scored:
    return Scored(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("nats", "tokens")))
