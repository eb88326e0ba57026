"""`tokswap replace` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli


def test_a_dry_run_says_what_a_run_does_and_writes_nothing(
    cli: Cli, base: Path, prose: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "out", tmp_path / "page.html"
    run = ("replace", base, "--text", prose, "--add", 6, "--out", out, "--evaluation-text", prose)
    dry = cli(*run, "--dry-run", "--json")
    assert dry.code == 0 and not out.exists()
    ran = cli(*run, "--report", page, "--no-evaluate", "--calibrate", "none")
    assert ran.code == 0 and f"written and verified: {out}" in ran.err and "tokens that are gone" in ran.out
    assert "removed, as" in page.read_text()
    assert dry.document["figures"]["replaced"]["value"] == 6
    ids = json.loads((out / "tokswap.json").read_text())["replacement"]["ids"]
    assert len(ids) == 6
    checks = cli("verify", out, "--against", base, "--json").document["sections"]
    failed = {name for name, one in checks.items() if one["facts"]["outcome"] == "failed"}
    assert failed <= {"padded_rows"}  # an untrained base's own padding may win
    again = cli(*run)
    assert again.code == 2 and "exists" in again.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--dry-run",), "no text was given"),
        (("--text", "PROSE"), "no output folder was given"),
        (("--text", "PROSE", "--out", "BASE"), "base"),
        (("--text", "PROSE", "--dry-run", "--add", "400"), "400 tokens can't be replaced"),
        (("--text", "PROSE", "--dry-run", "--calibrate", "maybe"), "calibrate"),
        (("--text", "nowhere", "--dry-run"), "there is no text at nowhere"),
    ],
)
def test_what_can_be_mended_is_said(
    options: tuple[str, ...], words: str, cli: Cli, base: Path, prose: Path
) -> None:
    named = {"PROSE": str(prose), "BASE": str(base)}
    given = [] if "--add" in options else ["--add", "3"]
    ran = cli("replace", base, *given, *(named.get(o, o) for o in options))
    assert ran.code == 2 and words in ran.err and "hint: " in ran.err
