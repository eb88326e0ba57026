"""Carry out a recipe of kind mixture-experiment: tokenizers trained on known mixtures, which are then inferred."""

from __future__ import annotations

from tokswap.errors import TokswapError
from tokswap_cli import output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress


def run(name: str, *, out: str | None, dry_run: bool, page: str | None) -> None:
    """Run the trials and show errors by number of merges; nothing is written but the page that was asked for."""
    from tokswap.display import Table, words
    from tokswap.mixture.experiment import make_experiment, run_experiment
    from tokswap.recipe import load_recipe
    from tokswap.report import Report
    from tokswap_cli.recipe_files import find_recipe

    if out is not None:
        raise TokswapError(
            "an experiment has no output folder",
            "keep its trials with `--json > FILE`, or a page with --report",
        )
    config = make_experiment(load_recipe(find_recipe(name)))
    check_page(page)
    if dry_run:
        fields = config.model_dump()
        rows = tuple((field, words(value)) for field, value in fields.items())
        output.show(Report("recipe", {"recipe": fields}), [Table("To be tried", ("field", "value"), rows)])
        return
    with progress(("trials",)) as on_progress:
        result = run_experiment(config, on_progress=on_progress)
    output.show(result)
    output.warn(result.all_warnings())
    write_page(result, page)
