from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import MOST_TEXT_BYTES, Text, default_texts, load_texts, split_documents


def test_documents_are_cut_at_percent_lines(tmp_path: Path) -> None:
    (tmp_path / "fr.txt").write_text("un\n%%\ndeux %% trois\n%%\n\n%%\nquatre", encoding="utf-8")
    assert load_texts([tmp_path / "fr.txt"]) == {"fr": Text("fr", ("un\n", "deux %% trois\n", "quatre"))}


@given(st.lists(st.text(min_size=1).filter(lambda t: t.strip() and "%%" not in t), min_size=1))
def test_splitting_gives_back_what_was_joined(documents: list[str]) -> None:
    lines = tuple(document + "\n" for document in documents)
    assert split_documents("%%\n".join(lines)) == lines


def test_names(tmp_path: Path) -> None:
    for name in ("code.py.txt", "a.txt", "a.md"):
        (tmp_path / name).write_text("x")
    assert list(load_texts([tmp_path])) == ["a", "code"]
    assert list(load_texts([tmp_path / "a.txt", tmp_path / "a.md"])) == ["a.txt", "a.md"]
    with pytest.raises(TokswapError, match=r"a\.txt"):
        load_texts([tmp_path / "a.txt", tmp_path / "a.txt"])


@pytest.mark.parametrize(
    ("content", "what"), [(b"\xff\xfe", "UTF-8"), (b" \n", "no text"), (b"%%\n", "no text")]
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(TokswapError, match=what):
        load_texts([tmp_path / "x.txt"])


def test_missing_files_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match="can't be read"):
        load_texts([tmp_path / "x.txt"])
    with pytest.raises(TokswapError, match=r"no \.txt file"):
        load_texts([tmp_path])


def test_first_cuts_at_characters() -> None:
    text = Text("t", ("aé", "水b", "c"))
    assert text.bytes == 8
    assert text.first(2).documents == ("a",)
    assert text.first(5).documents == ("aé",)
    assert text.first(7).documents == ("aé", "水b")
    assert text.first(8) == text
    assert Text("t", ("水",)).first(1).documents == ("水",)


def test_the_texts_that_come_along() -> None:
    for kind in ("evaluation", "calibration"):
        texts = default_texts(kind)
        assert {"english", "code"} <= set(texts)
    lines = [
        {
            line
            for t in default_texts(k).values()
            for d in t.documents
            for line in d.splitlines()
            if len(line) > 40
        }
        for k in ("evaluation", "calibration")
    ]
    assert not lines[0] & lines[1]


def test_what_has_no_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match="no file of text"):
        load_texts([Path("/dev/zero")])
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(MOST_TEXT_BYTES + 1)
    with pytest.raises(TokswapError, match="more than"):
        load_texts([huge])
