"""A report as tables, for whoever draws them: a list of plain rows, every text already escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tokswap.display.text import label, with_interval, words
from tokswap.report import Report


@dataclass(frozen=True)
class Table:
    """A title, column heads ("" for none) and rows of escaped texts; `align` has l or r for each column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"table {self.title!r}: every row needs {len(self.columns)} cells")

    def is_right(self, column: int) -> bool:
        """Tell whether a column holds numbers, which are set flush right."""
        return self.align[column : column + 1] == "r"


def pairs(title: str, rows: Iterable[tuple[str, str]], *, note: str = "") -> Table:
    """Return a table of names and values without column heads."""
    return Table(title, ("", ""), tuple(rows), note=note)


def tables_of(report: Report) -> list[Table]:
    """Return the tables of a report by its kind; one of a kind without a layout shows all it has."""
    return _layouts().get(report.kind, generic_tables)(report)


def generic_tables(report: Report) -> list[Table]:
    """Return facts and figures as they are, then those of the sections."""
    rows = [(label(name), words(value)) for name, value in report.facts.items()]
    rows += [(label(name), with_interval(figure)) for name, figure in report.figures.items()]
    out = [pairs(label(report.kind), rows)] if rows else []
    for section in report.sections.values():
        out += tables_of(section)
    return out


def _layouts() -> Mapping[str, Callable[[Report], list[Table]]]:
    from tokswap.display import (
        acceptance,
        auditing,
        evaluation,
        healing,
        leaderboard,
        leaderboard_recipe,
        mixture,
        mixture_experiment,
        replacing,
        supertokens,
        tasks,
        tokenizer_metrics,
        tokenizers,
        transplant,
        trimming,
        verification,
    )

    return {
        "leaderboard recipe": leaderboard_recipe.recipe_tables,
        "plan": transplant.plan_tables,
        "transplant": transplant.transplant_tables,
        "supertokens": supertokens.supertokens_tables,
        "extension": supertokens.extension_tables,
        "replacement": replacing.replacement_tables,
        "trim": trimming.trim_tables,
        "acceptance": acceptance.acceptance_tables,
        "evaluation": evaluation.evaluation_tables,
        "healing": healing.healing_tables,
        "healing_evaluation": healing.score_tables,
        "leaderboard": leaderboard.leaderboard_tables,
        "comparison": tokenizers.comparison_tables,
        "tasks": tasks.tasks_tables,
        "tokenizers": tokenizer_metrics.metrics_tables,
        "inspection": tokenizers.inspection_tables,
        "mixture": mixture.mixture_tables,
        "mixture-experiment": mixture_experiment.experiment_tables,
        "verification": verification.verification_tables,
        "audit": auditing.audit_tables,
        "diagnosis": verification.verification_tables,
        "restoration": verification.restoration_tables,
    }
