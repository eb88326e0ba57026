"""`tokswap verify`: is a checkpoint folder sound, whichever tool wrote it?"""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap verify gemma3-smollm2",
    "tokswap verify gemma3-smollm2 --against gemma3 --json",
    "tokswap verify a-70b-model --files-only",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", epilog=EPILOG)(verify)


def verify(
    folder: Annotated[str, typer.Argument(help="The checkpoint folder, written by any tool.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="BASE",
            help="The model it came from: its body must be in the folder unchanged, e.g. --against gemma3.",
        ),
    ] = None,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Don't load the model: look at its files only.")
    ] = False,
    device: options.Device = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Check a checkpoint from its files to its hidden states.

    Exits with 1 when a check failed. What can't be checked is said, with the reason.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    with progress(()) as on_progress:
        report = api.verify(
            folder, against=against, run=not files_only, device=device or "auto", on_progress=on_progress
        )
    output.show(report)
    leave(report.facts["sound"], report.figures["failed"].value)


def leave(sound: bool, failed: float) -> None:
    """End with 1 and a sentence when the answer is no."""
    if not sound:
        output.warn([f"{failed} {'check' if failed == 1 else 'checks'} failed"])
        raise typer.Exit(1)
