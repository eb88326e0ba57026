"""`tokswap compare`: two tokenizers side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap compare smollm2 gemma3", "tokswap compare smollm2 gemma3 --text french.txt --report report.html"
)
SOURCE = "A folder, a tokenizer.json, a .gguf, an alias or a Hub id"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", epilog=EPILOG)(compare)


def compare(
    a: Annotated[str, typer.Argument(help=f"{SOURCE}, e.g. smollm2.")],
    b: Annotated[str, typer.Argument(help=f"{SOURCE}, e.g. gemma3.")],
    text: options.Texts = None,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Compare two tokenizers.

    Shared tokens, compression, how numbers are cut, what is lost, unreachable and special tokens.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    check_page(report)
    with progress(()) as on_progress:
        result = api.compare(a, b, texts=text, on_progress=on_progress)
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)
