"""Help is complete, its examples can be run as they stand, and it answers at once."""

from __future__ import annotations

import ast
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tokswap import __version__
from tokswap_cli.app import app

HEAVY = ("torch", "transformers", "tokenizers", "sklearn", "scipy", "numpy", "pydantic", "yaml")
ALLOWED_SECONDS = 0.5


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield (words, command) of the tree, groups too."""

    def walk(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
        yield words, command
        for name, child in getattr(command, "commands", {}).items():
            yield from walk((*words, name), child)

    yield from walk((), typer.main.get_command(app))


TREE = dict(commands())


def test_the_tree_is_what_is_documented() -> None:
    top = {words[0] for words in TREE if len(words) == 1}
    assert top == {
        "supertokens",
        "transplant",
        "heal",
        "hypernet",
        "trim",
        "replace",
        "verify",
        "restore",
        "doctor",
        "audit",
        "evaluate",
        "acceptance",
        "inspect",
        "compare",
        "leaderboard",
        "infer-mixture",
        "models",
        "methods",
        "recipes",
    }
    assert {w[1] for w in TREE if w[:1] == ("recipes",) and len(w) == 2} == {
        "ls",
        "show",
        "cp",
        "validate",
        "run",
    }


@pytest.mark.parametrize("words", TREE, ids=" ".join)
def test_every_option_has_help_and_stands_in_it(words: tuple[str, ...], cli: Any) -> None:
    ran = cli(*words, "--help")
    assert ran.code == 0 and not ran.err
    assert TREE[words].help, "a command says what it does"
    for parameter in TREE[words].params:
        assert getattr(parameter, "help", None), f"{words} {parameter.name} has no help"
        for name in [o for o in parameter.opts if o.startswith("--")]:
            assert name in ran.out
    assert "Examples:" in ran.out


def test_the_command_alone_prints_its_help(cli: Any) -> None:
    ran = cli()
    assert ran.code == 2 and not ran.err
    assert ran.out == cli("--help").out


@pytest.mark.parametrize("words", [w for w in TREE if w and getattr(TREE[w], "commands", None)], ids=" ".join)
def test_a_group_alone_lists_what_there_is(words: tuple[str, ...], cli: Any) -> None:
    ran = cli(*words)
    assert ran.code == 0
    if TREE[words].invoke_without_command:
        assert "hint: " in ran.err
        assert cli(*words, "--json").document["facts"][words[0]]
    else:
        assert ran.out == cli(*words, "--help").out


@pytest.mark.parametrize("words", [w for w in TREE if w], ids=" ".join)
def test_commands_speak_json_and_can_be_quiet(words: tuple[str, ...]) -> None:
    command = TREE[words]
    if not getattr(command, "invoke_without_command", True):
        return  # a group that does nothing by itself
    names = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--quiet"} <= names


@pytest.mark.parametrize("words", TREE, ids=" ".join)
def test_examples_parse(words: tuple[str, ...]) -> None:
    lines = [line.strip() for line in (TREE[words].epilog or "").splitlines() if line.startswith("  ")]
    assert lines
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "tokswap"
        command, at = TREE[()], 0
        while at < len(arguments) and arguments[at] in getattr(command, "commands", {}):
            command, at = command.commands[arguments[at]], at + 1
        command.make_context(line, arguments[at:])


def sentences() -> Iterator[tuple[str, str]]:
    """Yield (file, text) of the strings of several words in both packages: hints, messages, help."""
    root = Path(__file__).parents[2]
    for path in [*root.glob("tokswap/**/*.py"), *root.glob("cli/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
                yield path.name, node.value


OF_OTHER_PROGRAMS = {"--merge"}  # llama-gguf-split


def test_hints_name_what_exists() -> None:
    options = {
        name for command in TREE.values() for p in command.params for name in (*p.opts, *p.secondary_opts)
    }
    options |= {"--help", *OF_OTHER_PROGRAMS}
    calls = 0
    for file, text in sentences():
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= options, f"{file}: {text}"
        for call in re.findall(r"(?:`|with: |then: )tokswap ([a-z][a-z-]*(?: [a-z]+)?)", text):
            command, _, more = call.partition(" ")
            assert (command,) in TREE, f"{file}: {text}"
            children = getattr(TREE[(command,)], "commands", {})
            assert not children or not more or more in children, f"{file}: {text}"
            calls += 1
    assert calls > 10


def test_version(cli: Any) -> None:
    assert cli("--version").out == f"tokswap {__version__}\n"


def child_seconds() -> float:
    """CPU seconds of all children that have ended: on a busy machine the clock on the wall says nothing."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tokswap_cli.app import main; code = main(['--help']);"
        f"print(code, [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    seconds: list[float] = []
    for _ in range(4):
        start = child_seconds()
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds.append(child_seconds() - start)
        assert ran.stderr.strip() == "0 []"
    assert min(seconds) < ALLOWED_SECONDS
