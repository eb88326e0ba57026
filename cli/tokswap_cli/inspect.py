"""`tokswap inspect`: what a source holds, and how its tokenizer cuts a text."""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.progress import progress

EPILOG = options.examples("tokswap inspect smollm2", "tokswap inspect gemma3 --tokens 'naïve 12345'")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", epilog=EPILOG)(inspect)


def inspect(
    source: Annotated[
        str, typer.Argument(help="A folder, a tokenizer.json, a .gguf, an alias or a Hub id, e.g. smollm2.")
    ],
    tokens: Annotated[
        str | None,
        typer.Option("--tokens", metavar="TEXT", help="Show how a text is cut, e.g. --tokens 'Hello, 2024'."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what a model or tokenizer holds.

    Its vocabulary, special tokens and embeddings are read, but no weights.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.inspection import inspect_checkpoint
    from tokswap.sources import open_source

    with progress(()) as on_progress:
        checkpoint = open_source(source, weights=False, only_headers=True, on_progress=on_progress)
        report = inspect_checkpoint(checkpoint, text=tokens)
    output.show(report)
    output.warn(report.all_warnings())
