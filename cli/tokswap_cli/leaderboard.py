"""`tokswap leaderboard`: methods on pairs of models and texts, as one table that can be resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokswap.errors import TokswapError
from tokswap_cli import options, output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

if TYPE_CHECKING:
    from tokswap.report import Report

EPILOG = options.examples(
    "tokswap leaderboard --dry-run",
    "tokswap recipes cp leaderboard mine.yaml",
    "tokswap leaderboard -c mine.yaml --out my-leaderboard",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("leaderboard", epilog=EPILOG)(leaderboard)


def leaderboard(
    config: Annotated[
        str,
        typer.Option(
            "--config",
            "-c",
            metavar="RECIPE",
            help="A YAML recipe of kind leaderboard, or the name of one that ships with tokswap.",
        ),
    ] = "leaderboard",
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="The folder of results and table, in place of the recipe's."
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure every cell again, whatever results there are.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and run nothing; models are fetched if need be.")
    ] = False,
    as_json: options.Json = False,
    report: options.ReportPath = None,
    quiet: options.Quiet = False,
) -> None:
    """Compare methods on pairs of models and texts.

    Each cell has its result in a file: a run that was stopped goes on where it was. A cell that fails is shown with
    its reason, and the exit code is 1.
    """
    output.begin(quiet=quiet, as_json=as_json)
    run(config, out=out, dry_run=dry_run, fresh=fresh, page=report)


def run(config: str, *, out: str | None, dry_run: bool, fresh: bool, page: str | None) -> None:
    """Run a leaderboard and show its tables; ends with 1 when a cell failed."""
    from tokswap import api
    from tokswap_cli.recipe_files import find_recipe, is_transplant

    check_page(page)
    recipe = find_recipe(config)
    if is_transplant(config):
        raise TokswapError(
            f"{config} is the recipe of one transplant, not of a leaderboard",
            f"run it with: tokswap transplant -c {config}",
        )
    with progress(()) as on_progress:
        result = api.leaderboard(
            recipe, out=out, dry_run=dry_run, fresh=fresh, on_cell=_say_cell, on_progress=on_progress
        )
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, page)
    if dry_run:
        output.hint("nothing was run; without --dry-run the cells that are to do will be")
    else:
        output.message(f"written: {result.facts['out']}/leaderboard.md, .json and .html")
    if "failed" in result.figures:
        raise typer.Exit(1)


def _say_cell(cell: Report) -> None:
    from tokswap.display.leaderboard import cell_line

    output.message(cell_line(cell))
