"""`tokswap heal`: a transplanted model trained for a while towards its base."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

if TYPE_CHECKING:
    from tokswap.report import Report

EPILOG = options.examples(
    "tokswap heal gemma3-smollm2 --base gemma3 --out gemma3-smollm2-healed",
    "tokswap heal gemma3-smollm2 --out healed --text mine/ --budget 1h30m --report healed.html",
    "tokswap heal gemma3-smollm2 --out healed --rung rows --steps 200 --seed 1",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("heal", epilog=EPILOG)(heal)


def heal(
    folder: Annotated[str, typer.Argument(help="The transplanted checkpoint folder.")],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write, e.g. --out healed."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="BASE",
            help="The model that it was made from (default: the one its tokswap.json names, if it is here).",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Plain text to train on, a file or a folder of .txt, e.g. --text mine/; may be repeated. Without it: "
            "the 25 kB that tokswap calibrates on, enough for a look and no more.",
        ),
    ] = None,
    self_generated: Annotated[
        int | None,
        typer.Option(
            "--self-generated",
            metavar="BYTES",
            min=1,
            help="Train on so much text that the base writes first, in place of --text, e.g. --self-generated 200000.",
        ),
    ] = None,
    rung: Annotated[
        str,
        typer.Option(
            "--rung",
            metavar="NAME",
            help="rows (new rows only), alm (rows and body, taught by the base) or lm (rows and body, on the text "
            "alone), e.g. --rung rows.",
        ),
    ] = "lm",
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", metavar="TIME", help="How long to train, e.g. --budget 1h30m (default: 20m)."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            help="How many steps to train in place of a time, e.g. --steps 300: the same bytes at every run.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="X",
            help="Learning rate of the body at its height (default: 0.0005); not with rows.",
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(
            "--rank",
            metavar="N",
            min=1,
            help="Rank of what the body learns (default: 64); not with rows.",
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option("--gradient-checkpointing", help="Take less memory and about a third more time."),
    ] = False,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate/--no-evaluate", help="Measure bits per byte before and after (default: yes)."
        ),
    ] = True,
    evaluation_text: Annotated[
        list[str] | None,
        typer.Option(
            "--evaluation-text",
            metavar="FILE",
            help="Plain text to measure on, e.g. --evaluation-text french.txt; may be repeated.",
        ),
    ] = None,
    curve: Annotated[
        str | None,
        typer.Option(
            "--curve",
            metavar="FILE",
            help="A file that gets a JSON line at each look at held-out text, e.g. --curve curve.jsonl.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of the order of the text, e.g. --seed 1.")
    ] = 0,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a transplanted model for a while: first its new rows, then its body.

    The best state on held-out text is written; the same command goes on where a stopped one was.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api

    if not out:
        raise TokswapError("no output folder was given", "name one with --out")
    check_page(report)
    given = {"rate": rate, "rank": rank}
    settings = {name: value for name, value in given.items() if value is not None}
    with progress(("heal", "write", *["evaluate"] * evaluate)) as on_progress:
        result = api.heal(
            folder,
            out=out,
            base=base,
            texts=text,
            self_generated=self_generated,
            rung=rung,
            budget=budget,
            steps=steps,
            seed=seed,
            evaluate=evaluate,
            evaluation_texts=evaluation_text,
            device=device or "auto",
            overwrite=overwrite,
            curve=None if curve is None else Path(curve),
            on_plan=_announce,
            on_progress=on_progress,
            checkpoint_layers=gradient_checkpointing,
            **settings,
        )
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)
    output.message(f"written and verified: {out}")
    named = str(result.facts["base"]).split(" (")[0]
    output.hint(f"check it with: tokswap verify {shlex.quote(out)} --against {shlex.quote(named)}")


def _announce(plan: Report) -> None:
    from tokswap.display.healing import plan_line

    output.message(plan_line(plan))
