"""Tiny models for leaderboards, and a cache of the test's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from tiny_models import byte_level, checkpoint, sentencepiece


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a donor, a tokenizer alone and a text."""
    folder = tmp_path_factory.mktemp("board")
    checkpoint(folder / "base", byte_level())
    checkpoint(folder / "donor", sentencepiece(), seed=1)
    (folder / "alone").mkdir()
    (folder / "alone" / "tokenizer.json").write_text(json.dumps(sentencepiece()))
    text = "The harbour wall was built by the people.\n" * 8 + "%%\nAnother wall.\n" * 3
    (folder / "prose.txt").write_text(text)
    return folder


@pytest.fixture(scope="session")
def fields(place: Path) -> dict[str, Any]:
    """A leaderboard with a method, a method that fails, one that doesn't apply, and a folder."""
    return {
        "kind": "leaderboard",
        "out": str(place / "out"),
        "pairs": {
            "pair": {"base": str(place / "base"), "donor": str(place / "donor")},
            "alone": {"base": str(place / "base"), "donor": str(place / "alone" / "tokenizer.json")},
        },
        "methods": {
            "sub": {"method": "subword", "pairs": ["pair"]},
            "broken": {"method": "mean", "map": {"<nowhere>": "x"}, "pairs": ["pair"]},
            "omp": {"method": "omp", "pairs": ["alone"]},
        },
        "rows": {"given": str(place / "{pair}-given")},
        "texts": [str(place / "prose.txt")],
        "device": "cpu",
        "dtype": "float32",
        "threads": 1,
    }
