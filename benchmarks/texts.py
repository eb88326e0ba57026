"""Texts that neither tokswap's authors wrote nor anybody tuned on: slices of Debian's manual and of Python's library.

Debian's package is downloaded and unpacked, never installed: it is data. A manual is one domain; figures on it stand
for manuals.
"""

from __future__ import annotations

import gzip
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "installation-guide-amd64"
LANGUAGES = ("en", "fr", "de")
START, LENGTH = 60_000, 12_000  # past the table of contents; bytes of each slice
MODULES = ("argparse", "difflib", "textwrap", "shutil", "csv")  # of Python's library, to calibrate on
CALIBRATION = {"en": 28_000, "fr": 12_000, "code": 40_000}  # bytes, from behind the slices that are measured


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


def calibration_texts(folder: Path) -> list[Path]:
    """Return text files to calibrate on in `folder`: other parts of the manual, other modules; 80 KB in all."""
    folder.mkdir(parents=True, exist_ok=True)
    library, each = Path(statistics.__file__).parent, CALIBRATION["code"] // len(MODULES)
    code = folder / "modules.txt"
    parts = [(library / f"{name}.py").read_text(encoding="utf-8")[:each] for name in MODULES]
    code.write_text("\n%%\n".join(parts), encoding="utf-8")
    prose = [folder / f"{language}.txt" for language in ("en", "fr")]
    for path, content in zip(prose, _manual([path.stem for path in prose]), strict=True):
        start = START + LENGTH
        _write(path, content[start : start + CALIBRATION[path.stem]])
    return [*prose, code]


def _manuals(wanted: list[Path]) -> None:
    for path, content in zip(wanted, _manual(LANGUAGES), strict=True):
        _write(path, content[START : START + LENGTH])


def _write(path: Path, content: bytes) -> None:
    path.write_text(content.decode("utf-8", "ignore").strip() + "\n", encoding="utf-8")


def _manual(languages: Sequence[str]) -> list[bytes]:
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=work, check=True, capture_output=True)
        (package,) = Path(work).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), f"{work}/x"], check=True)
        folder = Path(work) / f"x/usr/share/doc/{PACKAGE}"
        return [gzip.decompress((folder / f"{its}/install.{its}.txt.gz").read_bytes()) for its in languages]


if __name__ == "__main__":
    for name in calibration_texts(Path(sys.argv[1])):
        print(name)
