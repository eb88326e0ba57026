from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import byte_level, sentencepiece

from tokswap.errors import TokswapError
from tokswap.evaluation.spans import Spans, check_windows, spread, token_spans, windows
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import read_vocab

SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=80).filter(any)


def spans_of(sizes: list[int]) -> Spans:
    return Spans(np.cumsum(sizes), sum(sizes))


@given(SIZES, st.integers(2, 40), st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_every_token_is_scored_once_with_its_context(sizes: list[int], window: int, stride: int) -> None:
    if 2 * stride > window:
        window = 2 * stride
    spans = spans_of(sizes)
    found = windows(spans, window_bytes=window, stride_bytes=stride)
    scored = [i for w in found for i in range(w.start, w.stop)]
    assert scored == list(range(len(sizes)))
    for w in found:
        border = spans.last_bytes[w.start] // stride * stride
        assert all(border <= spans.last_bytes[i] < border + stride for i in range(w.start, w.stop))
        assert w.first <= w.start
        assert all(spans.starts[i] >= border - (window - stride) for i in range(w.first, w.start))
        if w.first > 0 and w.first < w.start:
            assert spans.starts[w.first - 1] < border - (window - stride)


@given(SIZES, SIZES, st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_two_tokenizations_of_the_same_bytes_have_the_same_borders(
    a: list[int], b: list[int], stride: int
) -> None:
    length = max(sum(a), sum(b))
    pair = [spans_of([*sizes, length - sum(sizes)]) for sizes in (a, b)]
    found = [windows(spans, window_bytes=2 * stride, stride_bytes=stride) for spans in pair]
    borders = [
        {int(s.last_bytes[w.start]) // stride for w in its} for s, its in zip(pair, found, strict=True)
    ]
    # A long token may leave one arm a border without a token that ends there; each border is the same grid.
    assert all(max(its) <= (length - 1) // stride for its in borders)
    assert max(borders[0]) == max(borders[1]) == (length - 1) // stride


@given(SIZES, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_spreading_keeps_the_sum(sizes: list[int], random: object) -> None:
    spans = spans_of(sizes)
    values = np.random.default_rng(len(sizes)).random(len(sizes))
    out = spread(values, spans)
    assert out.shape == (spans.length,)
    np.testing.assert_allclose(out.sum(), values.sum())


def test_spreading_is_even_over_a_tokens_bytes() -> None:
    out = spread(np.array([6.0, 1.0, 5.0, 2.0]), Spans(np.array([3, 4, 4, 6]), 6))
    assert out.tolist() == [2.0, 2.0, 2.0, 6.0, 1.0, 1.0]


def encode(tokenizer: dict[str, object], document: str) -> Spans:
    vocab = read_vocab(tokenizer, {"bos_token": "<s>"})
    encoded = load_tokenizer(tokenizer).encode(document, add_special_tokens=False)
    return token_spans(document, [vocab.bytes_of(i) for i in encoded.ids], encoded.offsets)


@given(st.text(min_size=1, max_size=40).filter(lambda t: "<s>" not in t))
@settings(max_examples=60, deadline=None)
def test_byte_level_is_exact_for_any_text(document: str) -> None:
    spans = encode(BYTE_LEVEL, document)
    assert spans.exact and spans.length == len(document.encode())


@given(st.text(min_size=1, max_size=40).filter(lambda t: "<s>" not in t and "▁" not in t))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("prefix", [True, False])
def test_a_leading_space_of_the_tokenizers_own_is_no_byte(prefix: bool, document: str) -> None:
    spans = encode(SENTENCEPIECE[prefix], document)
    assert spans.exact and spans.length == len(document.encode())
    assert (np.diff(spans.ends, prepend=0) >= 0).all()


def test_sentencepiece_borders() -> None:
    spans = encode(SENTENCEPIECE[True], "the wall é")
    assert spans.ends.tolist() == [3, 8, 9, 10, 11]  # ▁the, ▁wall, ▁, and é's two bytes


def test_offsets_decide_where_the_tokenizer_changes_the_text() -> None:
    document = "ÉAB"  # a made-up tokenizer that writes it as e, two tokens for É, then "b" for both letters
    spans = token_spans(document, [b"e", b"'", b"b"], [(0, 1), (0, 1), (1, 2)])
    assert not spans.exact
    assert spans.ends.tolist() == [2, 2, 4]  # the last token takes what is left


def test_windows_must_overlap_by_half() -> None:
    check_windows(2, 1)
    for window, stride in ((2048, 1025), (10, 0), (0, 0)):
        with pytest.raises(TokswapError, match=str(window)):
            check_windows(window, stride)


def test_spans_must_cover_the_document() -> None:
    for ends, length in (([], 0), ([1, 3], 4), ([3, 2], 2)):
        with pytest.raises(ValueError, match="cover"):
            Spans(np.array(ends, dtype=np.int64), length)


BYTE_LEVEL = byte_level()
SENTENCEPIECE = {prefix: sentencepiece(prefix) for prefix in (True, False)}
