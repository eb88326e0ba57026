"""BPE training by the book: count all pairs, join the best everywhere, and begin again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

Merge = tuple[bytes, bytes]


def joined(stretch: Sequence[bytes], pair: Merge) -> list[bytes]:
    out: list[bytes] = []
    at = 0
    while at < len(stretch):
        both = at + 1 < len(stretch) and (stretch[at], stretch[at + 1]) == pair
        out.append(stretch[at] + stretch[at + 1] if both else stretch[at])
        at += 2 if both else 1
    return out


def train(
    stretches: Sequence[Sequence[bytes]],
    tokens: Sequence[bytes],
    size: int,
    allowed: Callable[[bytes, bytes], bool],
    least: int = 2,
) -> list[Merge]:
    """Return merges until there are `size` tokens; of equally frequent pairs the one of the lowest ids."""
    ids = {token: i for i, token in enumerate(tokens)}
    words = [list(stretch) for stretch in stretches]
    merges: list[Merge] = []
    while len(ids) < size:
        counts = Counter(pair for word in words for pair in pairwise(word) if allowed(*pair))
        best = max(counts, key=lambda p: (counts[p], -ids[p[0]], -ids[p[1]]), default=None)
        if best is None or counts[best] < least:
            break
        merges.append(best)
        ids.setdefault(best[0] + best[1], len(ids))
        words = [joined(word, best) for word in words]
    return merges
