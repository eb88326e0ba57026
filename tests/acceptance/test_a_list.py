"""The list itself: every line has a test that bears its number, and the page for users names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "trust.md"
LINES = 26


def names_in(folder: Path) -> set[str]:
    files = [path.read_text(encoding="utf-8") for path in folder.rglob("test_*.py")]
    return {name for text in files for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)}


def test_every_line_has_a_test_of_its_number() -> None:
    numbers = {int(number) for name in names_in(HERE) for number in re.findall(r"^test_a(\d\d)_", name)}
    assert numbers == set(range(1, LINES + 1))


def test_the_page_names_tests_that_exist() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_a\d\d_\w+)`", page))
    assert len(named) > 15 and named <= names_in(HERE)
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", page))
    assert files and all((PAGE.parents[1] / file).is_file() for file in files)
