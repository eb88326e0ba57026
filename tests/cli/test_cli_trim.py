"""`tokswap trim` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli


def test_a_dry_run_says_what_a_run_does_and_writes_nothing(
    cli: Cli, base: Path, prose: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    dry = cli("trim", base, "--text", prose, "--out", out, "--dry-run", "--json")
    assert dry.code == 0 and not out.exists()
    ran = cli(
        "trim", base, "--text", prose, "--out", out, "--report", tmp_path / "page.html", "--no-evaluate"
    )
    assert ran.code == 0 and f"written and verified: {out}" in ran.err and "why it stays" in ran.out
    rows = json.loads((out / "config.json").read_text())["vocab_size"]
    assert dry.document["figures"]["new_rows"]["value"] == rows < 304
    assert "tokens left" in (tmp_path / "page.html").read_text()
    assert cli("verify", out, "--against", base).code == 0


def test_bits_per_byte_are_measured_on_texts_of_ones_own(
    cli: Cli, base: Path, prose: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Another wall was built.\n" * 9)
    ran = cli("trim", base, "--text", prose, "--out", tmp_path / "out", "--json", "--evaluation-text", other)
    measured = ran.document["sections"]["evaluation"]
    assert list(measured["sections"]) == ["other"]
    assert {"bits_per_byte", "base_bits_per_byte"} <= measured["figures"].keys()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--dry-run",), "no text was given"),
        (("--text", "PROSE"), "no output folder was given"),
        (("--text", "PROSE", "--dry-run", "--keep", "9", "--coverage", "1"), "--keep and --coverage"),
        (("--text", "PROSE", "--dry-run", "--keep", "9"), "9 tokens are too few"),
        (("--text", "PROSE", "--dry-run", "--coverage", "1.5"), "no share of a text"),
        (("--text", "nowhere", "--dry-run"), "there is no text at nowhere"),
    ],
)
def test_what_can_be_mended_is_said(
    options: tuple[str, ...], words: str, cli: Cli, base: Path, prose: Path
) -> None:
    ran = cli("trim", base, *(str(prose) if o == "PROSE" else o for o in options))
    assert ran.code == 2 and words in ran.err and "hint: " in ran.err
