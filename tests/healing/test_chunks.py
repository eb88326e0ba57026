from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokswap.evaluation.spans import Spans
from tokswap.healing.chunks import chunk_of_tokens, common_ends, last_tokens

LENGTH = 40


@st.composite
def spans(draw: st.DrawFn) -> Spans:
    ends = sorted(draw(st.lists(st.integers(0, LENGTH), max_size=30)))
    return Spans(np.array([*ends, LENGTH]), LENGTH)


def slow_chunks(one: list[int], other: list[int]) -> tuple[list[int], list[int], list[int]]:
    """The ends in both, and the chunk of each token, by walking over the bytes."""
    ends = [byte for byte in range(1, LENGTH + 1) if byte in one and byte in other]

    def chunk(end: int) -> int:
        return next(i for i, border in enumerate(ends) if end <= border)

    return ends, [chunk(e) for e in one], [chunk(e) for e in other]


@given(spans(), spans())
def test_chunks_are_those_of_a_walk_over_the_bytes(one: Spans, other: Spans) -> None:
    ends = common_ends(one, other)
    found = ends.tolist(), *(chunk_of_tokens(its, ends).tolist() for its in (one, other))
    assert found == slow_chunks(one.ends.tolist(), other.ends.tolist())
    for its in (one, other):
        last = last_tokens(its, ends)
        assert its.ends[last].tolist() == ends.tolist()
        assert all(at + 1 == len(its.ends) or its.ends[at + 1] > its.ends[at] for at in last)


def test_both_tokenizations_of_one_text_give_the_same_chunks_to_the_same_bytes() -> None:
    one, other = Spans(np.array([2, 5, 7, 9]), 9), Spans(np.array([1, 5, 6, 9]), 9)
    ends = common_ends(one, other)
    assert ends.tolist() == [5, 9]
    assert chunk_of_tokens(one, ends).tolist() == [0, 0, 1, 1]
    assert chunk_of_tokens(other, ends).tolist() == [0, 0, 1, 1]
