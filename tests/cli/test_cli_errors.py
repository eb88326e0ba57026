"""Bad input: `error:` and `hint:` on stderr, nothing on stdout, exit 2, no traceback, nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def check(ran: Any, code: int = 2, errors: int | None = 1) -> tuple[str, str]:
    """Return what (a line an error) and hint of a failed command whose output is as it should be."""
    assert ran.code == code
    assert ran.out == ""
    *lines, hint = ran.err.splitlines()
    assert lines and errors in (len(lines), None), ran.err
    assert all(line.startswith("error: ") for line in lines) and hint.startswith("hint: ")
    assert "Traceback" not in ran.err and "\x1b" not in ran.err
    assert not any(words in ran.err for words in ("[Errno", "Input should", "Field required", "codec can't"))
    return "\n".join(lines), hint


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("frobnicate", "frobnicate", "--help"),
        ("transplan --dry-run", "transplan", "--help"),
        ("transplant --bas x", "--bas", "--base"),
        ("transplant --seed many", "--seed", "transplant --help"),
        ("transplant --base", "--base", "--help"),
        ("transplant", "no base was given", "--base"),
        ("transplant --base smollm2", "no donor was given", "--donor"),
        ("transplant --base a --donor b", "no output folder", "--out"),
        ("transplant --base smolm2 --donor gemma3 --dry-run", "smolm2", "did you mean smollm2"),
        ("transplant --base ./nowhere --donor b --dry-run", "no such file or folder", "path"),
        ("transplant --base a --donor b --out c --method ompp", "no method 'ompp'", "omp"),
        ("transplant --base a --donor b --out c --method os.system", "no method", "methods are"),
        ("transplant --base a --donor b --out c --method omp --set k=many", "k:", "k=64"),
        ("transplant --base a --donor b --out c --method omp --set q=1", "there is no 'q'", "k=64"),
        ("transplant --base a --donor b --out c --set k=8", "parameters belong to one method", "--method"),
        ("transplant --base a --donor b --out c --method omp --set k", "--set 'k'", "--set k=8"),
        ("transplant --base a --donor b --out c --method omp --set =8", "--set '=8'", "--set k=8"),
        ("transplant --base a --donor b --out c --map x", "--map 'x'", "--map"),
        ("transplant --base a --donor b --out c --calibrate perhaps", "calibrate", "fields"),
        ("transplant --base a --donor b --out c --pad-vocab-to 0", "pad_vocab_to", "fields"),
        ("transplant -c gemma3-smolm2 --dry-run", "no recipe", "gemma3-smollm2"),
        ("transplant -c nowhere/recipe.yaml", "no recipe", "those that ship"),
        ("transplant --base a --donor b --out c --report nowhere/r.html", "folder", "--report"),
        ("transplant --base a --donor b --out c --report .", "is a folder", "report.html"),
        ("evaluate", "argument", "evaluate --help"),
        ("evaluate nowhere", "nowhere", "tokswap models"),
        ("evaluate ./nowhere", "no such file", "path"),
        ("evaluate smollm2 --fail-if bpb<1", "no comparison", "bpb>1.10x"),
        ("evaluate smollm2 --fail-if ppl>1", "ppl", "bpb>1.10x"),
        ("evaluate ./x --fail-if bpb>1.1x", "compares with a base", "--against"),
        ("evaluate ./x --fail-if mass>0.3", "compares with a base", "--against"),
        ("evaluate ./x --against ./y --fail-if bpb[frenhc]>1.1x", "'frenhc', which isn't scored", "'french'"),
        ("evaluate smollm2 --text nowhere.txt", "nowhere.txt", "plain text"),
        ("evaluate smollm2 --report nowhere/r.html", "folder", "--report"),
        ("inspect nowhere", "nowhere", "tokswap models"),
        ("compare smollm2", "argument", "compare --help"),
        ("compare ./a ./b", "no such file or folder", "path"),
        ("models fetch smolm2", "smolm2", "smollm2"),
        ("models fetch", "argument", "--help"),
        ("methods onp", "no method 'onp'", "omp"),
        ("recipes show zz", "no recipe 'zz'", "gemma3-smollm2"),
        ("recipes validate zz.yaml", "no recipe", "those that ship"),
        ("recipes frob", "frob", "--help"),
    ],
)
def test_bad_input(cli: Any, line: str, what: str, hint: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    error, advice = check(cli(*line.split()), errors=None)
    assert what.lower() in error.lower()
    assert hint.lower() in advice.lower()
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_a_recipe_is_told_all_its_errors_at_once(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("base: a\ndonnor: b\nmetod: omp\nseed: -1\n")
    for command in (("recipes", "validate", path), ("recipes", "run", path)):
        ran = cli(*command)
        if command[1] == "validate":
            error, _ = check(ran, errors=4)
            assert all(
                name in error for name in ("'donnor' (did you mean 'donor'?)", "metod", "seed", "donor:")
            )
        else:
            error, _ = check(ran, errors=4)
            assert all(name in error for name in ("no donor was given", "'donnor'", "metod", "seed"))


def test_each_kind_of_recipe_tells_its_errors_in_the_same_way(cli: Any, tmp_path: Path) -> None:
    """Names are those that the person wrote, where a value may be of several types too."""
    cases = {
        "base: a\ndonor: b\nmap: {x: [y]}\nkeep_digits: no\nmethod: omp\nparameters: {k: x, kk: 1}\n": (
            "the recipe is not right: map.x: must be text",
            "the recipe is not right: keep_digits: must be 'base' or 'donor'",
            "the recipe is not right: method omp: k: must be a whole number",
            "the recipe is not right: method omp: there is no 'kk' (did you mean 'k'?)",
        ),
        "kind: leaderboard\npairs: {x: {base: 1}}\nrows: {q: 3}\nmax_bytes: 0\n": (
            "the leaderboard is not right: pairs.x.base: must be text",
            "the leaderboard is not right: pairs.x.donor: is missing",
            "the leaderboard is not right: rows.q: must be text or names with values",
            "the leaderboard is not right: max_bytes: must be 1 or more",
        ),
        "kind: mixture-experiment\ncategories: {a: [1]}\noverlap: 7\ntrain_bytes: -1\n": (
            "the experiment is not right: categories.a: must be text",
            "the experiment is not right: categories.a.0: must be text",
            "the experiment is not right: train_bytes: must be above 0.0",
            "the experiment is not right: overlap: must be true or false",
        ),
    }
    for text, expected in cases.items():
        (tmp_path / "bad.yaml").write_text(text)
        error, hint = check(cli("recipes", "validate", tmp_path / "bad.yaml"), errors=4)
        assert error.split("\n") == [f"error: {line}" for line in expected]
        assert "its fields are" in hint


def test_files_that_are_no_recipes_are_said_so_in_our_words(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    for content, words in (
        (b"\xff\xfe", "can't be read: it isn't UTF-8 (byte 0)"),
        (b"a: b: c", "is no YAML: line 1, column 5: mapping values"),
    ):
        path.write_bytes(content)
        assert words in check(cli("recipes", "validate", path))[0]
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": [1,')
    assert "line 1, column 24" in check(cli("inspect", tmp_path / "tokenizer.json"))[0]


def test_a_shipped_recipe_says_where_it_says_what_it_needs(
    cli: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    _, hint = check(cli("recipes", "run", "dry-run-70b", "--dry-run"))
    assert hint.startswith("hint: `tokswap recipes show dry-run-70b` says what it needs; ")


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x\n", "- 1\n", "", "a: [1", "\x00", "base: {a: 1}\n"])
def test_no_recipe_at_all(cli: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    check(cli("recipes", "validate", path), errors=None)


def test_output_inside_the_base(cli: Any, base: Path, donor: Path) -> None:
    before = sorted(base.iterdir())
    for out in (base, base / "new"):
        ran = cli("transplant", "--base", base, "--donor", donor, "--out", out, "--overwrite", "-q")
        assert "base" in check(ran)[0]
    assert sorted(base.iterdir()) == before


def test_output_that_exists(cli: Any, base: Path, donor: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    ran = cli("transplant", "--base", base, "--donor", donor, "--out", tmp_path / "out", "-q")
    assert "--overwrite" in check(ran)[1]


def test_broken_tokenizer(cli: Any, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"type": "\x1b[31mX", "vocab": {}}}))
    for line in (
        ("inspect", path),
        ("compare", path, base),
        ("transplant", "--base", base, "--donor", path, "--dry-run"),
    ):
        check(cli(*line, "-q"))


def test_a_map_of_unknown_tokens(cli: Any, base: Path, donor: Path) -> None:
    line = ("transplant", "--base", base, "--donor", donor, "--dry-run", "--map", "\x1b[31m=<s>")
    assert "\\x1b" in check(cli(*line))[0]


def broken(*_: object, **__: object) -> None:
    raise RuntimeError("boom \x1b[31m\nsecond line")


def test_a_files_trouble_that_nothing_foresaw_is_the_systems_word_for_it(
    cli: Any, tmp_path: Path, prose: Path, base: Path
) -> None:
    """A name of 5,000 letters; it is not repeated in full."""
    name = tmp_path / ("a" * 5000)
    for line in (
        ("compare", base, base, "--text", name),
        ("compare", base, base, "--text", prose, "--words", f"prose={name}"),
        ("recipes", "validate", name),
        ("recipes", "cp", "gemma3-smollm2", name),
    ):
        error, _ = check(cli(*line))
        assert error.endswith("…: File name too long") and len(error) < 300


def test_values_of_the_wrong_kind_are_said_so_in_our_words(cli: Any) -> None:
    for line, words in (
        ("evaluate x --max-bytes abc", "invalid value for '--max-bytes': it must be a whole number"),
        ("evaluate x --max-bytes 0", "it must be 1 or more"),
        ("infer-mixture x --gap foo", "it must be a number"),
    ):
        assert check(cli(*line.split()))[0].endswith(words)


@pytest.mark.parametrize("content", ["", "[]", "1e999", "[" * 50_000])
def test_a_json_file_that_is_no_tokenizer(cli: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    assert "JSON" in check(cli("inspect", tmp_path / "x.json"))[0]


@pytest.mark.parametrize("files", [{"x.aff": "SFX S 0\nSFX\nAF\nFLAG\n"}, {"x.aff": ""}, {"x.aff": "SET\n"}])
def test_damaged_rules_of_a_dictionary_are_no_rules(
    cli: Any, tmp_path: Path, base: Path, prose: Path, files: dict[str, str]
) -> None:
    (tmp_path / "x.dic").write_text("2\nthe/S\no/S\n")
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    ran = cli("compare", base, base, "--text", prose, "--words", f"prose={tmp_path / 'x.dic'}", "--json")
    assert ran.code == 0 and "no affixes" in ran.err
    figures = ran.document["sections"]["metrics"]["sections"]["prose"]["sections"]
    assert all(0 < its["figures"]["valid_tokens"]["value"] < 1 for its in figures.values())


def test_internal_errors_are_two_lines_too(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokswap.sources.list_models", broken)
    error, hint = check(cli("models"))
    assert error == r"error: internal: RuntimeError: boom \x1b[31m second line"
    assert "--debug" in hint


@pytest.mark.parametrize("line", ["--debug models", "models --debug"])
def test_debug_shows_the_traceback(cli: Any, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr("tokswap.sources.list_models", broken)
    ran = cli(*line.split())
    assert ran.code == 2 and "Traceback" in ran.err and "hint: " in ran.err


def test_debug_shows_where_bad_input_was_refused(cli: Any) -> None:
    assert "Traceback" in cli("--debug", "methods", "onp").err


class Panic(BaseException):
    """What pyo3 raises when a Rust library panics is no Exception."""


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (Panic, 2), (MemoryError, 2)])
def test_what_is_no_exception(cli: Any, monkeypatch: pytest.MonkeyPatch, raised: Any, code: int) -> None:
    def stop() -> None:
        raise raised

    monkeypatch.setattr("tokswap.sources.list_models", stop)
    ran = cli("models")
    assert ran.code == code and ran.out == "" and "Traceback" not in ran.err
    assert len(ran.err.splitlines()) == (1 if code == 130 else 2)


def test_a_reader_that_leaves_is_no_error() -> None:
    command = [sys.executable, "-m", "tokswap_cli", "models", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout and child.stderr
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 141
