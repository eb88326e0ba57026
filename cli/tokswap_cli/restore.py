"""`tokswap restore`: a transplanted model back on its base's tokenizer."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap restore gemma3-smollm2 --base gemma3 --out gemma3-again",
    "tokswap restore trained --base models/mine --out trained-again --overwrite",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restore", epilog=EPILOG)(restore)


def restore(
    folder: Annotated[str, typer.Argument(help="The transplanted checkpoint folder.")],
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="BASE",
            help="The model that it was made from (default: the one its tokswap.json names, if it is here).",
        ),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="The folder to write.")] = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Give a transplanted model its base's tokenizer back.

    Every row of the base returns bit for bit; the body stays as it is now, with what it was trained to since.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    if not out:
        raise TokswapError("no output folder was given", "name one with --out")
    with progress(("write",)) as on_progress:
        report = api.restore(folder, base=base, out=out, overwrite=overwrite, on_progress=on_progress)
    output.show(report)
    output.warn(report.warnings)
    output.message(f"written and verified: {out}")
    named = str(report.facts["base"]).split(" (")[0]
    output.hint(f"check it with: tokswap verify {shlex.quote(out)} --against {shlex.quote(named)}")
