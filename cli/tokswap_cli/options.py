"""Options that several commands share, with one wording each."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document with a schema_version on stdout.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no messages, only warnings and errors.")
]
ReportPath = Annotated[
    str | None,
    typer.Option("--report", metavar="FILE", help="Also write a self-contained HTML page, e.g. report.html."),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps; auto takes the fastest there is."
    ),
]
Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="FILE",
        help="Plain text to measure on, a file or a folder of .txt, e.g. --text french.txt; may be repeated. "
        "Without it: the texts that come with tokswap.",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option("--dtype", metavar="NAME", help="auto, float32, bfloat16, or float16 on a GPU."),
]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        "--max-bytes",
        metavar="N",
        min=1,
        help="Take only the beginning of each text, e.g. --max-bytes 4096.",
    ),
]
Field = Annotated[
    str,
    typer.Option(
        "--field", metavar="NAME", help="Where .jsonl and .parquet hold their text, e.g. --field body."
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of methods that draw numbers, e.g. --seed 1.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output, once the new one is complete.")
]


def examples(*lines: str) -> str:
    """Return an epilog that keeps its lines: commands that can be run as they stand."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
