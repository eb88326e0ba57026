"""Texts that neither tokswap's authors wrote nor anybody tuned on: slices of Debian's manual and of Python's library.

Debian's package is downloaded and unpacked, never installed: it is data. A manual is one domain; figures on it stand
for manuals.
"""

from __future__ import annotations

import gzip
import statistics
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "installation-guide-amd64"
LANGUAGES = ("en", "fr", "de")
START, LENGTH = 60_000, 12_000  # past the table of contents; bytes of each slice


def other_texts(folder: Path) -> list[Path]:
    """Return text files of about 12 KB each in `folder`, made on the first call."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [folder / f"manual_{language}.txt" for language in LANGUAGES]
    if not all(path.exists() for path in wanted):
        _manuals(wanted)
    code = folder / "stdlib.txt"
    library = Path(statistics.__file__).parent
    parts = [
        (library / name).read_text(encoding="utf-8")[2_000:8_000] for name in ("statistics.py", "zipfile.py")
    ]
    code.write_text("\n%%\n".join(parts), encoding="utf-8")
    return [*wanted, code]


def _manuals(wanted: list[Path]) -> None:
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=work, check=True, capture_output=True)
        (package,) = Path(work).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), f"{work}/x"], check=True)
        for path, language in zip(wanted, LANGUAGES, strict=True):
            source = Path(work) / f"x/usr/share/doc/{PACKAGE}/{language}/install.{language}.txt.gz"
            content = gzip.decompress(source.read_bytes())[START : START + LENGTH]
            path.write_text(content.decode("utf-8", "ignore").strip() + "\n", encoding="utf-8")
