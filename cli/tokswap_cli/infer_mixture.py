"""`tokswap infer-mixture`: what a BPE tokenizer says about its training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

EPILOG = options.examples(
    "tokswap infer-mixture qwen --category en=texts/en/ --category zh=texts/zh/ --category python=src/",
    "tokswap infer-mixture gpt-4o.json --categories categories.yaml --merges 30000 --report mixture.html",
)
STAGES = ("count", "replay", "solve", "folds")
AUTO = "auto"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("infer-mixture", epilog=EPILOG)(infer_mixture)


def infer_mixture(
    tokenizer: Annotated[
        str, typer.Argument(help="A folder, a tokenizer.json, a .tiktoken, an alias or a Hub id, e.g. qwen.")
    ],
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category",
            metavar="NAME=PATH",
            help="A category and its text: a file, a folder or a glob, e.g. --category en=texts/en/; to be repeated.",
        ),
    ] = None,
    categories: Annotated[
        str | None,
        typer.Option(
            "--categories",
            metavar="FILE",
            help="A YAML file of name: path, or name: [path, …], instead or as well.",
        ),
    ] = None,
    merges: Annotated[
        int | None,
        typer.Option(
            "--merges",
            metavar="N",
            help="Look at N merges, behind skipped ones (default: 30000, or all there are).",
        ),
    ] = None,
    skip_merges: Annotated[
        str,
        typer.Option(
            "--skip-merges",
            metavar="N|auto",
            help="Replay the first N merges without explaining them; auto: those taken over from a known tokenizer.",
        ),
    ] = AUTO,
    field: Annotated[
        str,
        typer.Option("--field", metavar="NAME", help="What holds the text in .jsonl and .parquet records."),
    ] = "text",
    gap: Annotated[
        float | None,
        typer.Option("--gap", metavar="SHARE", help="Stop at this proved relative gap (default: 0.01)."),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="MINUTES",
            help="Stop solving after so long and state the gap (default: no limit; it takes minutes at the most).",
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes", metavar="N", min=1, help="Processes that count words (default: one a core)."
        ),
    ] = None,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Infer what a BPE tokenizer was trained on.

    The order of its merges gives the share of each category in its training text (arXiv:2407.16607).
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import tokenizer_api

    check_page(report)
    chosen = _categories(category or [], categories)
    with progress(STAGES) as on_progress:
        result = tokenizer_api.infer_mixture(
            tokenizer,
            chosen,
            merges=merges,
            skip_merges=_skip(skip_merges),
            field=field,
            gap=gap,
            time_limit=time_limit,
            processes=processes,
            on_progress=on_progress,
        )
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)


def _categories(given: list[str], file: str | None) -> dict[str, list[Path]]:
    from tokswap.mixture.categories import load_categories, parse_categories

    out = load_categories(Path(file).expanduser()) if file is not None else {}
    for name, paths in parse_categories(given).items():
        out.setdefault(name, []).extend(paths)
    return out


def _skip(given: str) -> int | None:
    """Return the number, None for auto."""
    if given == AUTO:
        return None
    if not given.isdecimal():
        raise TokswapError(
            f"--skip-merges takes a number or auto, not {given!r}", "as in --skip-merges 100000"
        )
    return int(given)
