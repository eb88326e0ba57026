"""The next byte after any bytes, as a model over tokens sees it: no token border in the prompt counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tokswap.bytewise.codec import ByteCodec, make_codec
from tokswap.bytewise.reader import Reader
from tokswap.errors import TokswapError
from tokswap.evaluation.sample import end_tokens

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.arm import Arm
    from tokswap.evaluation.language_model import LanguageModel

END = 256
"""The outcome after the 256 bytes: the text ends here."""

TOLERANCE = 1e-6
"""Share of the probability of the bytes so far that is given to tokens without a look whether they may follow."""

LOOKS = 1024
"""Tokens that are looked at together, the likeliest first."""


@dataclass(frozen=True)
class NextByte:
    """What follows some bytes: `probabilities` Float[257] of each byte and of the end (`END`), with the sum 1.

    `lost` is the share of probability that was on none of them, and is left out: tokens that the tokenizer would not
    write there, and control tokens.
    """

    probabilities: NDArray[np.float64]
    lost: float = 0.0


class PredictsBytes(Protocol):
    """What gives a next byte: a model, or several together."""

    def next_byte(self, prefix: bytes) -> NextByte:
        """Return what follows `prefix`."""
        ...


class ByteModel:
    """A model over tokens, asked for bytes (Phan et al. 2024, arXiv:2410.09303, section 4).

    Asked again for a prefix that is a byte longer, it reads a token or two: keys and values of what both share are
    kept.
    """

    def __init__(
        self, lm: LanguageModel, arm: Arm, codec: ByteCodec, *, tolerance: float = TOLERANCE
    ) -> None:
        self.codec = codec
        self.start_id = arm.start_id
        self.ends = sorted(i for i in end_tokens(arm) if i < lm.rows)
        self.tolerance = tolerance
        self._front = _front(arm)
        self._reader = Reader(lm, arm.start_id)
        self._longest = max(map(len, codec.keys))

    def next_byte(self, prefix: bytes) -> NextByte:
        """Return the distribution of what follows `prefix` in a text that begins with it.

        The prefix may end inside a token or a character. Raises TokswapError for bytes that begin no text.
        """
        content = self._front + prefix
        strings = self._beginnings(content)
        log_weights, after = self._reader.read(list(strings.values()))
        weights = np.exp(log_weights - log_weights.max())
        table = [
            _Candidates.at(self.codec, content[end:], its) for end, its in zip(strings, after, strict=True)
        ]
        mass = [w * its.probabilities for w, its in zip(weights, table, strict=True)]
        kept = self._canonical(list(strings.values()), table, mass)
        out = np.zeros(END + 1)
        for end, its, masses in zip(strings, table, kept, strict=True):
            out += its.by_next_byte(self.codec, len(content) - end, masses)
        covered = sum(
            float(masses.sum()) for end, masses in zip(strings, kept, strict=True) if end < len(content)
        )
        if len(content) in strings:
            here = list(strings).index(len(content))
            out[END] = weights[here] * float(np.exp(after[here][self.ends]).sum())
            covered = covered if content else float(weights[here])
        total = float(out.sum())
        return NextByte(out / total, max(0.0, 1 - total / covered))

    def _beginnings(self, content: bytes) -> dict[int, list[int]]:
        """Return the canonical tokens of each beginning after which a token may reach the end, by their bytes."""
        out: dict[int, list[int]] = {}
        for end in range(max(0, len(content) - self._longest), len(content) + 1):
            low, high = self.codec.starting_with(content[end:])
            ids = self.codec.encode(content[:end]) if low < high else None
            if ids is not None:
                out[end] = ids
        if not out:
            raise TokswapError(
                f"{content[-20:]!r} ends in bytes that no text has", "give the beginning of a text"
            )
        return out

    def _canonical(
        self, strings: Sequence[list[int]], table: Sequence[_Candidates], mass: Sequence[NDArray[np.float64]]
    ) -> list[NDArray[np.float64]]:
        """Return the masses with 0 for tokens that may not follow, the likeliest looked at first."""
        out = [its.copy() for its in mass]
        owner = np.concatenate([np.full(len(its), i) for i, its in enumerate(mass)])
        place = np.concatenate([np.arange(len(its)) for its in mass])
        flat = np.concatenate(mass)
        order = np.argsort(-flat)
        left, sound = float(flat.sum()), 0.0
        for at in range(0, len(order), LOOKS):
            if left <= self.tolerance * sound:
                break
            part = order[at : at + LOOKS]
            left -= float(flat[part].sum())
            for i in np.unique(owner[part]):
                its = place[part[owner[part] == i]]
                may = self.codec.may_follow(strings[i], table[i].low + its)
                out[i][its[~may]] = 0.0
                sound += float(out[i][its].sum())
        return out


@dataclass(frozen=True)
class _Candidates:
    """Tokens of the codec's order from `low` on, and their probabilities after one string."""

    low: int
    probabilities: NDArray[np.float64]

    @classmethod
    def at(cls, codec: ByteCodec, start: bytes, logs: NDArray[np.float32]) -> _Candidates:
        low, high = codec.starting_with(start)
        return cls(low, np.exp(logs[codec.ids[low:high]].astype(np.float64)))

    def by_next_byte(self, codec: ByteCodec, at: int, masses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum masses by the byte that the token has at a place; tokens that end before it have none."""
        keys = codec.keys[self.low : self.low + len(masses)]
        bytes_there = np.fromiter(
            (key[at] if len(key) > at else END for key in keys), np.int64, count=len(keys)
        )
        out = np.bincount(bytes_there, weights=masses, minlength=END + 1).astype(np.float64)
        out[END] = 0.0
        return out


def byte_model(
    checkpoint: Checkpoint, *, device: str = "auto", dtype: str = "auto", tolerance: float = TOLERANCE
) -> ByteModel:
    """Load a checkpoint's model to be asked for bytes.

    Raises TokswapError for models that can't be loaded and for tokenizers that do not give every text back.
    """
    from tokswap.evaluation.arm import open_arm
    from tokswap.evaluation.language_model import load_language_model

    arm = open_arm(checkpoint)
    codec = make_codec(checkpoint.tokenizer, arm.vocab, f"the tokenizer of {arm.source}")
    lm = load_language_model(arm.folder, known_ids=arm.vocab.ids, device=device, dtype=dtype)
    return ByteModel(lm, arm, codec, tolerance=tolerance)


def _front(arm: Arm) -> bytes:
    """Return what the tokenizer puts before a text: a space (SentencePiece) or nothing."""
    ids = arm.tokenize(_WORD).ids.tolist()
    return b" " if b"".join(map(arm.vocab.bytes_of, ids)) == b" " + _WORD.encode() else b""


_WORD = "a"
