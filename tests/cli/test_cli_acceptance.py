"""A draft from the command line: made, measured, and refused where it doesn't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

MADE = ("--method", "subword", "--calibrate", "none", "--no-evaluate")


@pytest.fixture(scope="module")
def draft(base: Path, donor: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tokswap

    out = tmp_path_factory.mktemp("drafts") / "draft"
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False}
    tokswap.transplant(base, donor, out=out, draft=True, **how)
    return out


def test_a_draft_is_made_and_the_next_command_named(
    cli: Any, base: Path, donor: Path, tmp_path: Path
) -> None:
    out = tmp_path / "my draft"
    ran = cli("transplant", "--base", base, "--for-draft-of", donor, "--out", out, *MADE)
    assert ran.code == 0
    assert f"tokswap acceptance '{out}' --target {donor} --against {base}" in ran.err
    assert (out / "tokenizer.json").read_text() and "<s>" in ran.out


def test_acceptance_is_printed_as_tables_and_json(
    cli: Any, draft: Path, donor: Path, base: Path, prose: Path
) -> None:
    arguments = (
        "acceptance",
        draft,
        "--target",
        donor,
        "--against",
        base,
        "--text",
        prose,
        "--max-bytes",
        "200",
    )
    shown = cli(*arguments)
    assert shown.code == 0
    for words in ("Acceptance", "Before and after", "Speed, as modelled", "under its own tokenizer"):
        assert words in shown.out
    document = cli(*arguments, "--tokens", "3", "--json").document
    assert document["kind"] == "acceptance" and document["figures"]["drafted_greedy"]["value"] == 3
    share = document["figures"]["sampled_acceptance"]
    assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("acceptance", "{base}", "--target", "{donor}"), "to the draft"),
        (("acceptance", "{draft}", "--target", "{donor}", "--tokens", "0"), "can't be drafted"),
        (("acceptance", "{draft}", "--target", "{donor}", "--cost", "nan"), "no ratio"),
        (("transplant", "--base", "{base}", "--for-draft-of", "{donor}", "--donor", "{donor}"), "both name"),
        (
            (
                "transplant",
                "--base",
                "{base}",
                "--for-draft-of",
                "{donor}",
                "--pad-vocab-to",
                "999",
                "--dry-run",
            ),
            "--pad-vocab-to",
        ),
    ],
)
def test_what_does_not_fit_is_an_error_with_a_hint(
    cli: Any, words: tuple[str, ...], said: str, base: Path, donor: Path, draft: Path, prose: Path
) -> None:
    text = ("--text", prose) if words[0] == "acceptance" else ()
    ran = cli(*(word.format(base=base, donor=donor, draft=draft) for word in words), *text)
    assert ran.code == 2 and said in ran.err and "hint: " in ran.err and not ran.out
