"""`tokswap methods`: how new rows can be made, and with which parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokswap_cli import options, output

if TYPE_CHECKING:
    from tokswap.display import Table
    from tokswap.methods import Method

EPILOG = options.examples("tokswap methods", "tokswap methods omp", "tokswap methods subword --json")
SPACES = {
    "donor": "among the donor's rows (the donor needs weights) or in the space that --auxiliary names",
    "base": "among the base's rows: a tokenizer.json is donor enough",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("methods", epilog=EPILOG)(methods)


def methods(
    name: Annotated[str | None, typer.Argument(help="Show one method in full, e.g. omp.")] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """List the methods that make new rows.

    With their parameters, defaults and papers; with a name, that method in full.
    """
    output.begin(quiet=quiet, as_json=as_json)
    from tokswap.methods import get_method
    from tokswap.methods import methods as registry
    from tokswap.report import Report

    chosen = [get_method(name)] if name is not None else list(registry().values())
    report = Report("methods", {"methods": [_facts(method) for method in chosen]})
    output.show(report, [_details(chosen[0])] if name is not None else [_table(chosen)])
    if name is None:
        output.hint("`tokswap methods NAME` shows one in full; --method auto chooses and says why")


def _facts(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "summary": method.summary,
        "description": _description(method),
        "paper": method.paper,
        "space": method.space,
        "parameters": {
            name: {"default": default, **dict(zip(("type", "bounds"), _typed(method, name), strict=True))}
            for name, default in method.defaults.items()
        },
    }


def _table(chosen: list[Method]) -> Table:
    from tokswap.display import Table

    rows = tuple((m.name, m.summary, _parameters(m), m.paper) for m in chosen)
    return Table("Methods", ("name", "what a new row is", "parameters", "paper"), rows)


def _details(method: Method) -> Table:
    from tokswap.display.tables import pairs

    rows = [("what", _description(method)), ("reasons", SPACES[method.space]), ("paper", method.paper)]
    rows += [
        (f"--set {name}", ", ".join(filter(None, (*_typed(method, name), f"default {default}"))))
        for name, default in method.defaults.items()
    ]
    return pairs(method.name, rows)


def _parameters(method: Method) -> str:
    return ", ".join(f"{name}={default}" for name, default in method.defaults.items()) or "–"


def _description(method: Method) -> str:
    """Return a method's docstring without what is for programmers: which errors it raises."""
    import inspect
    import re

    text = inspect.getdoc(method.function) or method.summary
    return re.sub(r"\s*Raises\s+TokswapError.*", "", text, flags=re.DOTALL)


def _typed(method: Method, name: str) -> tuple[str, str]:
    """Return a parameter's type and bounds as a person writes them: ("int", "at least 1")."""
    from tokswap.methods.bounds import type_and_bounds

    bare, bounds = type_and_bounds(method.annotations[name])
    return _type(bare), bounds


def _type(annotation: Any) -> str:
    """Return a parameter's type as a person writes it: "int", "mean, length or first"."""
    from typing import get_args

    values = get_args(annotation)
    if not values:
        return str(getattr(annotation, "__name__", annotation))
    names = [_type(value) if isinstance(value, type) or get_args(value) else str(value) for value in values]
    return " or ".join("None" if name == "NoneType" else name for name in names)
