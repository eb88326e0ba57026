"""Known tokenizers that another one extends: leading merges in common, told by fingerprints and without a network.

A tokenizer that was started from another's merges (Llama 3 and Qwen from cl100k) says by them what the other was
trained on. A fingerprint is a running hash over the bytes of left and right part, kept after every `step` merges.
Merges that yield two digits or more are left out of it: Qwen has cl100k's merges but for those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any

from tokswap.data_files import data_file

BytePair = tuple[bytes, bytes]

STEP = 1000  # merges between two fingerprints: a shared prefix is found to this precision, or in full
HASH_BYTES = 6  # 2000 comparisons of 48 bits: one false match in 10^11 tokenizers
_NUMBER = re.compile(rb"[0-9]{2}")


@dataclass(frozen=True)
class KnownMerges:
    """A known tokenizer: how many merges it has, and without numbers; hashes after every `step` of those and all."""

    name: str
    merges: int
    counted: int
    hashes: tuple[str, ...]
    step: int = STEP

    @property
    def checkpoints(self) -> list[int]:
        """The numbers of merges (without numbers) after which the hashes were taken."""
        return [*range(self.step, self.counted, self.step), self.counted]


@dataclass(frozen=True)
class Shared:
    """The first `merges` merges are those of a known tokenizer (`whole`: all that it has), `own` come after them."""

    name: str
    merges: int
    own: int
    whole: bool

    @property
    def goes_on(self) -> bool:
        """Does the list go on from the known one? A last partial step without a fingerprint doesn't count."""
        return self.own > 0 if self.whole else self.own >= STEP


def fingerprint(name: str, merges: Sequence[BytePair], step: int = STEP) -> KnownMerges:
    """Return what is kept of a list of merges to recognise it, or its beginning, in another."""
    counted = sum(not _is_number(pair) for pair in merges)
    known = KnownMerges(name, len(merges), counted, (), step)
    hashes = _running_hashes(merges, set(known.checkpoints))
    return KnownMerges(name, len(merges), counted, tuple(text for _, _, text in hashes), step)


def longest_shared(merges: Sequence[BytePair], known: Sequence[KnownMerges]) -> Shared | None:
    """Return the known tokenizer with which most leading merges are shared, None where none are.

    One that the list goes on from is preferred to one that has all of it: Llama 3's list is its own in full,
    and what it tells of its data begins where cl100k's ends.
    """
    wanted = {count for one in known for count in one.checkpoints}
    own = {count: (at, text) for count, at, text in _running_hashes(merges, wanted)}
    found = [shared for one in known if (shared := _shared(one, own, merges))]
    return max(found, key=lambda shared: (shared.goes_on, shared.merges), default=None)


def _shared(
    one: KnownMerges, own: Mapping[int, tuple[int, str]], merges: Sequence[BytePair]
) -> Shared | None:
    at = reached = 0
    for count, text in zip(one.checkpoints, one.hashes, strict=True):
        if count not in own or own[count][1] != text:
            break
        reached, at = count, own[count][0]
    if not at:
        return None
    while at < min(len(merges), one.merges) and _is_number(merges[at]):
        at += 1
    return Shared(one.name, at, len(merges) - at, whole=reached == one.counted)


def _running_hashes(merges: Sequence[BytePair], wanted: set[int]) -> Iterator[tuple[int, int, str]]:
    """Yield (merges without numbers, merges, hash of them) wherever the first is wanted."""
    running = blake2b(digest_size=HASH_BYTES)
    count = 0
    for at, pair in enumerate(merges, start=1):
        if _is_number(pair):
            continue
        left, right = pair
        running.update(b"%d %d " % (len(left), len(right)) + left + right)
        count += 1
        if count in wanted:
            yield count, at, running.hexdigest()


def _is_number(pair: BytePair) -> bool:
    return _NUMBER.search(pair[0] + pair[1]) is not None


@cache
def read_known() -> tuple[KnownMerges, ...]:
    """Return the known tokenizers that come with tokswap (data/merge_prefixes.json)."""
    data: dict[str, Any] = json.loads(data_file("merge_prefixes.json").read_text(encoding="utf-8"))
    return tuple(
        KnownMerges(row["name"], row["merges"], row["counted"], tuple(row["hashes"].split()), data["step"])
        for row in data["tokenizers"]
    )
