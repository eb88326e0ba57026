"""Folders of text made from packages, against small packages made here with what each reader must keep and drop."""

from __future__ import annotations

import gzip
import struct
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import mixture_texts
from mixture_texts import ENGLISH, KINDS, Source, texts
from package_texts import archived, manual, originals, packed, page, plain_roff, translations, whole

ROFF = r""".\" A comment
.TH LS 1
.SH "NAME OF IT"
ls \- list the \fIdirectory\fR's
.BR stat (2)
and more
.TS
tab(:);
a:b
.TE
.PP
It\(aqs \[lq]quoted\[rq], 1\ MiB
.I file name
\(bu point
"""


def gz(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def plain(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def catalogue(path: Path, messages: dict[str, str]) -> Path:
    """Write a .mo file: a header, then tables of lengths and offsets of the originals and of the translations."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = sorted(messages)
    at = 28 + 16 * len(keys)
    tables, data = b"", b""
    for text in [*keys, *(messages[key] for key in keys)]:
        tables += struct.pack("<II", len(text.encode()), at + len(data))
        data += text.encode() + b"\0"
    header = struct.pack("<7I", 0x950412DE, 0, len(keys), 28, 28 + 8 * len(keys), 0, 0)
    path.write_bytes(header + tables + data)
    return path


def test_pages_of_the_manual_are_paragraphs_without_troff(tmp_path: Path) -> None:
    found = [text for text in manual(gz(tmp_path / "ls.1.gz", ROFF)) if text]
    assert found == [
        "NAME OF IT",
        "ls - list the directory's stat(2) and more",
        "It's “quoted”, 1 MiB file name • point",
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (r"\fBbold\fP \f[I]it\f[] \f(CWx\fR", "bold it x"),
        (r"a\-b \en \&. \s-1SM\s0", r"a-b \n . SM"),
        (r"\(em \[bu] \[no such]", "— • "),
    ],
)
def test_signs_of_troff(line: str, text: str) -> None:
    assert plain_roff(line) == text


def test_pages_of_html_are_their_text(tmp_path: Path) -> None:
    head, body = (
        "<head><title>gone</title></head>",
        "<p>One &amp; <b>two</b></p><script>no()</script><li>three",
    )
    source = f"{head}<body>{body}</li></body>"
    assert [line for line in page(plain(tmp_path / "a.html", source)) if line] == ["One & two", "three"]


def test_catalogues_give_both_sides(tmp_path: Path) -> None:
    both = {
        "": "Content-Type: text/plain; charset=UTF-8\n",
        "girl^Hello\nthere": "Bonjour\nici",
        "Yes": "Oui",
    }
    path = catalogue(tmp_path / "a.mo", both)
    assert sorted(translations(path)) == ["Bonjour", "Oui", "ici"]
    assert set(originals(path)) >= {"Hello", "there", "Yes"}


def test_code_is_whole_files(tmp_path: Path) -> None:
    code = "(defun f ())\n" * 30
    assert whole(gz(tmp_path / "a.el.gz", code)) == [code]
    latin = tmp_path / "b.pas"
    latin.write_bytes("é".encode("latin-1"))
    assert whole(latin) == []
    with zipfile.ZipFile(tmp_path / "src.zip", "w") as archive:
        archive.writestr("java.base/A.java", "class A {}")
        archive.writestr("java.base/B.txt", "no Java")
    assert list(archived(tmp_path / "src.zip")) == ["class A {}"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_lines_come_once_and_no_english_ones(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain(cache / "debian" / "help-en" / "a.html", "<p>An English line</p><p>Another line</p>")
    plain(cache / "debian" / "help-fr" / "a.html", "<p>Une ligne</p><p>An English line</p><p>12 %</p>")
    gz(cache / "debian" / "guide" / "fr" / "b.txt.gz", "Une  ligne\nDeux lignes\n")
    languages = {
        ENGLISH: [Source("help-en", ("**/*.html",), page)],
        "fr": [Source("help-fr", ("**/*.html",), page), Source("guide", ("fr/*.gz",), packed)],
    }
    monkeypatch.setattr(mixture_texts, "KINDS", {"languages": languages})
    folders = texts("languages", 1000)
    assert (folders["fr"] / "text.txt").read_text() == "Une ligne\nDeux lignes\n"
    assert set((folders[ENGLISH] / "text.txt").read_text().splitlines()) == {
        "An English line",
        "Another line",
    }


def test_files_come_once_and_within_the_size(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "x = 1\n" * 50
    for name, text in {"a.py": body, "b.py": body, "c.py": "y = 2\n" * 50, "stub.py": "pass\n"}.items():
        plain(cache / "debian" / "library" / name, text)
    monkeypatch.setattr(
        mixture_texts, "KINDS", {"code": {"python": [Source("library", ("**/*.py",), whole)]}}
    )
    assert (texts("code", 10_000)["python"] / "text.txt").read_bytes().count(b"\n") == 100
    assert (texts("code", 400)["python"] / "text.txt").stat().st_size == 300


def test_there_are_enough_categories() -> None:
    assert len(KINDS["languages"]) >= 20 and len(KINDS["code"]) >= 8 and len(KINDS["domains"]) >= 5
    assert set(KINDS["manuals"]) == set(KINDS["stories"]) == set(KINDS["languages"])
    apart = [source.package for kind in ("manuals", "stories") for source in KINDS[kind]["de"]]
    assert sorted(apart) == sorted(source.package for source in KINDS["languages"]["de"])
