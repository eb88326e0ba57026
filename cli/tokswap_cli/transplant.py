"""`tokswap transplant`: a recipe from flags and a file, carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.run import run

EPILOG = options.examples(
    "tokswap transplant --base gemma3 --donor smollm2 --dry-run",
    "tokswap transplant --base gemma3 --donor smollm2 --out gemma3-smollm2 --method omp --set k=8",
    "tokswap transplant --base smollm2 --for-draft-of gemma3 --out smollm2-for-gemma3",
    "tokswap transplant --base smollm2 --supertokens 2000 --text texts/medicine --out smollm2-medicine",
    "tokswap evaluate gemma3-smollm2 --against gemma3",
)
SOURCE = "a folder, a .gguf, an alias of `tokswap models` or a Hub id org/name@revision"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("transplant", epilog=EPILOG)(transplant)


def transplant(
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="SOURCE", help=f"The model to move: {SOURCE}, e.g. --base gemma3."),
    ] = None,
    donor: Annotated[
        str | None,
        typer.Option(
            "--donor",
            metavar="SOURCE",
            help="Whose tokenizer it gets: the same, or a tokenizer.json, e.g. --donor smollm2.",
        ),
    ] = None,
    for_draft_of: Annotated[
        str | None,
        typer.Option(
            "--for-draft-of",
            metavar="TARGET",
            help="In place of --donor: the model that --base is to draft for. Ids, size and special tokens become "
            "exactly its own, e.g. --for-draft-of gemma3.",
        ),
    ] = None,
    supertokens: Annotated[
        int | None,
        typer.Option(
            "--supertokens",
            metavar="N",
            min=1,
            help="In place of --donor: the base's own tokenizer, with N tokens more that it learns from --text, e.g. "
            "--supertokens 2000.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="FILES",
            help="What supertokens are learnt from: a file, a folder or a pattern of plain text, .jsonl or .parquet, "
            "e.g. --text texts/medicine; may be repeated.",
        ),
    ] = None,
    max_words: Annotated[
        int | None,
        typer.Option(
            "--max-words",
            metavar="N",
            min=1,
            help="Words in a supertoken at most (default: 1), e.g. --max-words 4.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write, e.g. --out gemma3-smollm2."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            metavar="RECIPE",
            help="A YAML recipe, or the name of one that ships with tokswap; flags override its fields.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", metavar="NAME", help="auto or a name of `tokswap methods`, e.g. --method omp."
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A parameter of the method, e.g. --set k=8; may be repeated."
        ),
    ] = None,
    hypernet: Annotated[
        str | None,
        typer.Option(
            "--hypernet",
            metavar="DIR",
            help="The hypernetwork of --method hypernet: its folder, or auto for the one in the cache that was trained "
            "for this base, e.g. --hypernet smollm2-hypernet.",
        ),
    ] = None,
    predict_all: Annotated[
        bool | None,
        typer.Option(
            "--predict-all", help="Let the hypernetwork predict shared tokens too, in place of copying them."
        ),
    ] = None,
    auxiliary: Annotated[
        str | None,
        typer.Option(
            "--auxiliary",
            metavar="SPACE",
            help="Where a method compares tokens: donor (its rows), ngrams (spelling), or the folder of a sentence "
            "encoder or of static vectors, e.g. --auxiliary ngrams.",
        ),
    ] = None,
    parallel_text: Annotated[
        list[str] | None,
        typer.Option(
            "--parallel-text",
            metavar="FILE",
            help="For trans-tokenizer: two files with a line for a line, e.g. --parallel-text en.txt "
            "--parallel-text fr.txt: the base's language, then the new tokenizer's.",
        ),
    ] = None,
    keep_digits: Annotated[
        str | None,
        typer.Option(
            "--keep-digits",
            metavar="WHOSE",
            help="Whose way to cut numbers the new tokenizer follows: donor or base, e.g. --keep-digits base.",
        ),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NEW=BASE",
            help="The base token whose row a new token gets, or several to average, "
            "e.g. --map '<tool>=<|im_start|> tool'; may be repeated.",
        ),
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(
            "--calibrate",
            metavar="KIND",
            help="auto, shift or none: whether new rows are shifted so that they draw the probability of their share. "
            "Or stages after that: lexicon, chain, fit, fit-all (shared rows too), joined as in lexicon+chain.",
        ),
    ] = None,
    calibration_text: Annotated[
        list[str] | None,
        typer.Option(
            "--calibration-text",
            metavar="FILE",
            help="Plain text to calibrate on, e.g. --calibration-text mine.txt; may be repeated.",
        ),
    ] = None,
    untie: Annotated[
        bool | None, typer.Option("--untie/--no-untie", help="Store input and output embeddings apart.")
    ] = None,
    gguf: Annotated[
        bool | None,
        typer.Option(
            "--gguf/--no-gguf", help="Write model.gguf into the folder too, for llama.cpp (default: no)."
        ),
    ] = None,
    pad_vocab_to: Annotated[
        int | None,
        typer.Option(
            "--pad-vocab-to", metavar="N", help="Rows of the new matrix, e.g. --pad-vocab-to 49408."
        ),
    ] = None,
    pad_to_multiple_of: Annotated[
        int | None,
        typer.Option(
            "--pad-to-multiple-of", metavar="N", help="Round the rows up, e.g. --pad-to-multiple-of 128."
        ),
    ] = None,
    evaluate: Annotated[
        bool | None,
        typer.Option(
            "--evaluate/--no-evaluate",
            help="Measure bits per byte of base and result at the end (default: yes).",
        ),
    ] = None,
    evaluation_text: Annotated[
        list[str] | None,
        typer.Option(
            "--evaluation-text",
            metavar="FILE",
            help="Plain text to measure on, e.g. --evaluation-text french.txt; may be repeated.",
        ),
    ] = None,
    device: options.Device = None,
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Move a model onto another tokenizer.

    What was written is verified, and what it cost is measured in bits per byte.
    """
    output.begin(quiet=quiet, as_json=as_json)
    flags = {
        "base": base,
        **_target(donor, for_draft_of),
        "supertokens": supertokens,
        "supertoken_texts": text,
        "max_words": max_words,
        "out": out,
        "method": method,
        "hypernet": hypernet,
        "predict_all": predict_all,
        "auxiliary": auxiliary,
        "parallel_texts": parallel_text,
        "keep_digits": keep_digits,
        "calibrate": calibrate,
        "calibration_texts": calibration_text,
        "untie": untie,
        "gguf": gguf,
        "pad_vocab_to": pad_vocab_to,
        "pad_to_multiple_of": pad_to_multiple_of,
        "evaluate": evaluate,
        "evaluation_texts": evaluation_text,
        "device": device,
        "seed": seed,
    }
    fields = recipe_fields(config, flags, assignments("--set", sets), assignments("--map", maps))
    run(fields, dry_run=dry_run, overwrite=overwrite, page=report)


def _target(donor: str | None, target: str | None) -> dict[str, Any]:
    """Return what --donor and --for-draft-of say about whose tokenizer it is."""
    if donor is not None and target is not None:
        raise TokswapError(
            "--donor and --for-draft-of both name whose tokenizer it gets",
            "a draft's donor is its target: give one",
        )
    return {"donor": donor} if target is None else {"donor": target, "draft": True}


def recipe_fields(
    config: str | None, flags: Mapping[str, Any], parameters: Mapping[str, str], maps: Mapping[str, str]
) -> dict[str, Any]:
    """Return a recipe's fields: those of the file, overridden by the flags that were given.

    --set and --map add to the file's own; its parameters go when another method is asked for, since they are the
    old method's.
    """
    fields: dict[str, Any] = {}
    if config is not None:
        from tokswap.recipe import load_recipe
        from tokswap_cli.recipe_files import find_recipe, kind_of

        if kind := kind_of(config):
            raise TokswapError(
                f"{config} is the recipe of a {kind}, not of one transplant",
                f"run it with: tokswap recipes run {config}",
            )
        fields = load_recipe(find_recipe(config))
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    if given.get("method", fields.get("method")) != fields.get("method"):
        fields.pop("parameters", None)
    fields |= given
    for name, added in (
        ("parameters", {k: parameter(v) for k, v in parameters.items()}),
        ("map", dict(maps)),
    ):
        if added:
            before = fields.get(name)
            fields[name] = {**before, **added} if isinstance(before, dict) else added
    return fields


def assignments(option: str, texts: Iterable[str] | None) -> dict[str, str]:
    """Split KEY=VALUE; a token may contain =, so --map is cut at the last one that leaves both sides."""
    out: dict[str, str] = {}
    for text in texts or []:
        name, equals, value = text.rpartition("=") if option == "--map" else text.partition("=")
        if not equals or not name.strip() or not value.strip():
            example = "--map '<new>=<old>'" if option == "--map" else "--set k=8"
            raise TokswapError(f"{option} {text!r} isn't of the form NAME=VALUE", f"write it like {example}")
        out[name.strip()] = value.strip()
    return out


def parameter(text: str) -> str | None:
    """Return a parameter's value; its method's types make numbers of texts, but None they can't."""
    return None if text.lower() in ("none", "null") else text
