"""Merges in the order they were learnt, against the trainers that learnt them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).parents[1]))

from tokenizer_families import byte_level, sentencepiece, suffixed, unigram, wordpiece

from tokswap.data_files import data_folder
from tokswap.errors import TokswapError
from tokswap.mixture.learnt import learnt_merges
from tokswap.mixture.merges import merge_list
from tokswap.mixture.prefixes import KnownMerges, fingerprint, longest_shared
from tokswap.mixture.types import UNKNOWN, MergeList
from tokswap.tokenizer_build import merges_from_scores

Json = dict[str, Any]


def pairs_of(merges: MergeList) -> list[tuple[str, str]]:
    return [(merges.texts[left], merges.texts[right]) for left, right in merges.pairs]


def trained(tokenizer: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(left, right) for left, right in tokenizer["model"]["merges"]]


def expanded(tokenizer: Json) -> Json:
    """Write every cut of every token, as conversions from ranks do: tokens by id, cuts by the ids of their parts."""
    vocab = tokenizer["model"]["vocab"]
    merges: list[list[str]] = []
    for token in dict.fromkeys(left + right for left, right in trained(tokenizer)):
        cuts = [[token[:i], token[i:]] for i in range(1, len(token))]
        known = [cut for cut in cuts if cut[0] in vocab and cut[1] in vocab]
        merges += sorted(known, key=lambda cut: (vocab[cut[0]], vocab[cut[1]]))
    return {**tokenizer, "model": {**tokenizer["model"], "merges": merges}}


def with_scores(tokenizer: Json) -> Json:
    """Write the merges as a conversion from a SentencePiece model does, scores falling with ids."""
    vocab = tokenizer["model"]["vocab"]
    learnt = dict.fromkeys(left + right for left, right in trained(tokenizer))
    merges = merges_from_scores(vocab, {text: -float(vocab[text]) for text in learnt})
    return {**tokenizer, "model": {**tokenizer["model"], "merges": [list(pair) for pair in merges]}}


@pytest.mark.parametrize(
    "tokenizer", [byte_level(), sentencepiece(), suffixed()], ids=["bytes", "pieces", "suffix"]
)
def test_a_trainers_own_list_is_taken_as_it_is(tokenizer: Json) -> None:
    found = merge_list(tokenizer)
    assert pairs_of(found) == trained(tokenizer)
    assert not found.notes and not found.set_aside and not found.skip and found.shared_prefix is None
    assert [found.texts[r] for r in found.results] == [left + right for left, right in trained(tokenizer)]


@cache
def on_prose(space: str) -> Json:
    """BPE trained on the texts that come with tokswap; `space` is how it writes one."""
    engine = Tokenizer(models.BPE())
    if space == "▁":
        engine.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    files = map(str, sorted((data_folder("data") / "texts" / "evaluation").glob("*.txt")))
    engine.train(list(files), trainers.BpeTrainer(vocab_size=3_000, show_progress=False))
    return json.loads(engine.to_str())


@pytest.mark.parametrize("write", [expanded, with_scores])
@pytest.mark.parametrize("space", ["Ġ", "▁"])
def test_an_expanded_list_gives_back_what_was_learnt_in_order(write: Any, space: str) -> None:
    tokenizer = on_prose(space)
    longer = write(tokenizer)
    assert len(longer["model"]["merges"]) > 1.2 * len(trained(tokenizer))
    found = merge_list(longer)
    assert pairs_of(found) == trained(tokenizer) and not found.set_aside
    assert "recovered in order" in found.notes[0]


words = st.text(alphabet="abcd ", min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=8, max_size=20))
def test_any_text_a_trainer_saw_can_be_recovered(corpus: list[str]) -> None:
    """Over few letters, where many tokens have many cuts; two merges that spell one text can't be told apart."""
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=80, show_progress=False))
    tokenizer = json.loads(engine.to_str())
    learnt = trained(tokenizer)
    spelt = [left + right for left, right in learnt]
    longer = expanded(tokenizer)
    if len(set(spelt)) == len(spelt) and len(longer["model"]["merges"]) > 1.05 * len(learnt):
        found = merge_list(longer)
        # A token that its trainer reached in no text that is this token alone may be set aside, never misplaced.
        kept = pairs_of(found)
        assert [pair for pair in learnt if pair in set(kept)] == kept
        assert len(kept) + found.set_aside == len(learnt)


def test_older_files_write_a_merge_as_one_text() -> None:
    tokenizer = byte_level()
    joined = [" ".join(pair) for pair in trained(tokenizer)]
    older = {**tokenizer, "model": {**tokenizer["model"], "merges": joined}}
    assert pairs_of(merge_list(older)) == trained(tokenizer)


def test_symbols_are_the_alphabet_then_results_and_spell_their_bytes() -> None:
    found = merge_list(byte_level())
    assert sorted(found.alphabet.values()) == list(range(256))
    assert sorted(found.tokens[:256]) == [bytes([b]) for b in range(256)]
    for (left, right), result in zip(found.pairs, found.results, strict=True):
        assert found.tokens[left] + found.tokens[right] == found.tokens[result]
    assert list(dict.fromkeys(found.results.tolist())) == list(range(256, len(found.tokens)))


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [
        (byte_level(), "Ġharbour"),
        (sentencepiece(), "▁harbour"),
        (sentencepiece(), "▁☃x"),
        (suffixed(), "boats."),
    ],
    ids=["bytes", "pieces", "fallback", "suffix"],
)
def test_symbols_merged_in_order_are_what_the_tokenizer_makes_of_a_word(tokenizer: Json, text: str) -> None:
    found = merge_list(tokenizer)
    symbols = found.symbols(text)
    for pair, result in zip(found.pairs.tolist(), found.results.tolist(), strict=True):
        at = 0
        while at < len(symbols) - 1:
            if symbols[at : at + 2] == pair:
                symbols[at : at + 2] = [result]
            at += 1
    model = Tokenizer.from_str(json.dumps(tokenizer)).model
    assert [found.texts[s] for s in symbols] == [token.value for token in model.tokenize(text)]


def test_a_character_without_symbol_is_unknown() -> None:
    found = merge_list(suffixed())
    assert UNKNOWN in found.symbols("☃a") and found.symbols("") == []


def with_runs(tokenizer: Json, lengths: Sequence[int]) -> Json:
    """Put runs of tabs before the learnt merges, as Gemma's makers did."""
    vocab = dict(tokenizer["model"]["vocab"])
    runs = ["ĉ" * n for n in lengths]
    shift = {token: i + len(runs) if i >= 256 else i for token, i in vocab.items()}
    merges = [[run[:-1], "ĉ"] for run in runs] + [list(pair) for pair in trained(tokenizer)]
    vocab = shift | {run: 256 + i for i, run in enumerate(runs)}
    return {
        **tokenizer,
        "added_tokens": [],
        "model": {**tokenizer["model"], "vocab": vocab, "merges": merges},
    }


def test_runs_of_white_space_put_in_by_hand_are_set_aside() -> None:
    plain = byte_level(specials=())
    found = merge_list(with_runs(plain, range(2, 12)))
    assert pairs_of(found) == trained(plain) and found.set_aside == 10
    assert "10 runs of white space" in found.notes[0]


def test_runs_of_white_space_that_were_learnt_stay() -> None:
    """Among other merges, or few in a row, they are what a trainer finds in code."""
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    texts = [f"{' ' * n}x = {n}\n" * 5 for n in (4, 8, 12, 16)]
    engine.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=80, show_progress=False))
    tokenizer = json.loads(engine.to_str())
    found = merge_list(tokenizer)
    assert found.set_aside == 0 and pairs_of(found) == trained(tokenizer)
    assert any(set(text) == {"Ġ"} and len(text) > 1 for text in found.texts)


def test_runs_that_indented_code_begins_with_are_learnt() -> None:
    """Of 2, 4, 8 and 3 spaces, as the first merges of a trainer that reads code."""
    pairs = [("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("ĠĠĠĠ", "ĠĠĠĠ"), ("Ġ", "ĠĠ"), ("Ċ", "ĠĠĠĠ")]
    learnt = learnt_merges(pairs, {left + right: i for i, (left, right) in enumerate(pairs)}, ("Ġ", "Ċ"))
    assert list(learnt.pairs) == pairs and not learnt.by_hand
    by_hand = [("Ġ" * (n - 1), "Ġ") for n in (2, 3, 4, 5)]
    ids = {left + right: i for i, (left, right) in enumerate(by_hand)}
    assert learnt_merges(by_hand, ids, ("Ġ",)).by_hand == tuple("Ġ" * n for n in (2, 3, 4, 5))
    assert set(learnt_merges(by_hand[::-1], ids, ("Ġ",)).by_hand) == {"Ġ" * n for n in (2, 3, 4, 5)}


def test_a_token_that_no_merge_reaches_is_set_aside_with_all_that_needs_it() -> None:
    tokenizer = byte_level(specials=())
    vocab = dict(tokenizer["model"]["vocab"])
    top = len(vocab)
    merges = [*trained(tokenizer), ("ZZ", "QQ"), ("ZZQQ", "X")]
    vocab |= {"ZZ": top, "QQ": top + 1, "ZZQQ": top + 2, "ZZQQX": top + 3}
    found = merge_list({**tokenizer, "model": {**tokenizer["model"], "vocab": vocab, "merges": merges}})
    assert pairs_of(found) == trained(tokenizer) and found.set_aside == 2
    assert "“ZZQQ”" in found.notes[0]


@pytest.mark.parametrize(
    ("tokenizer", "what"),
    [
        (wordpiece(), "WordPiece"),
        (unigram(), "Unigram"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}, "empty"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}}, "no token"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}}, "no token"),
        ({"model": {"type": "BPE", "vocab": {"abcd": 0}, "merges": [["ab", "cd"]]}}, "reached"),
        ({"version": "1.0"}, "model"),
    ],
)
def test_a_tokenizer_without_merges_is_refused(tokenizer: Json, what: str) -> None:
    with pytest.raises(TokswapError, match=what):
        merge_list(tokenizer)


def made_up(count: int, salt: str = "") -> list[tuple[bytes, bytes]]:
    return [(f"{salt}{i:c}".encode("utf-8", "surrogatepass"), b"x") for i in range(0x100, 0x100 + count)]


def test_the_known_tokenizer_that_a_list_goes_on_from_is_found() -> None:
    one, other = made_up(2_345), made_up(1_500, "other")
    known = [fingerprint("one", one), fingerprint("longer", one + other), fingerprint("other", other)]
    found = longest_shared(one + made_up(10, "own"), known)
    assert found and (found.name, found.merges, found.own, found.goes_on) == ("one", 2_345, 10, True)
    itself = longest_shared(one, known)
    assert itself and (itself.name, itself.merges, itself.own, itself.goes_on) == ("one", 2_345, 0, False)
    fork = longest_shared(one[:1_500] + made_up(3_000, "own"), known[:1])
    assert fork and (fork.merges, fork.goes_on) == (1_000, True)  # to the last fingerprint
    assert longest_shared(made_up(3_000, "own"), known) is None


def test_merges_that_yield_numbers_may_be_missing() -> None:
    """As in Qwen's list, which otherwise begins with all of cl100k's."""
    number = (b"1", b"2")
    known = [fingerprint("one", [*made_up(1_200), number, *made_up(900, "b"), number])]
    with_all = longest_shared([*made_up(1_200), number, *made_up(900, "b"), number, (b"q", b"q")], known)
    without = longest_shared([*made_up(1_200), *made_up(900, "b"), (b"q", b"q")], known)
    assert with_all and with_all.merges == 2_102 and with_all.own == 1
    assert without and without.merges == 2_100 and without.own == 1


def known_half(tokenizer: Json, count: int) -> list[KnownMerges]:
    found = merge_list(tokenizer, known=())
    return [fingerprint("half", [(found.tokens[a], found.tokens[b]) for a, b in found.pairs[:count]])]


def test_skip_auto_skips_what_is_shared_and_counts_are_checked() -> None:
    tokenizer = byte_level()
    known = known_half(tokenizer, 50)
    found = merge_list(tokenizer, skip="auto", known=known)
    assert (
        found.skip == 50 and found.shared_prefix == ("half", 50) and "50 merges are half's" in found.notes[0]
    )
    assert len(found.pairs) == len(trained(tokenizer))  # skipped merges are replayed all the same
    assert merge_list(tokenizer, skip=7, known=()).skip == 7
    assert merge_list(tokenizer, skip="auto", known=known_half(tokenizer, 10_000)).skip == 0
    for wrong in (-1, len(trained(tokenizer))):
        with pytest.raises(TokswapError, match="skipped"):
            merge_list(tokenizer, skip=wrong, known=())


def test_the_known_tokenizers_that_come_with_tokswap_are_whole() -> None:
    from tokswap.mixture.prefixes import read_known

    known = {one.name: one for one in read_known()}
    assert {"GPT-2", "cl100k", "o200k", "Llama 3", "Mistral", "Gemma 3", "Qwen"} <= set(known)
    assert known["cl100k"].merges == 100_000 and known["o200k"].merges == 199_742
    assert all(len(one.hashes) == len(one.checkpoints) for one in known.values())
    assert len({one.hashes for one in known.values()}) == len(known)


def test_tokens_are_bytes_whatever_their_spelling() -> None:
    """`▁the` and `Ġthe` are the same bytes."""
    pieces = merge_list(sentencepiece(), known=())
    byte_pairs = [(pieces.tokens[a], pieces.tokens[b]) for a, b in pieces.pairs]
    assert byte_pairs == [
        (a.replace("▁", " ").encode(), b.replace("▁", " ").encode()) for a, b in pairs_of(pieces)
    ]


@pytest.mark.parametrize(
    "broken",
    [{"end_of_word_suffix": 5}, {"merges": [5]}, {"merges": [["a", 5]]}, {"merges": "ab"}, {"vocab": None}],
)
def test_models_of_the_wrong_types_are_refused(broken: Json) -> None:
    tokenizer = byte_level()
    with pytest.raises(TokswapError) as error:
        merge_list({**tokenizer, "model": {**tokenizer["model"], **broken}}, known=())
    assert "fetch it again" in error.value.hint


def test_notes_show_tokens_as_text() -> None:
    tokenizer = byte_level()
    vocab = dict(tokenizer["model"]["vocab"])
    first = trained(tokenizer)[0]
    odd = "Ġ" + "".join(first) + "Ċ"
    # A merge whose left part comes only later in the list: nothing spells it by then.
    vocab |= {odd: len(vocab), "Ġ" + "".join(first): len(vocab) + 1}
    merges = [["Ġ" + "".join(first), "Ċ"], *map(list, trained(tokenizer))]
    found = merge_list(
        {**tokenizer, "model": {**tokenizer["model"], "vocab": vocab, "merges": merges}}, known=()
    )
    text = "".join(first).replace("Ġ", " ")
    assert [note for note in found.notes if f"such as “ {text}\\n”" in note], found.notes
