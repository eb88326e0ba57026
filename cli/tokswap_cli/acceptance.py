"""`tokswap acceptance`: how many of a draft's tokens a target keeps, and how fast that makes it."""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap acceptance smollm2-for-gemma3 --target gemma3",
    "tokswap acceptance smollm2-for-gemma3 --target gemma3 --against smollm2 --text code.txt --tokens 4",
    "tokswap acceptance smollm2-for-gemma3 --target gemma3 --cost 0.2 --max-bytes 4000 --json",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("acceptance", epilog=EPILOG)(acceptance)


def acceptance(
    draft: Annotated[
        str,
        typer.Argument(
            help="The draft: a folder that `transplant --for-draft-of` wrote, or any of that kind."
        ),
    ],
    target: Annotated[
        str,
        typer.Option("--target", metavar="MODEL", help="The model that it drafts for, e.g. --target gemma3."),
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="BASE",
            help="The model that the draft came from, asked under its own tokenizer, e.g. --against smollm2.",
        ),
    ] = None,
    text: options.Texts = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens",
            metavar="N",
            help="Tokens drafted for one call of the target (default: the best number), e.g. --tokens 4.",
        ),
    ] = None,
    cost: Annotated[
        float | None,
        typer.Option(
            "--cost",
            metavar="RATIO",
            help="Time of one token of the draft over one call of the target, as you measured it (default: by the "
            "bytes of their weights), e.g. --cost 0.1.",
        ),
    ] = None,
    max_bytes: options.MaxBytes = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Measure how many of a draft's tokens a target keeps.

    Greedy and sampled, on texts, with the speed that follows; and before the move, under the draft's own tokenizer.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    check_page(report)
    with progress(("accept",)) as on_progress:
        result = api.acceptance(
            draft,
            target,
            against=against,
            texts=text,
            tokens=tokens,
            cost=cost,
            max_bytes=max_bytes,
            device=device or "auto",
            dtype=dtype or "auto",
            on_progress=on_progress,
        )
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)
