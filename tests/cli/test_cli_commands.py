"""What the commands print: tables for a person, one JSON document for a program, nothing else on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tokswap.display.tables import pairs
from tokswap.report import SCHEMA_VERSION, Report
from tokswap_cli import output


def test_models(cli: Any) -> None:
    ran = cli("models")
    assert ran.code == 0 and "smollm2" in ran.out and "Apache-2.0" in ran.out
    assert ran.err.startswith("hint: ")
    entries = cli("models", "--json").document["facts"]["models"]
    first = next(entry for entry in entries if entry["alias"] == "smollm2")
    assert first["available"] is False and first["size_bytes"] > 0 and first["licence"] == "Apache-2.0"


def test_fetch_prints_the_folder(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokswap.sources.fetch", lambda name, on_progress=None: Path("/models") / name)
    assert cli("models", "fetch", "smollm2").out == "/models/smollm2\n"
    assert cli("models", "fetch", "smollm2", "--json").document["facts"]["folder"] == "/models/smollm2"


def test_methods(cli: Any) -> None:
    ran = cli("methods")
    assert "omp" in ran.out and "k=64" in ran.out and "arXiv:2506.06607" in ran.out
    (omp,) = cli("methods", "omp", "--json").document["facts"]["methods"]
    assert omp["parameters"]["k"] == {"default": 64, "type": "int", "bounds": "at least 1"}
    assert "--set k" in cli("methods", "omp").out
    for name in ("omp", "subword", "nearest", "map"):
        assert "Raises" not in cli("methods", name).out and "TokswapError" not in cli("methods", name).out
    kinds = cli("methods", "subword", "--json").document["facts"]["methods"][0]["parameters"]
    assert kinds["output_weights"]["type"].endswith("or None")


def test_inspect(cli: Any, base: Path) -> None:
    document = cli("inspect", base, "--json", "--tokens", "the wall\x1b").document
    facts, figures = document["facts"], document["figures"]
    assert facts["tokenizer"] == "byte-level BPE" and facts["start_token"] == "<s>"
    assert figures["rows"]["value"] == 304 and figures["single_bytes_covered"]["value"] == 256
    assert document["sections"]["embeddings"]["facts"]["tensors"][0]["shape"] == [304, 32]
    pieces = document["sections"]["cut"]["facts"]["pieces"]
    assert pieces[-1]["piece"] == "\\x1b" and sum(p["bytes"] for p in pieces) == 9
    assert "model.embed_tokens.weight" in cli("inspect", base).out


def test_inspect_a_tokenizer_alone(cli: Any, donor: Path) -> None:
    ran = cli("inspect", donor / "tokenizer.json")
    assert "SentencePiece BPE with byte fallback" in ran.out
    assert "warning: a tokenizer without weights" in ran.err


def test_compare(cli: Any, base: Path, donor: Path, prose: Path) -> None:
    ran = cli("compare", base, donor, "--text", prose)
    assert ran.code == 0 and "prose" in ran.out and "single digits" in ran.out
    document = cli("compare", base, donor, "--text", prose, "--json").document
    assert set(document["sections"]["texts"]["sections"]) == {"prose"}


def test_titles_and_notes_are_as_wide_as_the_terminal_not_as_their_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    title, note = (
        "A title that is longer than its narrow table",
        "and a note that is much longer still than it",
    )
    output.begin()
    tables = [pairs(title, [("a", "1"), ("b", "2")], note=note)]
    for width, lines in ((60, [title, "a   1", "b   2", note]), (30, None)):
        monkeypatch.setenv("COLUMNS", str(width))
        output.show(Report("x"), tables)
        shown = capsys.readouterr().out.splitlines()
        assert lines in (shown, None)
        assert max(map(len, shown)) <= width and len(shown) == (4 if lines else 6)


def test_evaluate_with_gates(cli: Any, base: Path, donor: Path, prose: Path) -> None:
    line = ("evaluate", base, "--text", prose, "--max-bytes", "300", "--device", "cpu", "--dtype", "float32")
    ran = cli(*line, "--json", "--quiet", "--fail-if", "bpb>99")
    assert ran.code == 0
    assert ran.document["facts"]["gates"][0]["failed"] is False
    ran = cli(*line, "--json", "--fail-if", "bpb>99", "--fail-if", "bpb[prose]>0.01")
    assert ran.code == 1
    assert [gate["failed"] for gate in ran.document["facts"]["gates"]] == [False, True]
    assert "bits per byte on prose: above the limit of 0.01" in ran.err


def test_the_stride_follows_the_window(cli: Any, base: Path, prose: Path) -> None:
    facts = cli("evaluate", base, "--text", prose, "--window-bytes", "512", "--json").document["facts"]
    assert (facts["window_bytes"], facts["stride_bytes"]) == (512, 256)


def test_evaluate_against_a_base(cli: Any, base: Path, donor: Path, prose: Path) -> None:
    ran = cli(
        "evaluate", donor, "--against", base, "--text", prose, "--max-bytes", "200", "--fail-if", "bpb>50x"
    )
    assert ran.code == 0
    assert "new / base" in ran.out and "all texts" in ran.out and "passed" in ran.out


@pytest.mark.parametrize(
    "line",
    [
        "models",
        "methods",
        "methods omp",
        "recipes ls",
        "recipes show gemma3-smollm2",
        "recipes validate gemma3-smollm2",
        "recipes cp gemma3-smollm2 {tmp}/mine.yaml",
        "inspect {base} --tokens x",
        "compare {base} {donor} --text {prose}",
        "transplant --base {base} --donor {donor} --dry-run",
        "evaluate {base} --text {prose} --max-bytes 64",
    ],
)
def test_json_is_one_document_with_a_version(
    cli: Any, line: str, base: Path, donor: Path, prose: Path, tmp_path: Path
) -> None:
    words = line.format(base=base, donor=donor, prose=prose, tmp=tmp_path).split()
    ran = cli(*words, "--json", "-q")
    assert ran.code == 0
    assert ran.document["schema_version"] == SCHEMA_VERSION and ran.document["kind"]
    assert not [line for line in ran.err.splitlines() if not line.startswith("warning: ")]


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_no_token_reaches_the_terminal_alive(cli: Any, base: Path, donor: Path, how: tuple[str, ...]) -> None:
    """The base has a special token that would switch colours and the direction of text."""
    for line in (
        ("inspect", base, "--tokens", "\x1b]0;title\x07 \u202e\u200b \x9b1m"),
        ("compare", base, donor),
        ("transplant", "--base", donor, "--donor", base, "--dry-run"),
    ):
        ran = cli(*line, *how)
        assert ran.code == 0
        assert not [c for c in ran.out + ran.err if c != "\n" and not c.isprintable()]


def test_recipes(cli: Any, tmp_path: Path) -> None:
    assert "gemma3-smollm2" in cli("recipes", "ls").out
    shown = cli("recipes", "show", "gemma3-smollm2").out
    target = tmp_path / "mine.yaml"
    assert cli("recipes", "cp", "gemma3-smollm2", target).code == 0
    assert target.read_text() == shown
    assert cli("recipes", "cp", "gemma3-smollm2", target).code == 2
    assert cli("recipes", "cp", "smollm2-gemma3", target, "--overwrite").code == 0
    assert cli("recipes", "cp", "gemma3-smollm2", tmp_path).code == 0
    assert (tmp_path / "gemma3-smollm2.yaml").exists()
    assert "kriging" in cli("recipes", "validate", target).out


def test_every_report_can_be_a_page(cli: Any, base: Path, donor: Path, prose: Path, tmp_path: Path) -> None:
    for i, line in enumerate(
        (
            ("transplant", "--base", base, "--donor", donor, "--dry-run"),
            ("evaluate", base, "--against", donor, "--text", prose, "--max-bytes", "64"),
            ("compare", base, donor, "--text", prose),
        )
    ):
        page = tmp_path / f"{i}.html"
        ran = cli(*line, "--report", page)
        assert ran.code == 0 and f"report: {page}" in ran.err
        assert page.read_text().rstrip().endswith("</html>")
