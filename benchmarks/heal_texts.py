"""Text to heal with: prose of Debian's packages in English and French, and Python's library; none of it tokswap's own.

    python benchmarks/heal_texts.py texts
    python benchmarks/heal_texts.py texts --english 1200000 --code 1200000

English is a game's stories, a handbook, a desktop's and an office's help, as much of each; French is the same game's
and an office's. The packages are unpacked, never installed. Nothing of what tokswap evaluates on is among it: that is
checked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mixture_texts import CODE, DOMAINS, LANGUAGES, OF_FILES, Source, texts_of, unpacked
from package_texts import page

from tokswap.evaluation.texts import default_texts

FRENCH = [source for source in LANGUAGES["fr"] if source.package.split("-")[0] in ("libreoffice", "wesnoth")]
ENGLISH = [
    *DOMAINS["stories"],
    Source("debian-handbook", ("**/en-US/*.html",), page),
    *(
        source
        for source in LANGUAGES["en"]
        if source.package in ("gnome-user-docs", "libreoffice-help-en-us")
    ),
]
KINDS = {"english": ENGLISH, "french": FRENCH, "code": CODE["python"][:1]}
BYTES = {"english": 600_000, "french": 100_000, "code": 600_000}
DOCUMENT = 8_000  # bytes of lines of prose that make a document
SHORTEST_LINE = 60  # letters of a line of prose: shorter ones are headings and menus
LONG = 40  # letters of a line that isn't in two texts by chance


def make(folder: Path, sizes: dict[str, int]) -> list[Path]:
    """Write a file of each kind to `folder`, of documents ended by `%%`."""
    folder.mkdir(parents=True, exist_ok=True)
    folders = unpacked(sorted({source.package for sources in KINDS.values() for source in sources}))
    evaluated = {line for text in default_texts().values() for d in text.documents for line in _long(d)}
    written: list[Path] = []
    for kind, sources in KINDS.items():
        parts = [
            "\n%%\n".join(_documents(_prose(source, folders), sizes[kind] // len(sources)))
            for source in sources
        ]
        content = "\n%%\n".join(parts) + "\n"
        if shared := evaluated & set(_long(content)):
            raise SystemExit(f"{kind} holds lines of the texts that are evaluated: {sorted(shared)[:3]}")
        written.append(folder / f"{kind}.txt")
        written[-1].write_text(content, encoding="utf-8")
    return written


def _prose(source: Source, folders: Mapping[str, Path]) -> Iterator[str]:
    """Yield a source's texts: files of code as they are, of prose the lines that are sentences."""
    for text in texts_of([source], folders, ()):
        if source.read in OF_FILES or (len(text) >= SHORTEST_LINE and "<" not in text):
            yield text


def _documents(texts: Iterator[str], most: int) -> Iterator[str]:
    """Yield documents of `most` bytes together: files as they are, and lines of prose gathered."""
    gathered: list[str] = []
    size = taken = 0
    for text in texts:
        length = len(text.encode())
        if length > most // 4 or "\n%%\n" in text:
            continue
        gathered.append(text.rstrip())
        size += length
        if size >= DOCUMENT:
            yield "\n".join(gathered)
            taken += size
            gathered, size = [], 0
        if taken >= most:
            return
    if gathered:
        yield "\n".join(gathered)


def _long(text: str) -> Sequence[str]:
    return [line.strip() for line in text.splitlines() if len(line.strip()) >= LONG]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for kind, size in BYTES.items():
        parser.add_argument(f"--{kind}", type=int, default=size, metavar="BYTES")
    given = parser.parse_args()
    for path in make(given.folder, {kind: getattr(given, kind) for kind in KINDS}):
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
