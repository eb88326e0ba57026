"""Tokens that are words, and the cost of terms: the paper's own examples, and plain loops beside them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, sentencepiece

import tokswap
from tokswap.display import tables_of
from tokswap.domain_terms import term_figures, term_tokens
from tokswap.errors import TokswapError
from tokswap.html_report import render_html
from tokswap.reading import open_reader
from tokswap.word_files import read_terms, read_word_list
from tokswap.word_list import Affix, fold, make_word_list, word_figures

RULES = """SET UTF-8
PFX U Y 1
PFX U 0 un .
SFX S Y 3
SFX S y ies [^aeiou]y
SFX S 0 s [aeiou]y
SFX S 0 s [^sy]
SFX D Y 2
SFX D 0 d e
SFX D 0 ed [^e]
FORBIDDENWORD !
"""
WORDS = ("lock/SDU", "city/S", "day/S", "bus", "love/SD", "citys/!", "and\\/or", "Paris", "naïve")


def plain(folder: Path, content: str, name: str = "words.txt") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def dictionary(
    folder: Path, words: tuple[str, ...] = WORDS, rules: str = RULES, encoding: str = "utf-8"
) -> Path:
    (folder / "xx.aff").write_bytes(rules.encode(encoding))
    (folder / "xx.dic").write_bytes(f"{len(words)}\n{chr(10).join(words)}\n".encode(encoding))
    return folder / "xx.dic"


def shares(tokens: list[bytes], words: Any) -> dict[str, float]:
    counts = np.bincount([tokens.index(token) for token in tokens], minlength=len(tokens))
    found = word_figures(counts, dict(enumerate(dict.fromkeys(tokens))), words)
    return {name: figure.value for name, figure in found.items()}


def test_the_papers_examples(tmp_path: Path) -> None:
    """ "Cats are playing" as Ca ts are play ing: three of five; and students, learning are not pure."""
    words = read_word_list(
        plain(tmp_path, "cats\nare\nplay\n-ing\nthe\nstudent\nstudents\n-s\nlearn\nlearning\n")
    )
    found = shares([b"Ca", b"ts", b" are", b" play", b"ing"], words)
    assert found["valid_tokens"] == found["valid_types"] == pytest.approx(3 / 5)
    found = shares([b"The", b" students", b" are", b" learning"], words)
    assert found["valid_tokens"] == 1 and found["pure_types"] == pytest.approx(2 / 4)


def test_by_type_and_by_token(tmp_path: Path) -> None:
    words = read_word_list(plain(tmp_path, "the\nwall\n-s\n"))
    counts = np.asarray([6, 1, 2, 0, 1])
    tokens = {0: b" the", 1: b" wall", 2: b"\xe6\xb0", 4: b"."}
    found = word_figures(counts, tokens, words)
    assert found["valid_types"].value == 2 / 4 and found["valid_tokens"].value == 7 / 10


def test_without_affixes_there_is_no_purity(tmp_path: Path) -> None:
    words = read_word_list(plain(tmp_path, "the\nwall\n"))
    assert set(shares([b"the"], words)) == {"valid_types", "valid_tokens"}


def test_a_dictionary_knows_which_words_its_affixes_go_with(tmp_path: Path) -> None:
    words = read_word_list(dictionary(tmp_path))
    forms = {"locks": 1, "locked": 1, "unlock": 1, "unlocks": 1, "cities": 1, "days": 1, "loved": 1}
    forms |= {"lock": 2, "Bus": 2, "un": 2, "ies": 2, "PARIS": 2, "and/or": 2, "naïve": 2, "nai\u0308ve": 2}
    forms |= {"citys": 0, "buss": 0, "cityed": 0, "uncity": 0, "loveed": 0, "daies": 0, "": 0, " ": 0, "4": 0}
    for form, expected in forms.items():
        assert words.is_valid(f" {form}") + words.is_pure(form) == expected, form


STEMS = st.lists(st.text("aby", min_size=2, max_size=4), min_size=1, max_size=6, unique=True)


@settings(deadline=None, max_examples=60)
@given(STEMS, st.text("abys", min_size=1, max_size=6), st.data())
def test_a_dictionarys_forms_are_those_that_its_rules_write(
    stems: list[str], form: str, data: st.DataObject
) -> None:
    """The oracle writes out all forms: each word with each of its affixes, and with both."""
    rules = [
        Affix("s", "", "[^y]", "S"),
        Affix("as", "y", "[ab]y", "S"),
        Affix("ya", "", ".", "Y"),
        Affix("b", "a", "a", "P", before=True),
    ]
    flags = [data.draw(st.sets(st.sampled_from("SYP"))) for _ in stems]
    words = make_word_list(zip(stems, flags, strict=True), rules)

    def with_ends(word: str, has: set[str]) -> set[str]:
        out = set()
        if "S" in has and word[-1] != "y":
            out.add(word + "s")
        if "S" in has and word[-1] == "y" and word[-2] in "ab":
            out.add(word[:-1] + "as")
        if "Y" in has:
            out.add(word + "ya")
        return out

    derived: set[str] = set()
    for word, has in zip(stems, flags, strict=True):
        derived |= with_ends(word, has)
        if "P" in has and word[0] == "a":
            derived |= {"b" + form[1:] for form in {word} | {f for f in with_ends(word, has) if f[0] == "a"}}
    entries = set(stems) | {"s", "as", "ya", "b"}
    for token in {form, *derived, *entries}:
        assert words.is_valid(token) == (token in derived | entries), token
        assert words.is_pure(token) == (token in entries - derived), token


def test_dictionaries_in_other_notations(tmp_path: Path) -> None:
    """Numbered and two-letter flags, aliases of sets of them, an older encoding, words with their grammar."""
    cases = (
        ("SET ISO8859-1\nFLAG num\nSFX 12 Y 1\nSFX 12 0 s .\n", ("façade/7,12\tpo:noun",), "iso-8859-1"),
        ("SET UTF-8\nFLAG long\nSFX Zz Y 1\nSFX Zz 0 s\n", ("façade/AaZz po:noun",), "utf-8"),
        ("SET UTF-8\nAF 2\nAF AB\nAF AS\nSFX S Y 1\nSFX S 0 s/A .\n", ("façade/2",), "utf-8"),
    )
    for rules, words, encoding in cases:
        found = read_word_list(dictionary(tmp_path, words, rules, encoding))
        assert found.is_pure("Façade") and found.is_valid("façades") and not found.is_pure("façades")


def test_turkish_capitals(tmp_path: Path) -> None:
    words = read_word_list(plain(tmp_path, "ısı\nİstanbul\nile\n"))
    assert all(map(words.is_valid, ("ISI", "Isı", "istanbul", "İLE")))
    assert not words.is_valid("isi")
    assert fold("Straße I") == "strasse i"


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "holds no words"), ("-\n--\n \n", "holds no words"), ("caf\xe9\n", "isn't UTF-8")],
)
def test_lists_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(TokswapError, match=message):
        read_word_list(path)


def test_half_a_dictionary_and_unknown_encodings(tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match=r"has no yy\.aff beside it"):
        read_word_list(plain(tmp_path, "1\na\n", "yy.dic"))
    with pytest.raises(TokswapError, match="names an encoding 'KOI9'"):
        read_word_list(dictionary(tmp_path, rules="SET KOI9\n"))
    with pytest.raises(TokswapError, match="holds no terms"):
        read_terms(plain(tmp_path, " \n"))


def test_terms_are_read_as_they_stand_in_text() -> None:
    """`▁wall` and `▁the` are tokens; other letters take one each, and the space before `x` stands by itself."""
    reader = open_reader(sentencepiece())
    assert [term_tokens(reader, term) for term in ("wall", "the wall", "xyz", "the x")] == [1, 2, 3, 3]
    found = term_figures(reader, ("wall", "the wall", "xyz"))
    assert found["tokens_per_term"].value == pytest.approx(6 / 3)
    assert found["one_token"].value == pytest.approx(1 / 3) and found["most_tokens"].value == 3
    bytes_alone = open_reader(byte_level(0))
    assert term_tokens(bytes_alone, "naïve") == len("naïve".encode())


def test_all_in_one_report(tmp_path: Path) -> None:
    names = {"a": byte_level(), "b": sentencepiece(), "c": byte_level(0)}
    for name, tokenizer in names.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(json.dumps(tokenizer))
    texts = [plain(tmp_path, "the wall, the harbour\n", "en.txt"), plain(tmp_path, "le mur\n", "fr.txt")]
    lists = {"en": plain(tmp_path, "the\nwall\n-s\n"), "fr": plain(tmp_path, "le\nmur\n", "mots.txt")}
    terms = {"sea": plain(tmp_path, "harbour wall\nthe wall\nthe wall\n", "terms.txt")}
    folders = [tmp_path / name for name in names]
    report = tokswap.compare(*folders, texts=texts, words=lists, terms=terms)
    english = report.sections["en"].sections["b"].figures
    assert english["valid_tokens"].value == pytest.approx(3 / english["tokens"].value)
    assert "valid_types" in report.sections["fr"].sections["a"].figures
    assert "pure_types" not in report.sections["fr"].sections["a"].figures
    assert ["the word list of fr has no affixes" in warning for warning in report.all_warnings()] == [True]
    assert report.sections["sea (terms)"].sections["c"].figures["terms"].value == 2
    assert [(table.title, len(table.rows)) for table in tables_of(report)] == [
        ("Tokenizers on texts", 6),
        ("Tokens that are words", 6),
        ("Terms of a domain", 3),
    ]
    assert render_html(report).count("<svg") == 3
    two = tokswap.compare(*folders[:2], texts=texts, words=lists, terms=terms)
    assert two.sections["metrics"].sections["en"].sections["b"].figures == english
    with pytest.raises(TokswapError, match="there is no text 'de'"):
        tokswap.compare(*folders, texts=texts, words={"de": lists["en"]})
