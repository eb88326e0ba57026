from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.evaluation.arm import Tokenized, open_arm
from tokswap.evaluation.spans import Spans
from tokswap.evaluation.texts import Text, load_texts
from tokswap.healing.snippets import SNIPPET_BYTES, Snippet, cut, make_corpus, ordered, text_hashes
from tokswap.verification.subject import Subject


@given(st.text(alphabet="ab \né水🙂", max_size=300), st.integers(8, 40))
def test_cuts_lose_nothing_and_none_is_too_long(document: str, size: int) -> None:
    pieces = list(cut(document, size))
    assert "".join(pieces) == document
    assert all(0 < len(piece.encode()) <= size for piece in pieces)


def with_new(count: int) -> Snippet:
    read = Tokenized(np.zeros(1, dtype=np.int64), Spans(np.array([1]), 1))
    return Snippet("x", read, read, count)


def test_a_pass_has_every_snippet_once_and_new_tokens_come_early() -> None:
    snippets = [with_new(0)] * 40 + [with_new(30)] * 10
    first = Counter[bool]()
    for seed in range(40):
        order = ordered(snippets, seed, 0)
        assert sorted(order) == list(range(50))
        first.update(i >= 40 for i in order[:10])
    # Drawn evenly, 10 of 50 would be a fifth of the first ten; weighted 31 to 1 they are most of them.
    assert first[True] > 0.6 * first.total()
    assert ordered(snippets, 1, 0) == ordered(snippets, 1, 0)
    assert ordered(snippets, 1, 0) != ordered(snippets, 1, 1) != ordered(snippets, 2, 1)


def test_a_corpus_is_read_by_both_and_parted(tied: tuple[Path, Path], text: Path) -> None:
    base, moved = (open_checkpoint(folder) for folder in tied)
    new = Subject(moved, base).alignment.new_ids
    arms = open_arm(moved), open_arm(base)
    corpus = make_corpus(load_texts([text]), *arms, new, moved.rows)
    both = [*corpus.train, *corpus.held_out]
    assert sorted("".join(s.text for s in both)) == sorted(text.read_text())
    assert not {s.text for s in corpus.train} & {s.text for s in corpus.held_out}
    for snippet in both:
        assert snippet.bytes == len(snippet.text.encode()) <= SNIPPET_BYTES
        assert snippet.student.spans.length == snippet.teacher.spans.length
        assert snippet.new == sum(int(i) in set(new.tolist()) for i in snippet.student.ids)
    assert sum(s.new for s in both) > 0
    assert corpus.seen.sum() == sum(len(s.student.ids) for s in corpus.train)


def test_snippets_shrink_to_the_positions_of_the_model(tied: tuple[Path, Path], text: Path) -> None:
    from dataclasses import replace

    base, moved = (open_checkpoint(folder) for folder in tied)
    arms = replace(open_arm(moved), max_tokens=100), open_arm(base)
    corpus = make_corpus(load_texts([text]), *arms, np.array([], dtype=np.int64), moved.rows)
    assert max(len(s.student.ids) for s in corpus.train) < 100
    with pytest.raises(tokswap.TokswapError, match="too few positions"):
        make_corpus(load_texts([text]), replace(arms[0], max_tokens=4), arms[1], np.array([0]), moved.rows)


def test_hashes_tell_texts_and_their_documents_apart() -> None:
    kinds = [("a b",), ("a", " b"), ("a", "b"), ("a b", "c")]
    found = {tuple(text_hashes({"t": Text("t", documents)}).values()) for documents in kinds}
    assert len(found) == len(kinds)
