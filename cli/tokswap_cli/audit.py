"""`tokswap audit`: rows that were never trained, and rows that speak when they shouldn't."""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap audit smollm2",
    "tokswap audit gemma3-smollm2 --against gemma3 --donor smollm2",
    "tokswap audit mine --json",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit", epilog=EPILOG)(audit)


def audit(
    model: Annotated[str, typer.Argument(help="The model to look at: a folder, an alias or a Hub id.")],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="BASE",
            help="The model it came from: its rows are trusted, the new ones judged.",
        ),
    ] = None,
    donor: Annotated[
        str | None,
        typer.Option(
            "--donor", metavar="DONOR", help="Also list the donor's tokens that training never reached."
        ),
    ] = None,
    text: options.Texts = None,
    device: options.Device = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Look for rows that should not be trusted.

    Norms and logits unlike all others, tokens that win where they are wrong, tokens that training never reached. Exits
    with 1 when a row is suspicious.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    with progress(()) as on_progress:
        report = api.audit(
            model, against=against, donor=donor, texts=text, device=device or "auto", on_progress=on_progress
        )
    output.show(report)
    output.warn(report.all_warnings())
    count = report.figures["suspicious"].value
    if not report.facts["sound"]:
        output.warn([f"{count:,} {'row is' if count == 1 else 'rows are'} suspicious"])
        raise typer.Exit(1)
