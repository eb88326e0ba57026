"""Gemma 3 without the tokens that English doesn't need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

import tokswap
from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.data_files import data_folder
from tokswap.evaluation import default_texts
from tokswap.sources import open_source
from tokswap.tokenization import load_tokenizer

pytestmark = pytest.mark.real


def states(model: Checkpoint, ids: list[int]) -> torch.Tensor:
    loaded = AutoModel.from_pretrained(model.folder, dtype=torch.bfloat16).eval()
    with torch.no_grad():
        return torch.stack(loaded(torch.tensor([ids]), output_hidden_states=True).hidden_states)


def test_gemma_in_english_has_the_hidden_states_it_had(tmp_path: Path) -> None:
    english = data_folder("data") / "texts" / "evaluation" / "english.txt"
    report = tokswap.trim("gemma3", [english], out=tmp_path / "out", coverage=1, evaluate=False)
    figures = report.figures
    assert figures["parameters_saved"].value == 640 * (262_144 - figures["new_rows"].value) > 160_000_000
    assert figures["token_ratio"].value == 1
    base, out = open_source("gemma3"), open_checkpoint(tmp_path / "out")
    text = default_texts()["english"].documents[0][:1500]
    engines = [load_tokenizer(model.tokenizer) for model in (base, out)]
    before, after = (engine.encode(text) for engine in engines)
    assert before.tokens == after.tokens and before.ids != after.ids
    assert torch.equal(states(base, before.ids), states(out, after.ids))
    for foreign in ("Жители порта — 水路と橋", "  \t\n 42\u200b🙂"):
        assert engines[1].decode(engines[1].encode(foreign, add_special_tokens=False).ids) == foreign
