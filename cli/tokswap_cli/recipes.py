"""`tokswap recipes`: list, show, copy, check and run recipes."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output

EPILOG = options.examples(
    "tokswap recipes ls",
    "tokswap recipes cp gemma3-smollm2 mine.yaml",
    "tokswap recipes run mine.yaml --dry-run",
)
LS_EPILOG = options.examples("tokswap recipes ls")
SHOW_EPILOG = options.examples("tokswap recipes show gemma3-smollm2")
CP_EPILOG = options.examples("tokswap recipes cp gemma3-smollm2 mine.yaml")
VALIDATE_EPILOG = options.examples(
    "tokswap recipes validate mine.yaml", "tokswap recipes validate gemma3-smollm2"
)
RUN_EPILOG = options.examples(
    "tokswap recipes run gemma3-smollm2 --dry-run", "tokswap recipes run gemma3-smollm2 --out gemma3-smollm2"
)

Name = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A YAML file, or the name of one of `tokswap recipes ls`.")
]

group = typer.Typer(rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group.callback(invoke_without_command=True)(recipes)
    group.command("ls", epilog=LS_EPILOG)(ls)
    group.command("show", epilog=SHOW_EPILOG)(show)
    group.command("cp", epilog=CP_EPILOG)(cp)
    group.command("validate", epilog=VALIDATE_EPILOG)(validate)
    group.command("run", epilog=RUN_EPILOG)(run)
    app.add_typer(group, name="recipes", epilog=EPILOG)


def recipes(context: typer.Context, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """List, show, copy, check and run recipes.

    Without a command it lists them.
    """
    if not context.invoked_subcommand:
        ls(as_json=as_json, quiet=quiet)


def ls(as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """List the recipes that ship with tokswap."""
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.display import Table
    from tokswap.report import Report
    from tokswap_cli.recipe_files import shipped, summary

    rows = tuple((name, summary(path)) for name, path in shipped().items())
    facts = {"recipes": [{"name": name, "summary": words} for name, words in rows]}
    output.show(Report("recipes", facts), [Table("Recipes", ("name", "what"), rows)])
    output.hint("`tokswap recipes cp NAME mine.yaml` gives you one to change")


def show(name: Name, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Print a recipe with its comments."""
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.display import safe
    from tokswap.recipe import load_recipe
    from tokswap.report import Report
    from tokswap_cli.recipe_files import find_recipe

    path = find_recipe(name)
    fields = load_recipe(path)
    if as_json:
        output.show(Report("recipe", {"name": path.stem, "recipe": fields}))
    else:
        output.text(safe(path.read_text(encoding="utf-8")))


def cp(
    name: Name,
    target: Annotated[str, typer.Argument(help="The file to write, e.g. mine.yaml.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Copy a recipe, to be changed."""
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.report import Report
    from tokswap_cli.recipe_files import find_recipe

    source, path = find_recipe(name), Path(target).expanduser()
    if path.is_dir():
        path = path / source.name
    try:
        with path.open("wb" if overwrite else "xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        raise TokswapError(f"{path} exists already", "give another name, or --overwrite") from None
    except OSError as error:
        raise TokswapError(f"{path} can't be written: {error.strerror}", "give another path") from None
    if as_json:
        output.show(Report("recipe", {"name": source.stem, "copied_to": str(path)}))
    output.message(f"copied to {path}")
    output.hint(f"change it, then: tokswap recipes run {path} --dry-run")


def validate(name: Name, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """Check a recipe, all errors at once: its fields, its methods and their parameters."""
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.board.config import KIND
    from tokswap.display.tables import pairs
    from tokswap.display.text import label, words
    from tokswap.report import Report

    facts = _checked(name)
    if facts.get("kind") == KIND:
        output.show(Report("leaderboard recipe", {"name": name, "recipe": facts}))
    else:
        rows = [(label(field), words(value)) for field, value in facts.items()]
        output.show(Report("recipe", {"name": name, "recipe": facts}), [pairs("Settings", rows)])
    output.message(f"the recipe {name} is right")


def run(
    name: Name,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="DIR", help="The folder to write, in place of the recipe's."),
    ] = None,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Carry out a recipe.

    The same as `tokswap transplant -c RECIPE`, or `tokswap leaderboard -c RECIPE` for one of that kind. One of kind
    mixture-experiment trains tokenizers on known mixtures and infers them.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.board.config import KIND as LEADERBOARD
    from tokswap.mixture.experiment import KIND as EXPERIMENT
    from tokswap_cli.leaderboard import run as run_leaderboard
    from tokswap_cli.mixture_experiment import run as run_experiment
    from tokswap_cli.recipe_files import kind_of
    from tokswap_cli.run import run as carry_out
    from tokswap_cli.transplant import recipe_fields

    kind = kind_of(name)
    if kind == LEADERBOARD:
        run_leaderboard(name, out=out, dry_run=dry_run, fresh=overwrite, page=report)
        return
    if kind == EXPERIMENT:
        run_experiment(name, out=out, dry_run=dry_run, page=report)
        return
    with _pointing_at_comments(name):
        carry_out(
            recipe_fields(name, {"out": out}, {}, {}), dry_run=dry_run, overwrite=overwrite, page=report
        )


@contextmanager
def _pointing_at_comments(name: str) -> Generator[None]:
    """Say where a recipe that ships says what it needs, when it fails for want of it."""
    from tokswap_cli.recipe_files import shipped

    try:
        yield
    except TokswapError as error:
        if name not in shipped():
            raise
        hint = f"`tokswap recipes show {name}` says what it needs; {error.hint}"
        raise TokswapError(error.what, hint, error.lines) from error


def _checked(name: str) -> dict[str, Any]:
    """Return all fields of a recipe of any kind. Raises TokswapError for one that is not right."""
    from tokswap.board.config import KIND as LEADERBOARD
    from tokswap.board.config import make_leaderboard
    from tokswap.mixture.experiment import KIND as EXPERIMENT
    from tokswap.mixture.experiment import make_experiment
    from tokswap.recipe import load_recipe, make_recipe
    from tokswap_cli.recipe_files import find_recipe, kind_of

    fields = load_recipe(find_recipe(name))
    checks = {LEADERBOARD: make_leaderboard, EXPERIMENT: make_experiment}
    return checks.get(kind_of(name), make_recipe)(fields).model_dump()
