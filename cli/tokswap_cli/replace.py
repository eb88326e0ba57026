"""`tokswap replace`: a vocabulary of the same size with useful tokens in the places of useless ones."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress
from tokswap_cli.supertokens import MOST_BYTES, MaxWords, MostBytes, Texts
from tokswap_cli.transplant import assignments, parameter

if TYPE_CHECKING:
    from tokswap.report import Report

EPILOG = options.examples(
    "tokswap replace smollm2 --text texts/medicine --add 1000 --dry-run",
    "tokswap replace smollm2 --text texts/medicine --add 1000 --out smollm2-medicine",
    "tokswap evaluate smollm2-medicine --against smollm2",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("replace", epilog=EPILOG)(replace)


def replace(
    model: Annotated[
        str, typer.Argument(help="The model: a folder, a .gguf, an alias or a Hub id, e.g. smollm2.")
    ],
    add: Annotated[
        int,
        typer.Option("--add", metavar="N", help="Tokens that come, and as many that go, e.g. --add 1000."),
    ],
    text: Texts = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write, e.g. --out smollm2-medicine."),
    ] = None,
    max_words: MaxWords = 1,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="How the new rows are made: auto or a name of `tokswap methods`, e.g. --method subword.",
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter of the method, e.g. --set decay=0.7; may be repeated.",
        ),
    ] = None,
    auxiliary: Annotated[
        str | None,
        typer.Option(
            "--auxiliary",
            metavar="SPACE",
            help="Where a method that looks at a donor compares tokens: ngrams or a folder, e.g. --auxiliary ngrams.",
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate", metavar="KIND", help="As for `tokswap transplant`, e.g. --calibrate lexicon+chain."
        ),
    ] = None,
    calibration_text: Annotated[
        list[str] | None,
        typer.Option(
            "--calibration-text",
            metavar="FILE",
            help="Plain text to calibrate on (default: the beginnings of --text), e.g. --calibration-text mine.txt; "
            "may be repeated.",
        ),
    ] = None,
    evaluate: Annotated[
        bool | None,
        typer.Option(
            "--evaluate/--no-evaluate", help="Measure bits per byte of both at the end (default: yes)."
        ),
    ] = None,
    evaluation_text: Annotated[
        list[str] | None,
        typer.Option(
            "--evaluation-text",
            metavar="FILE",
            help="Plain text to measure on that nothing was learnt from (default: the texts that come with tokswap), "
            "e.g. --evaluation-text new.txt; may be repeated.",
        ),
    ] = None,
    field: options.Field = "text",
    most_bytes: MostBytes = MOST_BYTES,
    device: options.Device = None,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Put tokens that a text would use in the places of tokens that it doesn't.

    The vocabulary keeps its size, every other token its id and its row. What was written is verified, and tokens and
    bits per byte are measured.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    if not text:
        raise TokswapError("no text was given", "name what to learn from with --text, as in --text texts/en")
    check_page(report)
    flags: dict[str, Any] = {
        "method": method,
        "parameters": {name: parameter(value) for name, value in assignments("--set", sets).items()},
        "auxiliary": auxiliary,
        "calibrate": calibrate,
        "calibration_texts": calibration_text,
        "evaluate": evaluate,
        "evaluation_texts": evaluation_text,
        "device": device,
        "seed": seed,
    }
    stages = ("count", "encode", "merge", *["write", "evaluate"] * (not dry_run))
    with progress(stages) as on_progress:
        result = api.replace_tokens(
            model,
            text,
            add=add,
            out=out,
            max_words=max_words,
            field=field,
            most_bytes=most_bytes,
            dry_run=dry_run,
            overwrite=overwrite,
            on_progress=on_progress,
            **{name: value for name, value in flags.items() if value not in (None, [], {})},
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
    output.hint(f"measure it with: tokswap evaluate {shlex.quote(out)} --against {shlex.quote(base)}")
