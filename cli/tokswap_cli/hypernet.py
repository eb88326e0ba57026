"""`tokswap hypernet`: networks that make the rows of new tokens from the base tokens that spell them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.progress import progress

if TYPE_CHECKING:
    from tokswap.report import Report

EPILOG = options.examples(
    "tokswap hypernet train smollm2 --out smollm2-hypernet --stage spell=2000",
    "tokswap transplant --base smollm2 --donor qwen --method hypernet --hypernet smollm2-hypernet --out moved",
)
TRAIN_EPILOG = options.examples(
    "tokswap hypernet train smollm2 --stage spell=2000",
    "tokswap hypernet train smollm2 --out h --stage spell=2000 --stage lm=500 --text texts/ --donor qwen",
    "tokswap hypernet train smollm2 --out h --arch zett --stage identity=5000 --stage lm=200000 --text texts/",
)
WAYS = (("train", "train a network for a base, from its merges alone or on text as well"),)

group = typer.Typer(rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group.callback(invoke_without_command=True)(hypernet)
    group.command("train", epilog=TRAIN_EPILOG)(train)
    app.add_typer(group, name="hypernet", epilog=EPILOG)


def hypernet(context: typer.Context, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Train hypernetworks, which `transplant --method hypernet` makes new rows with.

    Without a command it lists the ways.
    """
    if context.invoked_subcommand:
        return
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.display import Table
    from tokswap.report import Report

    facts = {"hypernet": [{"name": name, "summary": words} for name, words in WAYS]}
    output.show(Report("hypernet ways", facts), [Table("Hypernetworks", ("name", "what"), WAYS)])
    output.hint("`tokswap hypernet train --help` says what it takes")


def train(
    base: Annotated[
        str, typer.Argument(help="The model to train for: a folder, a .gguf, an alias or a Hub id.")
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="The folder to write, e.g. --out h (default: the cache, where --hypernet auto finds it).",
        ),
    ] = None,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="NAME=STEPS",
            help="spell (merges of the base, no text), identity (one-piece tokens), lm (text through the frozen base) "
            "or distil (its states on text), in order, e.g. --stage spell=2000 --stage lm=500; default spell=2000.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="Plain text for lm and distil, a file or a folder of .txt, e.g. --text mine/; may be repeated.",
        ),
    ] = None,
    donor: Annotated[
        str | None,
        typer.Option(
            "--donor",
            metavar="SOURCE",
            help="A real tokenizer that reads every other part of the text, beside those that are drawn, "
            "e.g. --donor qwen.",
        ),
    ] = None,
    arch: Annotated[
        str,
        typer.Option(
            "--arch",
            metavar="NAME",
            help="residual (small, refines the rows of --start) or zett (as published), e.g. --arch zett.",
        ),
    ] = "residual",
    start: Annotated[
        str,
        typer.Option("--start", metavar="METHOD", help="What a residual network refines, e.g. --start mean."),
    ] = "subword",
    hidden: Annotated[
        int | None,
        typer.Option(
            "--hidden", metavar="N", min=1, help="Width of the network (residual: 256; zett: the base's)."
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option("--layers", metavar="N", min=1, help="Layers of the network (residual: 2; zett: 3)."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="X", help="Learning rate at its height, in place of the stages' own."),
    ] = None,
    pairs: Annotated[
        int, typer.Option("--pairs", metavar="N", min=1, help="Tokens of a step of spell or identity.")
    ] = 512,
    step_bytes: Annotated[
        int, typer.Option("--step-bytes", metavar="N", min=1, help="Bytes of text of a step of lm or distil.")
    ] = 4096,
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate",
            metavar="N",
            min=1,
            help="Parts that a step's gradient is added up from: less memory.",
        ),
    ] = 4,
    pieces: Annotated[
        int, typer.Option("--pieces", metavar="N", min=256, help="Tokens of a tokenizer that is drawn.")
    ] = 32_768,
    negatives: Annotated[
        int,
        typer.Option(
            "--negatives",
            metavar="N",
            min=1,
            help="New tokens in a step's softmax beside the text's own.",
        ),
    ] = 2048,
    log: Annotated[
        str | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="A JSON line for each step and look (default: log.jsonl in the folder).",
        ),
    ] = None,
    tensorboard: Annotated[
        str | None,
        typer.Option(
            "--tensorboard",
            metavar="DIR",
            help="The same as curves for TensorBoard, which must be installed, e.g. --tensorboard runs/h.",
        ),
    ] = None,
    autocast: Annotated[
        bool, typer.Option("--autocast", help="Let the hypernetwork compute in bf16 too, beside --dtype.")
    ] = False,
    dtype: Annotated[
        str,
        typer.Option("--dtype", metavar="NAME", help="What the frozen base computes in: auto, bf16 or fp32."),
    ] = "auto",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of everything that is drawn, e.g. --seed 1.")
    ] = 0,
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a hypernetwork for a base.

    The same command goes on where a stopped one was, and ends in the same bytes. Under `accelerate launch` the parts
    of a step are shared among GPUs.
    """
    from tokswap.display.hypernet import training_tables
    from tokswap.hypernet.train import train_hypernet
    from tokswap.hypernet.training import process

    output.begin(quiet=quiet or process()[0] > 0, as_json=as_json)
    with progress(("train",)) as on_progress:
        result = train_hypernet(
            base,
            out,
            stages=stage or (),
            texts=text or (),
            donor=donor,
            architecture=arch,
            start=start,
            hidden=hidden,
            layers=layers,
            rate=rate,
            pairs=pairs,
            step_bytes=step_bytes,
            accumulate=accumulate,
            pieces=pieces,
            negatives=negatives,
            log=log,
            tensorboard=tensorboard,
            autocast=autocast,
            dtype=dtype,
            seed=seed,
            device=device or "auto",
            overwrite=overwrite,
            on_plan=_announce,
            on_progress=on_progress,
        )
    if process()[0]:  # one of many speaks for all
        return
    output.show(result, training_tables(result))
    written = str(result.facts["out"])
    output.message(f"written: {written}")
    chosen = "auto" if out is None else shlex.quote(written)
    name = shlex.quote(base)
    output.hint(
        f"use it with: tokswap transplant --base {name} --donor … --method hypernet --hypernet {chosen}"
    )


def _announce(plan: Report) -> None:
    from tokswap.display.hypernet import plan_line

    output.message(plan_line(plan))
