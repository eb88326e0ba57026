"""Carry out a recipe and show it: what `transplant` and `recipes run` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokswap.errors import TokswapError
from tokswap_cli import output
from tokswap_cli.pages import check_page, write_page
from tokswap_cli.progress import progress

if TYPE_CHECKING:
    from tokswap.recipe import Recipe
    from tokswap.report import Report


def run(fields: Mapping[str, Any], *, dry_run: bool, overwrite: bool, page: str | None) -> None:
    """Check everything that can be checked at once, then plan or carry out the recipe and print its report."""
    from tokswap.pipeline import run_recipe

    recipe = _checked(fields)
    if not dry_run and not recipe.out:
        raise TokswapError("no output folder was given", "name one with --out, or look first with --dry-run")
    check_page(page)
    with progress(_stages(recipe)) as on_progress:
        report = run_recipe(
            recipe, dry_run=dry_run, overwrite=overwrite, on_plan=_announce, on_progress=on_progress
        )
    output.show(report)
    output.warn(report.all_warnings())
    write_page(report, page)
    _say_what_next(report, dry_run=dry_run)


def _checked(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe; what is wrong with it and what is missing are told together."""
    from tokswap.recipe import make_recipe

    wrong = [
        TokswapError(
            f"no {name} was given",
            f"name one with --{name}, as in --{name} smollm2, or take a recipe with -c",
        )
        for name in ("base", "donor")
        if not fields.get(name) and not (name == "donor" and fields.get("supertokens"))
    ]
    try:
        recipe = make_recipe({"base": "", "donor": "", **fields})
    except TokswapError as error:
        wrong.append(error)
    else:
        if not wrong:
            return recipe
    raise TokswapError(
        "; ".join(error.what for error in wrong),
        "; ".join(error.hint for error in wrong),
        [line for error in wrong for line in error.lines],
    )


def _stages(recipe: Any) -> tuple[str, ...]:
    calibrates, evaluates = recipe.calibrate != "none", recipe.evaluate
    return ("initialise", *["calibrate"] * calibrates, "write", *["evaluate"] * evaluates)


def _announce(plan: Report) -> None:
    from tokswap.display.transplant import plan_line

    output.message(plan_line(plan))


def _say_what_next(report: Report, *, dry_run: bool) -> None:
    import shlex

    out = str(report.facts.get("out") or "")
    if dry_run:
        _warn_of_disk(report)
        output.planned(out)
        return
    output.message(f"written and verified: {out}")
    if report.facts.get("draft"):
        names = [shlex.quote(str(report.facts[name]).split(" (")[0]) for name in ("donor", "base")]
        call = f"tokswap acceptance {shlex.quote(out)} --target {names[0]} --against {names[1]}"
        output.hint(f"measure how much of it the target keeps with: {call}")
    elif "evaluation" not in report.sections:
        base = str(report.facts["base"]).split(" (")[0]
        output.hint(f"measure it with: tokswap evaluate {shlex.quote(out)} --against {shlex.quote(base)}")
    else:
        output.hint(f"look at its tokenizer with: tokswap inspect {shlex.quote(out)} --tokens 'some text'")


def _warn_of_disk(plan: Report) -> None:
    needed, free = plan.figures["bytes_to_write"], plan.figures["free_disk"]
    if needed.value > free.value:
        from tokswap.display import amount

        output.warn([f"{amount(needed)} are to be written, and {amount(free)} are free on that disk"])
