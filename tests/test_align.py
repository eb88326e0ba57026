from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokswap.align import READ_ROLES, Alignment, Origin, align, preferred_ids
from tokswap.errors import TokswapError
from tokswap.vocab import Kind, Vocab, make_vocab, read_vocab

ORDINARY, BYTE, SPECIAL = Kind.ORDINARY, Kind.BYTE, Kind.SPECIAL
ROLES = ("bos", "eos", "turn_start", "turn_end", "pad", "document_end")


def vocab_of(*tokens: tuple[str, bytes, Kind], roles: Any = None, rows: int | None = None) -> Vocab:
    return make_vocab(dict(enumerate(tokens)), roles or {}, rows)


def text(*tokens: bytes) -> list[tuple[str, bytes, Kind]]:
    return [(token.decode("latin-1"), token, ORDINARY) for token in tokens]


def special(name: str) -> tuple[str, bytes, Kind]:
    return name, name.encode(), SPECIAL


@st.composite
def vocabs(draw: Any, *, distinct: bool = False) -> Vocab:
    """Any vocabulary: equal tokens, holes, ids beyond the rows, several roles a token and tokens a role."""
    kinds = st.sampled_from([ORDINARY, ORDINARY, BYTE, SPECIAL])
    entries = draw(
        st.lists(
            st.tuples(st.binary(max_size=2) | st.sampled_from([b"a", b"b", b"ab"]), kinds),
            max_size=14,
            unique_by=(lambda e: e[0]) if distinct else None,
        )
    )
    ids = draw(st.lists(st.integers(0, 20), min_size=len(entries), max_size=len(entries), unique=True))
    tokens = {i: (token.hex(), token, kind) for i, (token, kind) in zip(ids, entries, strict=True)}
    specials = [i for i, (_, _, kind) in tokens.items() if kind == SPECIAL]
    roles: dict[int, tuple[str, ...]] = dict.fromkeys(specials, ())
    for role in ROLES:
        for token_id in (
            draw(st.lists(st.sampled_from(specials), max_size=1 if distinct else 2, unique=True))
            if specials
            else []
        ):
            roles[token_id] += (role,)
    return make_vocab(tokens, roles, 21 if distinct else draw(st.none() | st.integers(0, 24)))


@settings(deadline=None, max_examples=150)
@given(vocabs(), vocabs(), st.none() | st.integers(0, 30))
def test_every_row_has_one_entry_and_the_right_kind_of_origin(
    base: Vocab, new: Vocab, rows: int | None
) -> None:
    found = align(base, new, rows=rows)
    assert found.rows == max(new.rows, rows or 0) == sum(found.counts().values())
    assert (found.origin != Origin.UNUSED).nonzero()[0].tolist() == new.ids[new.ids < found.rows].tolist()
    assert ((found.source >= 0) <= (found.origin <= Origin.SAME_ROLE) | found.identical).all()
    parts = [found.new_ids, found.copied_ids, found.silent_ids]
    assert sorted(np.concatenate(parts).tolist()) == list(range(found.rows))


@settings(deadline=None, max_examples=150)
@given(vocabs(), vocabs())
def test_a_copied_row_is_that_of_the_same_bytes_or_role(base: Vocab, new: Vocab) -> None:
    found = align(base, new)
    for new_id in found.copied_ids.tolist():
        base_id = int(found.source[new_id])
        if new_id not in new.position:
            assert found.identical and base_id == new_id
        elif found.origin[new_id] == Origin.SAME_BYTES:
            assert base.bytes_of(base_id) == new.bytes_of(new_id)
            assert base.is_special(base_id) == new.is_special(new_id)
        else:
            assert set(base.roles[base_id]) & set(new.roles[new_id])


@settings(deadline=None, max_examples=150)
@given(vocabs(), vocabs())
def test_no_base_row_goes_to_two_tokens(base: Vocab, new: Vocab) -> None:
    found = align(base, new)
    emitted = [i for i in found.copied_ids.tolist() if not set(new.roles.get(i, ())) & set(READ_ROLES)]
    assert max(Counter(found.source[emitted].tolist()).values(), default=1) == 1


@settings(deadline=None, max_examples=100)
@given(vocabs(), st.integers(0, 8))
def test_a_vocabulary_on_itself_is_the_identity(vocab: Vocab, extra: int) -> None:
    found = align(vocab, vocab, rows=vocab.rows + extra)
    assert found.identical and (found.new_ids >= vocab.rows).all()
    assert found.source[: vocab.rows].tolist() == list(range(vocab.rows))
    assert all(found.source[i] == -1 for i in range(vocab.rows, found.rows) if i not in vocab.position)


@settings(deadline=None, max_examples=100)
@given(vocabs(distinct=True), vocabs(distinct=True), st.permutations(range(21)))
def test_permuting_the_donors_ids_permutes_the_alignment(base: Vocab, new: Vocab, to: list[int]) -> None:
    tokens = {
        to[i]: (t, b, Kind(k)) for i, t, b, k in zip(new.ids, new.texts, new.tokens, new.kinds, strict=True)
    }
    moved = make_vocab(tokens, {to[i]: r for i, r in new.roles.items()}, new.rows)
    one, other = align(base, new), align(base, moved)
    used = new.ids
    assert other.source[np.array(to)[used]].tolist() == one.source[used].tolist()
    # A → A knows no roles: both names and roles are the same there.
    if not one.identical and not other.identical:
        assert other.origin[np.array(to)[used]].tolist() == one.origin[used].tolist()


def test_padded_rows_of_the_same_tokenizer_stay() -> None:
    """151,936 rows for 151,665 ids, in small."""
    vocab = vocab_of(*text(b"a", b"b"), special("<s>"), roles={2: ("bos", "eos", "pad")}, rows=8)
    found = align(vocab, vocab)
    assert found.rows == 8 and found.source.tolist() == list(range(8))
    assert found.counts()["unused"] == 5 and not len(found.silent_ids)


def test_ids_beyond_the_rows_are_never_indexed() -> None:
    base = vocab_of(*text(b"a", b"b"), special("<image>"), roles={2: ("image",)}, rows=2)
    new = vocab_of(special("<image>"), *text(b"a", b"c", b"b"), roles={0: ("image",)}, rows=3)
    assert align(base, new).source.tolist() == [-1, 0, -1]
    assert align(base, new).origin.tolist() == [Origin.SILENT, Origin.SAME_BYTES, Origin.NEW]
    assert align(new, base).source.tolist() == [1, -1]  # "b" has no row on that side


def test_tokens_beyond_the_donors_rows_get_one_in_a_larger_matrix() -> None:
    new = vocab_of(*text(b"a", b"b", b"c"), rows=1)
    found = align(vocab_of(*text(b"c")), new, rows=3)
    assert found.source.tolist() == [-1, -1, 0]
    assert found.origin.tolist() == [Origin.NEW, Origin.NEW, Origin.SAME_BYTES]


def family(kind: str, **tokens: int) -> Vocab:
    models = {
        "bytes": {"type": "BPE", "vocab": tokens, "merges": []},
        "pieces": {"type": "BPE", "vocab": tokens, "merges": [], "byte_fallback": True},
    }
    decoder = {"type": "ByteLevel"} if kind == "bytes" else {"type": "ByteFallback"}
    return read_vocab({"model": models[kind], "decoder": decoder}, {})


def test_spellings_of_the_families_meet() -> None:
    base = family("bytes", **{"Ġhello": 0, "Ċ": 1, "ĠĠĠĠ": 2, "Ã©": 3, "é": 4, "Ġ": 5})
    new = family("pieces", **{"▁hello": 0, "\n": 1, "▁▁▁▁": 2, "é": 3, "hello": 4, "▁": 5})
    assert align(base, new).source.tolist() == [0, 1, 2, 3, -1, 5]
    newline = family("pieces", **{"<0x0A>": 0, "<0xE9>": 1, "é": 2})
    assert align(base, newline).source.tolist() == [1, 4, 3]  # byte E9 is no `é`


def test_the_piece_wins_and_the_fallback_keeps_its_own_row() -> None:
    pieces = family("pieces", **{"<0x41>": 0, "A": 1, "<0x0A>": 2})
    both = align(pieces, family("pieces", **{"A": 0, "<0x41>": 1, "B": 2}))
    assert both.source.tolist() == [1, 0, -1]
    plain = family("bytes", A=0, Ċ=1)
    without = align(plain, pieces)
    assert without.source.tolist() == [-1, 0, 1]
    assert without.origin.tolist() == [Origin.SILENT, Origin.SAME_BYTES, Origin.SAME_BYTES]
    assert align(pieces, plain).source.tolist() == [1, 2]


def test_preferred_ids_have_rows_and_the_lowest_wins() -> None:
    vocab = vocab_of(("<0x41>", b"A", BYTE), *text(b"A", b"A", b"", b"z"), special("A"), rows=4)
    assert preferred_ids(vocab) == {b"A": 1}


def test_roles_before_names_and_no_row_twice() -> None:
    base = vocab_of(
        special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"),
        roles={0: ("document_end", "pad"), 1: ("turn_start",), 2: ("turn_end", "eos")},
    )  # fmt: skip
    new = vocab_of(
        special("<bos>"), special("<eos>"), special("<end_of_turn>"), special("<start_of_turn>"), special("<pad>"),
        roles={0: ("bos",), 1: ("document_end", "eos"), 2: ("turn_end",), 3: ("turn_start",), 4: ("pad",)},
    )  # fmt: skip
    found = align(base, new)
    assert found.source.tolist() == [
        -1,
        0,
        2,
        1,
        -1,
    ]  # pad = end of document doesn't give that row away twice
    assert found.origin.tolist() == [Origin.SILENT, *[Origin.SAME_ROLE] * 3, Origin.SILENT]


def test_two_tokens_that_are_only_read_may_share_a_row() -> None:
    base = vocab_of(special("<|im_start|>"), roles={0: ("bos", "turn_start")})
    new = vocab_of(special("<bos>"), special("<start_of_turn>"), roles={0: ("bos",), 1: ("turn_start",)})
    assert align(base, new).source.tolist() == [0, 0]
    ends = {0: ("eos", "turn_end")}, {0: ("eos",), 1: ("turn_end",)}
    apart = align(
        vocab_of(special("<e>"), roles=ends[0]), vocab_of(special("<f>"), special("<g>"), roles=ends[1])
    )
    assert apart.source.tolist() == [-1, 0]


def test_several_additional_specials_are_matched_by_name_to_distinct_rows() -> None:
    names = [f"<|x{i}|>" for i in range(6)]
    base = vocab_of(*map(special, names))
    found = align(base, vocab_of(*map(special, reversed(names)), special("<|y|>")))
    assert found.source.tolist() == [5, 4, 3, 2, 1, 0, -1]


def test_a_special_never_meets_text() -> None:
    base = vocab_of(*text(b"</s>"), special("<s>"))
    new = vocab_of(special("</s>"), *text(b"<s>", b"</s>"))
    assert align(base, new).source.tolist() == [-1, -1, 0]


def test_overrides_come_first_and_may_name_several_tokens() -> None:
    base = vocab_of(*text(b"a", b"b"), special("<s>"), roles={2: ("bos",)})
    new = vocab_of(special("<bos>"), special("<x>"), *text(b"a", b"q"), roles={0: ("bos",)})
    found = align(base, new, overrides={"<x>": ["<s>"], "q": ["a", "b"]})
    assert found.source.tolist() == [2, 2, 0, -1]  # <bos> is read only and may share
    assert found.origin.tolist() == [Origin.SAME_ROLE, Origin.OVERRIDE, Origin.SAME_BYTES, Origin.OVERRIDE]
    assert found.composed == {3: (0, 1)}


def test_overrides_hold_on_the_same_tokenizer_too() -> None:
    vocab = vocab_of(*text(b"a", b"b", b"c"))
    found = align(vocab, vocab, overrides={"a": ["b"], "c": ["a", "b"]})
    assert found.source.tolist() == [1, 1, -1] and found.composed == {2: (0, 1)}


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        ({"nope": ["a"]}, "new tokenizer has no token 'nope'"),
        ({"<x>": ["a", "no", "pe"]}, "base tokenizer has no token 'no pe'"),
        ({"<x>": []}, "base tokenizer has no token"),
        ({"<x>": ["far"]}, "base tokenizer has no token 'far'"),
        ({"out": ["a"]}, "new tokenizer has no token 'out'"),
    ],
)
def test_overrides_that_name_what_is_not_there(overrides: dict[str, list[str]], what: str) -> None:
    base, new = vocab_of(*text(b"a", b"far"), rows=1), vocab_of(special("<x>"), *text(b"out"), rows=1)
    with pytest.raises(TokswapError, match=what):
        align(base, new, overrides=overrides)


def test_an_alignment_points_into_the_base() -> None:
    with pytest.raises(ValueError, match="outside"):
        Alignment(np.array([3]), np.zeros(1, np.uint8), base_rows=3)
    with pytest.raises(ValueError, match="one entry"):
        Alignment(np.array([0]), np.zeros(2, np.uint8), base_rows=3)


def test_a_quarter_of_a_million_tokens_take_seconds() -> None:
    size = 262_144
    base = vocab_of(*text(*(b"%d" % i for i in range(size))))
    new = vocab_of(*text(*(b"%d" % i for i in range(size // 2, size + size // 2))))
    start = time.process_time()
    found = align(base, new)
    assert time.process_time() - start < 10
    assert (
        found.source[: size // 2].tolist() == list(range(size // 2, size)) and len(found.new_ids) == size // 2
    )
