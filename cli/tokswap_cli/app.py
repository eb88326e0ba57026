"""The `tokswap` command: global options, the list of commands, and what becomes of every error.

Nothing heavy is imported before a command runs: `tokswap --help` answers at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from tokswap import __version__
from tokswap.errors import TokswapError
from tokswap_cli import (
    acceptance,
    audit,
    compare,
    doctor,
    evaluate,
    heal,
    hypernet,
    infer_mixture,
    inspect,
    leaderboard,
    methods,
    models,
    output,
    recipes,
    replace,
    restore,
    supertokens,
    transplant,
    trim,
    verify,
)

INTERRUPTED = 130
BAD_INPUT = 2
LONGEST_NAME = 200  # letters of a path in a message
_REPORT = "run it again with --debug and report what it prints"
# What typer passes on of pydantic's words for a value of the wrong kind.
_VALUES = {
    r"Input should be a valid integer.*": "it must be a whole number",
    r"Input should be a valid number.*": "it must be a number",
    r"Input should be (?:greater than or equal to|at least) (.+)": r"it must be \1 or more",
    r"Input should be (?:less than or equal to|at most) (.+)": r"it must be \1 or less",
}
# The class of typer's own complaints about a command line. typer carries click inside since 0.20 and imports it
# before: this is its UsageError either way.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
# Libraries that would draw or warn by themselves; a person who sets these keeps the setting.
QUIET_LIBRARIES = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "true",
}

app = typer.Typer(
    name="tokswap",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=transplant.EPILOG,
)
for module in (
    transplant,
    heal,
    hypernet,
    trim,
    replace,
    supertokens,
    verify,
    restore,
    doctor,
    audit,
    evaluate,
    acceptance,
    inspect,
    compare,
    infer_mixture,
    leaderboard,
    models,
    methods,
    recipes,
):
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        output.text(f"tokswap {__version__}")
        raise typer.Exit


@app.callback()
def tokswap(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the warnings of libraries.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Move a language model onto another tokenizer, and say honestly what it cost."""
    del version  # its callback has answered
    output.settings.debug = debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 the answer is no, 2 bad input, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # --debug is global, and is wanted most behind a command that has just failed: it may stand anywhere.
    debug = "--debug" in given
    given = ["--debug"] * debug + [a for a in given if a != "--debug"]
    output.settings.debug = debug
    output.prepare_streams()
    _calm_libraries(debug)
    try:
        code = app(given, prog_name="tokswap", standalone_mode=False)
    except TokswapError as error:
        return _fail(*error.lines, hint=error.hint)
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its message is the help
            output.text(str(error))
            return 0 if _of_group(error) else BAD_INPUT
        what, hint = _usage(error)
        return _fail(what, hint=hint)
    except OSError as error:
        if error.strerror is None:
            return _fail(f"internal: {type(error).__name__}: {error}", hint=_REPORT)
        return _fail(_file_trouble(error), hint="check the path, its permissions and the space on that disk")
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except MemoryError:
        return _fail(
            "there is not enough memory for this", hint="close other programs, or take a machine with more"
        )
    except SystemExit:
        raise
    except BaseException as error:  # a panic of a Rust library is no Exception
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        return _fail(f"internal: {what}", hint=_REPORT)
    if code == INTERRUPTED:
        output.interrupted("nothing half-done is left; the same command goes on from there")
    return int(code or 0)


def _fail(*lines: str, hint: str) -> int:
    try:
        if output.settings.debug:
            output.traceback()
        output.error(*lines, hint=hint)
    except typer.Exit:
        pass  # whoever read stderr has gone
    return BAD_INPUT


def _file_trouble(error: OSError) -> str:
    """Return what the system said of which file; a name that is too long is not said in full."""
    name = str(error.filename or "a file")
    shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
    return f"{shown}: {error.strerror}"


def _of_group(error: Exception) -> bool:
    """Was a group of commands named? That asks what is in it; `tokswap` alone does nothing, and says so."""
    context = getattr(error, "ctx", None)
    return getattr(context, "parent", None) is not None


def _usage(error: Exception) -> tuple[str, str]:
    """Turn typer's complaint into what and hint."""
    what = str(getattr(error, "message", error)).rstrip(".")
    formatted = str(getattr(error, "format_message", lambda: what)()).rstrip(".")
    near = getattr(error, "possibilities", None)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tokswap"
    hint = f"`{command} --help` lists what it takes"
    if near:
        return _lower(what), f"did you mean {' or '.join(sorted(near))}? {hint}"
    if context is not None and _of_group(error) and hasattr(context.command, "list_commands"):
        return _lower(
            formatted
        ), f"its commands are {', '.join(context.command.list_commands(context))}; {hint}"
    return _lower(formatted), hint


def _lower(sentence: str) -> str:
    """Return typer's sentence as the rest of a line; what pydantic puts into it is said in our words."""
    for theirs, ours in _VALUES.items():
        sentence = re.sub(theirs, ours, sentence)
    return sentence[:1].lower() + sentence[1:]


def _calm_libraries(debug: bool) -> None:
    if debug:
        return
    import warnings

    warnings.simplefilter("ignore")
    for name, value in QUIET_LIBRARIES.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    sys.exit(main())
