"""`tokswap compare`: tokenizers side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap compare smollm2 gemma3",
    "tokswap compare smollm2 gemma3 tokenizer.json --text en.txt --text fr.txt --parallel en",
    "tokswap compare smollm2 gemma3 --text fr.txt --words fr=/usr/share/hunspell/fr.dic --terms law=law.txt",
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
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--words",
            metavar="NAME=FILE",
            help="Words of a text's language, for %TR and %Pure: a file of a word a line, or a Hunspell .dic, e.g. "
            "--words french=/usr/share/hunspell/fr.dic; may be repeated.",
        ),
    ] = None,
    terms: Annotated[
        list[str] | None,
        typer.Option(
            "--terms",
            metavar="NAME=FILE",
            help="A domain's terms, one a line: how many tokens they take, e.g. --terms law=law.txt; may be repeated.",
        ),
    ] = None,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Compare two tokenizers, or more.

    Shared tokens, how numbers are cut, what is lost, unreachable and special tokens; and on texts: compression,
    fertility, whole words, Rényi efficiency, parity; and with lists, tokens that are words and the cost of terms.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import tokenizer_api

    check_page(report)
    lists, domains = _files("--words", words), _files("--terms", terms)
    with progress(()) as on_progress:
        result = tokenizer_api.compare(
            a,
            b,
            *(more or []),
            texts=text,
            parallel=parallel,
            words=lists,
            terms=domains,
            on_progress=on_progress,
        )
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)


def _files(option: str, given: list[str] | None) -> dict[str, str]:
    """Turn NAME=FILE arguments into files by name; raises TokswapError for one that is none, or comes again."""
    out: dict[str, str] = {}
    for argument in given or []:
        name, _, file = argument.partition("=")
        if not name or not file:
            raise TokswapError(
                f"{option} takes NAME=FILE, not {argument!r}", f"as in {option} french=french.txt"
            )
        if name in out:
            raise TokswapError(f"{option} names {name!r} twice", "put the lists into one file")
        out[name] = file
    return out
