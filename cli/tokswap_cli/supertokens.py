"""`tokswap supertokens`: tokenizers with tokens longer than words."""

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
    "tokswap supertokens train --text texts/en --vocab-size 16000 --out tokenizer.json",
    "tokswap supertokens extend --base smollm2 --text texts/medicine --add 2000 --out tokenizer.json",
)
TRAIN_EPILOG = options.examples(
    "tokswap supertokens train --text texts/en --vocab-size 16000 --out tokenizer.json",
    "tokswap supertokens train --text texts/en --vocab-size 16000 --out t.json --base smollm2",
    "tokswap transplant --base smollm2 --donor tokenizer.json --out smollm2-superwords",
)
EXTEND_EPILOG = options.examples(
    "tokswap supertokens extend --base smollm2 --text texts/medicine --add 2000 --out tokenizer.json",
    "tokswap transplant --base smollm2 --donor tokenizer.json --out smollm2-medicine",
)

Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="FILES",
        help="What to learn from: a file, a folder or a pattern of plain text, .jsonl or .parquet, also .gz or .zst, "
        "e.g. --text texts/en; may be repeated.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option("--out", "-o", metavar="FILE", help="The tokenizer to write, e.g. --out tokenizer.json."),
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option(
        "--held-out",
        metavar="FILE",
        help="Plain text to measure on (default: the texts that come with tokswap), e.g. --held-out new.txt; may be "
        "repeated.",
    ),
]
MostBytes = Annotated[
    int,
    typer.Option(
        "--max-bytes",
        metavar="N",
        min=1,
        help="Bytes of text that are held in memory, e.g. --max-bytes 20000000; larger texts are thinned out.",
    ),
]
MaxWords = Annotated[
    int,
    typer.Option(
        "--max-words",
        metavar="N",
        min=1,
        help="Words in a new token at most, e.g. --max-words 3; 1 keeps them within words.",
    ),
]
MOST_BYTES = 100_000_000
WAYS = (
    ("train --style superbpe", "a new one: words first, then what stands between them"),
    ("train --style chunks", "a new one, learnt from chunks of text that are cut at random"),
    ("extend", "more tokens for one that is in use; its ids stay"),
)

group = typer.Typer(rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group.callback(invoke_without_command=True)(supertokens)
    group.command("train", epilog=TRAIN_EPILOG)(train)
    group.command("extend", epilog=EXTEND_EPILOG)(extend)
    app.add_typer(group, name="supertokens", epilog=EPILOG)


def supertokens(context: typer.Context, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Train tokenizers with tokens longer than words, or add tokens to one that is in use.

    Without a command it lists the ways.
    """
    if context.invoked_subcommand:
        return
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.display import Table
    from tokswap.report import Report

    facts = {"supertokens": [{"name": name, "summary": words} for name, words in WAYS]}
    output.show(Report("supertokens ways", facts), [Table("Supertokens", ("name", "what"), WAYS)])
    output.hint("`tokswap supertokens train --help` says what it takes")


def train(
    text: Texts = None,
    out: Out = None,
    vocab_size: Annotated[
        int, typer.Option("--vocab-size", metavar="N", help="Tokens in all, e.g. --vocab-size 32000.")
    ] = 32_000,
    transition: Annotated[
        int | None,
        typer.Option(
            "--transition",
            metavar="T",
            help="Tokens after which words may be joined (default: half of --vocab-size), e.g. --transition 24000.",
        ),
    ] = None,
    max_words: Annotated[
        int,
        typer.Option("--max-words", metavar="N", min=1, help="Words in a token at most, e.g. --max-words 4."),
    ] = 4,
    digits: Annotated[
        int,
        typer.Option(
            "--digits", metavar="N", min=1, max=3, help="Digits in a token at most, e.g. --digits 1."
        ),
    ] = 3,
    style: Annotated[
        str,
        typer.Option(
            "--style",
            metavar="STYLE",
            help="How it learns: superbpe, or chunks (cut at random), e.g. --style chunks.",
        ),
    ] = "superbpe",
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="SOURCE", help="A tokenizer to compare with, e.g. --base smollm2."),
    ] = None,
    held_out: HeldOut = None,
    field: options.Field = "text",
    most_bytes: MostBytes = MOST_BYTES,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a tokenizer whose tokens may be longer than words.

    First ordinary BPE, then merges across words (SuperBPE); or BPE on chunks cut at random. It says what this gains
    over ordinary BPE of the same size.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import tokenizer_api

    text, out = _given(text, out)
    check_page(report)
    with progress(("encode", "merge")) as on_progress:
        result = tokenizer_api.train_supertokens(
            text,
            out=out,
            vocab_size=vocab_size,
            style=style,
            transition=transition,
            max_words=max_words,
            digits=digits,
            base=base,
            held_out=held_out,
            field=field,
            most_bytes=most_bytes,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    _show(result, report, out, donor_of=base or "smollm2")


def extend(
    base: Annotated[
        str, typer.Option("--base", metavar="SOURCE", help="Whose tokenizer goes on, e.g. --base smollm2.")
    ],
    add: Annotated[int, typer.Option("--add", metavar="N", help="Tokens to add, e.g. --add 4000.")],
    text: Texts = None,
    out: Out = None,
    max_words: MaxWords = 1,
    held_out: HeldOut = None,
    field: options.Field = "text",
    most_bytes: MostBytes = MOST_BYTES,
    overwrite: options.Overwrite = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Add tokens to a tokenizer that is in use.

    Its own BPE goes on, on your text: old ids stay, no text takes more tokens than before, and it says what each
    further token saves.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap import tokenizer_api

    text, out = _given(text, out)
    check_page(report)
    with progress(("encode", "merge")) as on_progress:
        result = tokenizer_api.extend_tokenizer(
            base,
            text,
            out=out,
            add=add,
            max_words=max_words,
            held_out=held_out,
            field=field,
            most_bytes=most_bytes,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    _show(result, report, out, donor_of=base)


def _given(text: list[str] | None, out: str | None) -> tuple[list[str], str]:
    if not text or not out:
        missing = "text" if not text else "output file"
        raise TokswapError(f"no {missing} was given", "name them with --text texts/en --out tokenizer.json")
    return text, out


def _show(result: Report, page: str | None, out: str, *, donor_of: str) -> None:
    """Print the report, and how a model is moved onto the tokenizer."""
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, page)
    output.message(f"written: {out}")
    call = f"tokswap transplant --base {shlex.quote(donor_of)} --donor {shlex.quote(out)} --dry-run"
    output.hint(f"move a model onto it with: {call}")
