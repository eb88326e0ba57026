"""`tokswap doctor`: this machine, and a model or tokenizer before it is used."""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.progress import progress
from tokswap_cli.verify import leave

EPILOG = options.examples("tokswap doctor", "tokswap doctor smollm2", "tokswap doctor tokenizer.json --json")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog=EPILOG)(doctor)


def doctor(
    source: Annotated[
        str | None,
        typer.Argument(help="A folder, a tokenizer.json, a .gguf, an alias or a Hub id to look at."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Look for what would fail or spoil a transplant.

    Versions, device, cache and disk; with a source its tokenizer and weights too. Exits with 1 when it found a fault.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    with progress(()) as on_progress:
        report = api.doctor(source, on_progress=on_progress)
    output.show(report)
    leave(report.facts["sound"], report.figures["failed"].value)
