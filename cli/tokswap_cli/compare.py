"""`tokswap compare`: tokenizers side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap compare smollm2 gemma3",
    "tokswap compare smollm2 gemma3 tokenizer.json --text en.txt --text fr.txt --parallel en",
    "tokswap compare smollm2 gemma3 --text french.txt --report report.html",
)
SOURCE = "A folder, a tokenizer.json, a .gguf, an alias or a Hub id"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare", epilog=EPILOG)(compare)


def compare(
    a: Annotated[str, typer.Argument(help=f"{SOURCE}, e.g. smollm2.")],
    b: Annotated[str, typer.Argument(help=f"{SOURCE}, e.g. gemma3.")],
    more: Annotated[
        list[str] | None, typer.Argument(help="Further ones: then the figures on texts alone are shown.")
    ] = None,
    text: options.Texts = None,
    parallel: Annotated[
        str | None,
        typer.Option(
            "--parallel",
            metavar="NAME",
            help="The text, by the name of its file, that the others are translations of: shows what each language "
            "costs in tokens, e.g. --parallel english.",
        ),
    ] = None,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Compare two tokenizers, or more.

    Shared tokens, how numbers are cut, what is lost, unreachable and special tokens; and on texts: compression,
    fertility, whole words, Rényi efficiency, parity.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import tokenizer_api

    check_page(report)
    with progress(()) as on_progress:
        result = tokenizer_api.compare(
            a, b, *(more or []), texts=text, parallel=parallel, on_progress=on_progress
        )
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)
