"""The recipe of a leaderboard as tables: what is compared, and how it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokswap.display.tables import Table, pairs
from tokswap.display.text import escape, label, words
from tokswap.report import Report

OWN_TABLES = ("kind", "pairs", "methods", "rows", "defaults")


def recipe_tables(report: Report) -> list[Table]:
    """Return pairs, rows of methods, rows of folders and settings; a row has all fields that it sets."""
    recipe: Mapping[str, Any] = report.facts["recipe"]
    tables = [
        Table("Pairs", ("pair", "base", "donor"), tuple(_pair(*item) for item in recipe["pairs"].items())),
        _methods(recipe),
        Table("Folders", ("row", "folder", "on"), tuple(_folder(*item) for item in recipe["rows"].items())),
        pairs("Settings", [(label(k), words(v)) for k, v in recipe.items() if k not in OWN_TABLES]),
    ]
    return [table for table in tables if table.rows]


def _pair(name: str, pair: Mapping[str, Any]) -> tuple[str, ...]:
    return escape(name), escape(pair["base"]), escape(pair["donor"])


def _methods(recipe: Mapping[str, Any]) -> Table:
    rows = [_method(name, {**recipe["defaults"], **row}) for name, row in recipe["methods"].items()]
    if recipe["every_method"]:
        rows.append(("…", "every other one", "–", words(recipe["defaults"]), "all pairs"))
    return Table("Rows", ("row", "method", "parameters", "other fields", "on"), tuple(rows))


def _method(name: str, fields: Mapping[str, Any]) -> tuple[str, ...]:
    others = {k: v for k, v in fields.items() if k not in ("method", "parameters", "pairs")}
    others = others if others.get("heal") else {k: v for k, v in others.items() if k != "heal"}
    method, parameters = fields.get("method", "auto"), fields.get("parameters")
    return escape(name), words(method), words(parameters), words(others), _on(fields.get("pairs"))


def _folder(name: str, row: str | Mapping[str, Any]) -> tuple[str, ...]:
    fields: Mapping[str, Any] = {"folder": row} if isinstance(row, str) else row
    return escape(name), words(fields["folder"]), _on(fields.get("pairs"))


def _on(names: list[str] | None) -> str:
    return "all pairs" if names is None else words(names)
