"""`tokswap trim`: the same model with a smaller vocabulary."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

if TYPE_CHECKING:
    from tokswap.report import Report

EPILOG = options.examples(
    "tokswap trim gemma3 --text texts/en --dry-run",
    "tokswap trim gemma3 --text texts/en --coverage 0.9999 --out gemma3-english",
    "tokswap trim gemma3 --text 'texts/*.txt' --keep 32000 --out gemma3-32k --no-evaluate",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("trim", epilog=EPILOG)(trim)


def trim(
    model: Annotated[
        str, typer.Argument(help="The model: a folder, a .gguf, an alias or a Hub id, e.g. gemma3.")
    ],
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="FILES",
            help="What decides: a file, a folder or a pattern of plain text, .jsonl or .parquet, also as .gz or "
            ".zst, e.g. --text texts/en; may be repeated.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write, e.g. --out gemma3-english."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", help="Tokens that stay in all, e.g. --keep 32000."),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            "--coverage",
            metavar="SHARE",
            help="Or: the share of the text's tokens that stay as they are (default: 0.9999), e.g. --coverage 1.",
        ),
    ] = None,
    keep_ids: Annotated[
        bool,
        typer.Option(
            "--keep-ids", help="Leave every token its id, with gaps where one went; rows go at the end only."
        ),
    ] = False,
    pad_to_multiple_of: Annotated[
        int | None,
        typer.Option(
            "--pad-to-multiple-of",
            metavar="N",
            min=1,
            help="Round the rows up, e.g. --pad-to-multiple-of 128.",
        ),
    ] = None,
    field: options.Field = "text",
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate/--no-evaluate", help="Measure bits per byte of both at the end (default: yes)."
        ),
    ] = True,
    evaluation_text: Annotated[
        list[str] | None,
        typer.Option(
            "--evaluation-text",
            metavar="FILE",
            help="Plain text to measure on (default: the beginnings of --text), e.g. --evaluation-text new.txt; may "
            "be repeated.",
        ),
    ] = None,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Drop the tokens that a text does not need.

    Every row that stays is the model's own, bit for bit; what was written is verified, and its cost is measured.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    if not text:
        raise TokswapError(
            "no text was given", "name what the model is to read with --text, as in --text texts/en"
        )
    check_page(report)
    stages = ("count", *["write", *["evaluate"] * evaluate] * (not dry_run))
    with progress(stages) as on_progress:
        result = api.trim(
            model,
            text,
            out=out,
            keep=keep,
            coverage=coverage,
            keep_ids=keep_ids,
            pad_to_multiple_of=pad_to_multiple_of,
            field=field,
            evaluate=evaluate,
            evaluation_texts=evaluation_text,
            dry_run=dry_run,
            overwrite=overwrite,
            device=device or "auto",
            on_progress=on_progress,
        )
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)
    _say_what_next(result, dry_run=dry_run)


def _say_what_next(report: Report, *, dry_run: bool) -> None:
    if dry_run:
        output.planned(str(report.facts.get("out") or ""))
        return
    out, base = str(report.facts["out"]), str(report.facts["base"]).split(" (")[0]
    output.message(f"written and verified: {out}")
    output.hint(f"check it with: tokswap verify {shlex.quote(out)} --against {shlex.quote(base)}")
