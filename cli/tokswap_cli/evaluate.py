"""`tokswap evaluate`: bits per byte of a model, beside the base it came from, and gates for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

if TYPE_CHECKING:
    from tokswap.report import Report

EPILOG = options.examples(
    "tokswap evaluate smollm2",
    "tokswap evaluate gemma3-smollm2 --against gemma3 --report report.html",
    "tokswap evaluate gemma3-smollm2 --against gemma3 --segmentation --probe --max-bytes 4000",
    "tokswap evaluate smollm2 --exact-bytes --max-bytes 1000",
    "tokswap evaluate gemma3-smollm2 --against gemma3 --fail-if 'bpb>1.10x' --fail-if 'bpb[french]>1.2x'",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", epilog=EPILOG)(evaluate)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="The model to score: a folder, a .gguf, an alias or a Hub id.")
    ],
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="BASE",
            help="The model it came from, scored on the same bytes or tasks, e.g. --against gemma3.",
        ),
    ] = None,
    text: options.Texts = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    window_bytes: Annotated[
        int | None,
        typer.Option("--window-bytes", metavar="N", help="Bytes that a model reads at once (default: 2048)."),
    ] = None,
    stride_bytes: Annotated[
        int | None,
        typer.Option(
            "--stride-bytes",
            metavar="N",
            help="Bytes scored in each window, at most half of it (default: half).",
        ),
    ] = None,
    max_bytes: options.MaxBytes = None,
    segmentation: Annotated[
        bool,
        typer.Option(
            "--segmentation",
            help="Also score the base at the model's token borders: which part of the loss is not the rows'. "
            "Needs --against.",
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Also let both continue some prompts greedily: new tokens, repetition, what the base makes of it.",
        ),
    ] = False,
    exact_bytes: Annotated[
        bool,
        typer.Option(
            "--exact-bytes",
            help="Also score every byte exactly, summed over all tokens that it may be the beginning of.",
        ),
    ] = False,
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            metavar="NAMES",
            help="Run lm-eval's tasks in place of all that, e.g. --tasks hellaswag,mine/task.yaml "
            "(pip install 'tokswap[eval]').",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", min=1, help="Take only N examples of each task, e.g. --limit 100."
        ),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="EXPR",
            help="Exit with 1 when it holds, e.g. 'bpb>1.10x', 'bpb[french]>1.2' or 'mass>0.3'; may be repeated.",
        ),
    ] = None,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Score a model in bits per byte.

    The figure is comparable across tokenizers; with --against the base stands beside it.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import api
    from tokswap.evaluation.gate import check_gate

    if tasks is not None:
        clash = {
            "--text": text,
            "--fail-if": fail_if,
            "--report": report,
            "--exact-bytes": exact_bytes,
            "--segmentation": segmentation,
            "--probe": probe,
            "--max-bytes": max_bytes,
            "--window-bytes": window_bytes,
            "--stride-bytes": stride_bytes,
        }
        _no_options_beside_tasks([name for name, value in clash.items() if value])
        names = [name.strip() for name in tasks.split(",") if name.strip()]
        with progress(("evaluate",)) as on_progress:
            output.show(
                api.evaluate_tasks(
                    model,
                    names,
                    against=against,
                    limit=limit,
                    device=device or "auto",
                    dtype=dtype or "auto",
                    on_progress=on_progress,
                )
            )
        return
    if limit is not None:
        raise TokswapError("--limit is for tasks", "name some with --tasks, or take --max-bytes")
    if fail_if:  # a slip in one should not cost an evaluation
        names = api.texts_of(text)
        for expression in fail_if:
            check_gate(expression, names, compared=against is not None)
    check_page(report)
    how: dict[str, Any] = {
        "device": device,
        "dtype": dtype,
        "window_bytes": window_bytes,
        "stride_bytes": stride_bytes,
        "max_bytes": max_bytes,
    }
    given = {name: value for name, value in how.items() if value is not None}
    given |= {"segmentation": segmentation, "probe": probe, "exact_bytes": exact_bytes}
    with progress(("evaluate",)) as on_progress:
        result = api.evaluate(model, against=against, texts=text, on_progress=on_progress, **given)
    result = with_gates(result, fail_if or [])
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, report)
    _leave(result)


def with_gates(report: Report, expressions: Sequence[str]) -> Report:
    """Return the report with the outcome of each --fail-if among its facts."""
    from tokswap.evaluation.gate import gate

    if not expressions:
        return report
    outcomes = [(expression, *gate(report, expression)) for expression in expressions]
    gates = [{"expression": e, "failed": failed, "sentence": sentence} for e, failed, sentence in outcomes]
    return replace(report, facts={**report.facts, "gates": gates})


def _no_options_beside_tasks(given: Sequence[str]) -> None:
    if given:
        raise TokswapError(f"{given[0]} says nothing about tasks", f"leave {given[0]} out, or --tasks")


def _leave(report: Report) -> None:
    """End with 1 and a sentence for each gate that failed."""
    failed = [gate for gate in report.facts.get("gates", []) if gate["failed"]]
    for gate in failed:
        output.warn([f"the gate {gate['expression']} failed: {gate['sentence']}"])
    if failed:
        raise typer.Exit(1)
