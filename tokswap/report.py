"""What was planned or measured: plain data with units, the same type for a dry run, a run and an evaluation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Figure:
    """One number and its unit; `low` and `high` bound a 95 % interval where one was measured."""

    value: float | int
    unit: str
    low: float | None = None
    high: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able data; numbers that JSON can't hold become None."""
        out: dict[str, Any] = {"value": _finite(self.value), "unit": self.unit}
        if self.low is not None and self.high is not None:
            out |= {"low": _finite(self.low), "high": _finite(self.high)}
        if self.note:
            out["note"] = self.note
        return out


@dataclass(frozen=True)
class Report:
    """A tree of facts (names, policies), figures (numbers with units) and sections (one per text, arm, …)."""

    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    figures: Mapping[str, Figure] = field(default_factory=dict[str, Figure])
    sections: Mapping[str, Report] = field(default_factory=dict[str, "Report"])
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as JSON-able data, with the schema version at the root."""
        return {"schema_version": SCHEMA_VERSION} | self._body()

    def _body(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "facts": dict(self.facts),
            "figures": {name: figure.to_dict() for name, figure in self.figures.items()},
            "sections": {name: section._body() for name, section in self.sections.items()},
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """Return the report that `to_dict` wrote; raises KeyError or TypeError for other data."""
        figures = {name: _figure(figure) for name, figure in data["figures"].items()}
        sections = {name: cls.from_dict(section) for name, section in data["sections"].items()}
        return cls(data["kind"], dict(data["facts"]), figures, sections, tuple(data["warnings"]))

    def to_json(self) -> str:
        """Return one JSON document."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def all_warnings(self) -> tuple[str, ...]:
        """Return this report's warnings and those of its sections, without repeats, in order."""
        mine = list(self.warnings)
        for section in self.sections.values():
            mine.extend(section.all_warnings())
        return tuple(dict.fromkeys(mine))


def _figure(data: Mapping[str, Any]) -> Figure:
    """Return a figure; what was no number when it was written is none again."""
    value = math.nan if data["value"] is None else data["value"]
    return Figure(value, data["unit"], data.get("low"), data.get("high"), data.get("note", ""))


def _finite(value: float | int | None) -> float | int | None:
    return value if value is not None and math.isfinite(value) else None
