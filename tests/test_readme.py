"""README and docs next to truth: marked commands exist, every `tokswap` line parses, every link leads somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tokswap_cli import app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *ROOT.glob("benchmarks/*.md"),
]
FENCE = re.compile(r"^```(?:bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def commands(page: Path) -> Iterator[str]:
    """Yield each `tokswap …` call in the page's shell blocks, continued lines joined."""
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for call in calls(line.removeprefix("$ ")):
                if Path(call[0]).name == "tokswap":
                    yield shlex.join(call)


def calls(line: str) -> Iterator[list[str]]:
    """Split a shell line into its calls: comments and redirections left out, what is quoted left alone."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True  # else it also splits at the characters of no word, such as @
    reader.commenters = ""  # shlex would begin a comment inside a word too
    call: list[str] = []
    target = False  # is the next word that of a redirection?
    for word in reader:
        if target:
            target = False
        elif word.startswith("#"):
            break
        elif re.fullmatch("[<>]+[&|]?|&>+", word):
            target = True
            if call and call[-1] in ("1", "2"):
                call.pop()
        elif re.fullmatch("[();<>|&]+", word):
            if call:
                yield call
            call = []
        else:
            call.append(word)
    if call:
        yield call


CALLS = [(page.name, call) for page in PAGES for call in commands(page)]


@pytest.mark.parametrize("mark", ["transplant", "test"])
def test_marked_commands_stand_in_the_readme(mark: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"^<!-- {mark} -->\n```bash\n(.+)\n```$", readme, re.MULTILINE)
    assert block, f"continuous integration runs the block after <!-- {mark} -->"
    assert "\n" not in block[1], "one line each"
    assert "-c constraints.txt" in block[1]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "tokswap models --json | head -3; tokswap methods",
            ["tokswap models --json", "head -3", "tokswap methods"],
        ),
        ("tokswap inspect a --tokens 'a|b; c # d && e'", ["tokswap inspect a --tokens 'a|b; c # d && e'"]),
        ("tokswap models > out.txt 2> /dev/null # all of them", ["tokswap models"]),
        ("tokswap models 2>&1 | grep x && tokswap methods", ["tokswap models", "grep x", "tokswap methods"]),
        (
            "tokswap evaluate a --fail-if 'bpb[french]>1.2x'",
            ["tokswap evaluate a --fail-if 'bpb[french]>1.2x'"],
        ),
        ("# tokswap models", []),
    ],
)
def test_shell_lines_are_split_as_a_shell_does(line: str, found: list[str]) -> None:
    assert list(map(shlex.join, calls(line))) == found


def test_there_are_commands_to_check() -> None:
    assert len(CALLS) > 10


@pytest.mark.parametrize(("page", "call"), CALLS, ids=[f"{p}: {c[:60]}" for p, c in CALLS])
def test_every_documented_call_parses(page: str, call: str) -> None:
    words = shlex.split(call)[1:]
    command: Any = typer.main.get_command(app.app)
    context = command.make_context("tokswap", ["models"])
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        name = words.pop(0)
        command = command.get_command(context, name)
        assert command is not None, f"{page}: no command {name!r}"
        context = command.context_class(command, info_name=name, parent=context)
    if {"--help", "-h", "--version"} & set(words):
        return
    try:
        command.make_context(context.info_name, words, parent=context.parent)
    except app.UsageError as error:
        pytest.fail(f"{page}: {call}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
