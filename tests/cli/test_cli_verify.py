"""`tokswap verify` on the command line: exit 0 for a sound folder, 1 for another, and one document with --json."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def moved(base: Path, donor: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tokswap

    out = tmp_path_factory.mktemp("moved") / "out"
    tokswap.transplant(base, donor, out=out, method="subword", calibrate="none", evaluate=False)
    return out


def test_a_sound_folder(cli: Any, moved: Path, base: Path) -> None:
    ran = cli("verify", moved, "--against", base)
    assert ran.code == 0 and not ran.err
    assert "untouched tensors" in ran.out and "bit for bit" in ran.out
    verdict = ran.out.split("\n\n")[-1].splitlines()[-1] if "\n\n" in ran.out else ran.out.splitlines()[-1]
    assert verdict.startswith("sound: ") and "0 failed" in verdict


def test_a_broken_folder(cli: Any, moved: Path, tmp_path: Path) -> None:
    shutil.copytree(moved, tmp_path / "out")
    (tmp_path / "out" / "recipe.yaml").write_text("")
    ran = cli("verify", tmp_path / "out", "--files-only", "--json")
    assert ran.code == 1
    assert ran.document["facts"]["sound"] is False
    checks = ran.document["sections"]
    assert checks["manifest"]["facts"] == {"outcome": "failed", "sentence": "recipe.yaml has changed"}
    assert checks["loads"]["facts"]["outcome"] == "not checked"
    assert ran.err == "warning: 1 check failed\n"
    assert "not sound: " in cli("verify", tmp_path / "out", "--files-only").out


def test_no_such_folder(cli: Any, tmp_path: Path) -> None:
    ran = cli("verify", tmp_path / "nowhere")
    assert ran.code == 2 and ran.err.startswith("error: ") and "hint: " in ran.err


def test_restore_and_doctor(cli: Any, moved: Path, base: Path, tmp_path: Path) -> None:
    out = tmp_path / "back"
    ran = cli("restore", moved, "--base", base, "--out", out)
    assert ran.code == 0 and f"written and verified: {out}" in ran.err
    assert "restored: rows, tokenizer and configuration are the base's own bytes" in " ".join(ran.out.split())
    assert cli("verify", out, "--against", base, "--quiet").code == 0
    assert cli("restore", moved, "--base", base).code == 2
    ran = cli("doctor", base, "--json")
    assert ran.code == 0 and ran.document["kind"] == "diagnosis"
    assert cli("doctor").code == 0


def test_audit(cli: Any, moved: Path, base: Path, donor: Path, prose: Path) -> None:
    ran = cli("audit", moved, "--against", base, "--donor", donor, "--text", prose, "--json")
    assert ran.document["kind"] == "audit" and set(ran.document["sections"]) == {"model", "base", "donor"}
    assert ran.code == (0 if ran.document["facts"]["sound"] else 1)
    assert "Tokens that training never reached" in cli("audit", moved, "--text", prose).out


def test_a_donor_without_weights_is_told_and_the_rest_is_audited(
    cli: Any, moved: Path, base: Path, donor: Path, prose: Path
) -> None:
    line = ("audit", moved, "--against", base, "--donor", donor / "tokenizer.json", "--text", prose, "--json")
    ran = cli(*line)
    assert ran.code in (0, 1) and set(ran.document["sections"]) == {"model", "base"}
    assert "is a tokenizer without weights" in ran.err and "error" not in ran.err
