"""The only module that prints: data to stdout, messages to stderr, and nothing that a terminal would obey.

Whatever reaches a person is escaped here or was by `tokswap.display`; rich's own markup is off throughout.
"""

from __future__ import annotations

import os
import sys
import traceback as tracebacks
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from tokswap.display import Table
    from tokswap.report import Report

# Columns where stdout is no terminal: tables in a file or a pipe shouldn't be squeezed into rich's 80.
PIPE_WIDTH = 120
BROKEN_PIPE = 141  # what a shell reports for a program that SIGPIPE ended


@dataclass
class Settings:
    """How this run of the command speaks; `begin` sets it anew for each command."""

    quiet: bool = False
    as_json: bool = False
    debug: bool = False


settings = Settings()


def begin(*, quiet: bool = False, as_json: bool = False) -> None:
    """Take over a command's --quiet and --json."""
    settings.quiet, settings.as_json = quiet, as_json


def prepare_streams() -> None:
    """Let characters that the terminal's encoding lacks come out as escapes, not as errors."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def show(report: Report, tables: Sequence[Table] | None = None) -> None:
    """Print a report on stdout: one JSON document with --json, else its tables."""
    from tokswap.display import safe_json, tables_of

    if settings.as_json:
        text(safe_json(report.to_json()))
        return
    console = console_for(sys.stdout)
    with console.capture() as drawn:  # printed below: rich ends the program by itself on a broken pipe
        for i, table in enumerate(tables_of(report) if tables is None else tables):
            console.print("\n" * bool(i), _drawn(table), sep="", end="")
    text("\n".join(line.rstrip() for line in drawn.get().splitlines()))  # rich fills cells up with spaces


def text(content: str) -> None:
    """Print text on stdout as it is: a document, a recipe, a version."""
    _to_stdout(lambda: print(content.rstrip("\n"), flush=True))


def message(words: str) -> None:
    """Say something in passing on stderr, unless --quiet."""
    if not settings.quiet:
        _to_stderr("", words)


def warn(warnings: Sequence[str]) -> None:
    """Print warnings on stderr, with --quiet too: a model that is silently wrong costs more than a line."""
    for words in warnings:
        _to_stderr("warning: ", words)


def hint(words: str) -> None:
    """Print what to do next on stderr, unless --quiet."""
    if not settings.quiet:
        _to_stderr("hint: ", words)


def planned(out: str) -> None:
    """Say that nothing was written, and what else it takes to write it."""
    hint(f"nothing was written; without --dry-run{'' if out else ', and with --out,'} this is carried out")


def interrupted(words: str) -> None:
    """Print the one line that a person who pressed Ctrl-C gets, with --quiet too."""
    _to_stderr("interrupted: ", words)


def error(*what: str, hint: str) -> None:
    """Print what failed and what to do about it, a line each, on stderr."""
    for words in what:
        _to_stderr("error: ", words)
    _to_stderr("hint: ", hint)


def traceback() -> None:
    """Print the current exception in full on stderr: only with --debug."""
    print(tracebacks.format_exc(), file=sys.stderr)


def console_for(stream: Any) -> Console:
    """Return a rich console that takes texts as they are."""
    from rich.console import Console

    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, markup=False, highlight=False, emoji=False, width=width)


def _drawn(table: Table) -> Any:
    """Return a rich table under its title; long cells wrap, none is cut.

    Title and note stand outside: rich would wrap them to the width of the table, however narrow it is.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    out = RichTable(
        box=box.SIMPLE_HEAD if any(table.columns) else box.SIMPLE,
        show_header=any(table.columns),
        show_edge=False,
        pad_edge=False,
    )
    for i, name in enumerate(table.columns):
        out.add_column(Text(name), justify="right" if table.is_right(i) else "left", overflow="fold")
    for row in table.rows:
        out.add_row(*(Text(cell) for cell in row))
    note = [Text(table.note, style="italic")] if table.note else []
    return Group(Text(table.title, style="bold"), out, *note)


def _to_stdout(write: Callable[[], object]) -> None:
    """Print, and leave quietly when whoever read it has gone (`tokswap models | head`)."""
    try:
        write()
    except BrokenPipeError:
        # Python flushes stdout once more at exit, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(BROKEN_PIPE) from None


def _to_stderr(prefix: str, words: str) -> None:
    from tokswap.display import one_line

    try:
        print(prefix + one_line(words), file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise typer.Exit(BROKEN_PIPE) from None
