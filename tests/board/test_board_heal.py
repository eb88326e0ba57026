"""A row may go on with a healing: it scores what the two commands give, at the price of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tokswap
from tokswap.board.config import make_leaderboard
from tokswap.board.jobs import Done
from tokswap.board.table import usage_figures
from tokswap.display.markdown import markdown
from tokswap.errors import TokswapError
from tokswap.report import Report

HEAL: dict[str, Any] = {"rung": "lm", "steps": 2, "settings": {"rank": 4, "row_rate": 0.05}}


@pytest.fixture(scope="module")
def config(place: Path, fields: dict[str, Any]) -> dict[str, Any]:
    lines = (
        f"The wall of harbour {i} was built by {i * 7} people; boats were tied up.\n" for i in range(200)
    )
    (place / "mine.txt").write_text("".join(lines))
    heal = {**HEAL, "texts": [str(place / "mine.txt")]}
    methods = {"healed": {"method": "subword", "heal": heal}}
    pairs = {"pair": fields["pairs"]["pair"]}
    more = {"out": str(place / "ladder"), "pairs": pairs, "methods": methods, "rows": {}, "probe": False}
    return {**fields, **more}


def test_a_healed_row_is_the_two_commands(place: Path, config: dict[str, Any]) -> None:
    report = tokswap.leaderboard(config)
    healed = report.sections["pair/healed"]
    assert (healed.facts["state"], healed.facts["healing"]) == ("done", "lm, 2 steps")
    assert healed.sections["heal"].figures["steps"].value == 2

    base, text = config["pairs"]["pair"]["base"], config["texts"][0]
    how: dict[str, Any] = {"method": "subword", "evaluate": False}
    tokswap.transplant(base, config["pairs"]["pair"]["donor"], out=place / "moved", **how)
    texts = [place / "mine.txt"]
    tokswap.heal(
        place / "moved", out=place / "healed", base=base, texts=texts, rung="lm", steps=2, evaluate=False,
        rank=4, row_rate=0.05,
    )  # fmt: skip
    alone = tokswap.evaluate(place / "healed", texts=[text], sample_prompt=None)
    found = healed.sections["evaluation"].figures["bits_per_byte"].value
    assert found == pytest.approx(alone.figures["bits_per_byte"].value, abs=1e-6)
    assert "lm, 2 steps" in markdown(report)
    assert not list((place / "ladder" / "checkpoints").iterdir())


def test_the_price_is_that_of_both_jobs() -> None:
    report = Report("done")
    spent = usage_figures(Done(report, 2.0, 3.0, 500), Done(report, 10.0, 19.0, 400))
    values = {name: figure.value for name, figure in spent.items()}
    assert values == {"seconds": 12.0, "cpu_seconds": 22.0, "peak_memory": 500}


def test_another_text_or_length_is_another_cell(place: Path, config: dict[str, Any]) -> None:
    def states(**heal: Any) -> list[str]:
        row = {"method": "subword", "heal": {**config["methods"]["healed"]["heal"], **heal}}
        report = tokswap.leaderboard({**config, "methods": {"healed": row}}, dry_run=True)
        return [str(cell.facts["state"]) for cell in report.sections.values()]

    assert states() == ["done"]
    assert states(steps=3) == ["to do"]
    (place / "other.txt").write_text("Another text.\n" * 1000)
    assert states(texts=[str(place / "other.txt")]) == ["to do"]


@pytest.mark.parametrize(
    ("heal", "said"),
    [
        ({"rung": "ladder"}, "no rung 'ladder'"),
        ({"rung": "lm", "budget": "5m", "steps": 3}, "both"),
        ({"rung": "lm", "settings": {"rates": 1}}, "no setting 'rates'"),
        ({"rung": "lm", "steps": 1, "settings": {"rate": float("inf")}}, "rate"),
        ({"rung": "lm", "steps": 1, "settings": {"rate": float("nan")}}, "rate"),
    ],
)
def test_a_healing_that_cannot_be_is_named_before_anything_runs(
    config: dict[str, Any], heal: dict[str, Any], said: str
) -> None:
    with pytest.raises(TokswapError, match=said):
        make_leaderboard({**config, "methods": {"row": {"method": "subword", "heal": heal}}})
