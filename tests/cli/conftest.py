"""Two tiny models with different tokenizers, and a way to run the command in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from tiny_models import byte_level, checkpoint, sentencepiece

NASTY_TOKEN = "\x1b[31mred\u202e<b>"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Stdout as the one JSON document that it has to be."""
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: str | Path) -> Ran:
        from tokswap_cli.app import main

        capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a byte-level tokenizer, one token of which would colour a terminal."""
    tokenizer = byte_level()
    for text in (NASTY_TOKEN,):
        tokenizer["added_tokens"].append(
            {"id": len(tokenizer["model"]["vocab"]), "content": text, "special": True, "single_word": False}
            | {"lstrip": False, "rstrip": False, "normalized": False}
        )
    folder = tmp_path_factory.mktemp("models") / "base"
    checkpoint(folder, tokenizer)
    return folder


@pytest.fixture(scope="session")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with a SentencePiece tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "donor"
    checkpoint(folder, sentencepiece(), seed=1)
    return folder


@pytest.fixture(scope="session")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "prose.txt"
    path.write_text("The harbour wall was built by the people.\n" * 8 + "%%\nAnother wall.\n" * 3)
    return path
