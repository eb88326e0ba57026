"""The exact loss of each byte of a document, in the same windows in which its tokens are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tokswap.bytewise.codec import CONTEXT_TOKENS, ByteCodec
from tokswap.bytewise.covers import TOLERANCE, Start, prefix_log_probabilities
from tokswap.bytewise.tree import Tree, row_states, takes_trees, tree_states
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Tokenized
from tokswap.evaluation.spans import Window

if TYPE_CHECKING:
    from tokswap.evaluation.language_model import LanguageModel

LOOK_AHEAD = 3
"""Canonical tokens that bytes encoded by themselves must agree on with the text before the rest is believed."""


@dataclass(frozen=True)
class _Place:
    """A place where a token may begin: `ids` after the start token, up to byte `end`, and their node in the tree."""

    end: int
    ids: Sequence[int]
    node: int
    given: int | None


def score_bytes(
    lm: LanguageModel,
    codec: ByteCodec,
    documents: Sequence[Tokenized],
    windows: Sequence[Sequence[Window]],
    *,
    start_id: int,
    tolerance: float = TOLERANCE,
    on_windows: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.float64]]:
    """Return nats Float[length] of each byte of each document: -log P(byte | bytes before it in its window).

    `windows[i]` belong to `documents[i]`, as for `score_documents`. A space that the tokenizer puts before a document
    counts to its first byte. Raises TokswapError for a document that its tokens do not spell.
    """
    states = tree_states if takes_trees(lm) else row_states
    out = [np.zeros(document.spans.length) for document in documents]
    total, done = sum(map(len, windows)), 0
    for document, its, nats in zip(documents, windows, out, strict=True):
        _check(codec, document)
        for window in its:
            found = _window_nats(lm, codec, states, document.ids, window, start_id, tolerance)
            end = int(document.spans.ends[window.stop - 1])
            put = found[-(end - (int(document.spans.ends[window.start - 1]) if window.start else 0)) :]
            nats[end - len(put) : end] += put
            if len(put) < len(found):  # the space in front
                nats[0] += found[: len(found) - len(put)].sum()
            done += 1
            if on_windows is not None:
                on_windows(done, total)
    return out


def _check(codec: ByteCodec, document: Tokenized) -> None:
    if not document.spans.exact:
        raise TokswapError(
            "a text is changed by the tokenizer before it is read, so its bytes have no probability",
            "leave --exact-bytes out, or give the text as the tokenizer leaves it (NFC, no unknown characters)",
        )
    special = next((i for i in document.ids.tolist() if codec.vocab.is_special(i)), None)
    if special is not None:
        raise TokswapError(
            f"a text has the special token {codec.vocab.bytes_of(special).decode()!r}, which stands for no bytes",
            "leave --exact-bytes out, or take it out of the text",
        )


def _window_nats(
    lm: LanguageModel,
    codec: ByteCodec,
    states: Callable[..., object],
    ids: NDArray[np.int64],
    window: Window,
    start_id: int,
    tolerance: float,
) -> NDArray[np.float64]:
    """Return the nats of the bytes of a window's scored tokens."""
    path = ids[window.first : window.stop].tolist()
    ends = [0, *accumulate(len(codec.vocab.bytes_of(i)) for i in path)]
    content = codec.decode(path)
    scored_from = ends[window.start - window.first]
    tree = Tree()
    places = _places(codec, content, path, ends, scored_from, tree, start_id)
    logs = _log_probabilities(lm, codec, states, tree, places, content)
    weights = _weights(tree, logs.of_nodes)
    nodes = tree.branch(tree.add(path, tree.add([start_id])))
    least = np.full(len(content) + 1, -np.inf)
    for at, (low, high) in enumerate(pairwise(ends), 1):
        least[low + 1 : high + 1] = weights[nodes[at]]
    starts = [
        Start(p.end, p.ids, weights[p.node], low, its, p.given)
        for p, (low, its) in zip(places, logs.of_tokens, strict=True)
    ]
    log_p = prefix_log_probabilities(codec, content, starts, least, tolerance)
    return -np.diff(log_p[scored_from:])


def _places(
    codec: ByteCodec,
    content: bytes,
    path: Sequence[int],
    ends: Sequence[int],
    scored_from: int,
    tree: Tree,
    start_id: int,
) -> list[_Place]:
    """Put the canonical tokens of the text and of each of its beginnings into the tree, as far as they are needed."""
    root = tree.add([start_id])
    nodes = tree.branch(tree.add(path, root))
    at_end = dict(zip(ends, range(len(ends)), strict=True))  # of tokens without bytes the last
    out: list[_Place] = []
    for end in range(len(content)):
        if end < scored_from:
            low, high = codec.starting_with(content[end:scored_from])
            if low == high:
                continue  # no token reaches over to what is scored
        at = at_end.get(end)
        if at is not None:
            out.append(_Place(end, path[:at], nodes[at], path[at]))
        ids = _beginning(codec, content, path, ends, end)
        if ids is not None and (at is None or ids != path[:at]):
            out.append(_Place(end, ids, tree.add(ids, root), None))
    return out


def _beginning(
    codec: ByteCodec, content: bytes, path: Sequence[int], ends: Sequence[int], end: int
) -> list[int] | None:
    """Return the canonical tokens of the first `end` bytes, only the last few of them encoded anew."""
    at = int(np.searchsorted(ends, end, side="right")) - 1
    first = max(0, at - 2 * CONTEXT_TOKENS)
    found = codec.encode(content[ends[first] : end])
    if not first or (found and found[:LOOK_AHEAD] == list(path[first : first + LOOK_AHEAD])):
        return None if found is None else [*path[:first], *found]
    return codec.encode(content[:end])


@dataclass(frozen=True)
class _Logs:
    """Log-probabilities Float[N] of the nodes after those above them, and of each place (low, the tokens' there)."""

    of_nodes: NDArray[np.float64]
    of_tokens: list[tuple[int, NDArray[np.float32]]]


def _log_probabilities(
    lm: LanguageModel,
    codec: ByteCodec,
    states: Callable[..., object],
    tree: Tree,
    places: Sequence[_Place],
    content: bytes,
) -> _Logs:
    import torch

    from tokswap.evaluation.language_model import logit_slices

    below: dict[int, list[int]] = {}
    for node, above in enumerate(tree.parents):
        below.setdefault(above, []).append(node)
    by_node: dict[int, list[int]] = {}
    for i, place in enumerate(places):
        by_node.setdefault(place.node, []).append(i)
    of_nodes = np.zeros(len(tree))
    of_tokens: list[tuple[int, NDArray[np.float32]]] = [(0, np.zeros(0, dtype=np.float32))] * len(places)
    order = torch.from_numpy(codec.ids)
    for part, logits in logit_slices(lm, states(lm, tree)):  # type: ignore[arg-type]
        totals = logits.logsumexp(-1)
        for row, node in enumerate(range(part.start, part.stop)):
            children = below.get(node, [])
            ids = torch.tensor([tree.ids[child] for child in children], dtype=torch.long)
            of_nodes[children] = (logits[row, ids.to(logits.device)] - totals[row]).double().cpu().numpy()
            for i in by_node.get(node, []):
                low, high = codec.starting_with(content[places[i].end : places[i].end + 1])
                chosen = logits[row, order[low:high].to(logits.device)]
                of_tokens[i] = (low, (chosen - totals[row]).exp().cpu().numpy())
    return _Logs(of_nodes, of_tokens)


def _weights(tree: Tree, logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-probability Float[N] of each node's string after the start token."""
    out = np.zeros(len(tree))
    for node, above in enumerate(tree.parents):
        out[node] = 0.0 if above < 0 else out[above] + logs[node]
    return out
