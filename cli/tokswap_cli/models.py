"""`tokswap models`: the short names that --base and --donor take, and fetching what they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tokswap_cli import options, output
from tokswap_cli.progress import progress

if TYPE_CHECKING:
    from tokswap.display import Table
    from tokswap.sources import ModelEntry

EPILOG = options.examples("tokswap models", "tokswap models --json", "tokswap models fetch smollm2")
FETCH_EPILOG = options.examples("tokswap models fetch smollm2", "tokswap models fetch gemma3 --json")

group = typer.Typer(rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the command and its sub-command."""
    group.callback(invoke_without_command=True)(models)
    group.command("fetch", epilog=FETCH_EPILOG)(fetch)
    app.add_typer(group, name="models", epilog=EPILOG)


def models(context: typer.Context, as_json: options.Json = False, quiet: options.Quiet = False) -> None:
    """List the models that have short names.

    Also where they come from, how large they are, and whether they are on this machine.
    """
    if context.invoked_subcommand:
        return
    output.begin(quiet=quiet, as_json=as_json)
    from dataclasses import asdict

    from tokswap.report import Report
    from tokswap.sources import cache_folder, list_models

    entries = list_models()
    facts = {"cache": str(cache_folder()), "models": [asdict(entry) for entry in entries]}
    output.show(Report("models", facts), [_table(entries)])
    output.hint("`tokswap models fetch NAME` brings one here; naming it in a command does so too")


def fetch(
    name: Annotated[str, typer.Argument(help="An alias of `tokswap models`, e.g. smollm2.")],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Bring a model to this machine, checked against its pinned hash where it has one."""
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.report import Report
    from tokswap.sources import fetch as fetch_model

    with progress(("download", "convert")) as on_progress:
        folder = fetch_model(name, on_progress)
    if as_json:
        output.show(Report("model", {"alias": name, "folder": str(folder)}))
    else:
        output.text(str(folder))
    output.hint(f"look at it with: tokswap inspect {name}")


def _table(entries: list[ModelEntry]) -> Table:
    from tokswap.display import Table, amount
    from tokswap.report import Figure

    rows = tuple(
        (
            entry.alias,
            entry.description,
            f"{entry.where}: {entry.target}",
            "–" if entry.size_bytes is None else amount(Figure(entry.size_bytes, "bytes")),
            entry.licence,
            "yes" if entry.available else "no",
        )
        for entry in entries
    )
    return Table("Models", ("alias", "what", "where", "size", "licence", "here"), rows, "lllrll")
