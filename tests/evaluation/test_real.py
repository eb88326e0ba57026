"""A real model's bits per byte against the loss that transformers itself computes."""

from __future__ import annotations

import math

import pytest
import torch

from tokswap.evaluation import Text, default_texts, evaluate


@pytest.mark.real
@pytest.mark.parametrize(("alias", "start"), [("smollm2", 1), ("gemma3", 2)])
def test_bits_per_byte_are_transformers_own_loss(alias: str, start: int) -> None:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    from tokswap.sources import open_source

    model = open_source(alias)
    document = default_texts()["english"].documents[0][:1000]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(model.folder / "tokenizer.json"))
    ids = torch.tensor([[start, *tokenizer(document, add_special_tokens=False).input_ids]])
    with torch.no_grad():
        loss = AutoModelForCausalLM.from_pretrained(model.folder, dtype=torch.float32)(ids, labels=ids).loss
    bits = loss.item() * (ids.shape[1] - 1) / len(document.encode()) / math.log(2)
    found = {
        dtype: evaluate(
            model, {"en": Text("en", (document,))}, device="cpu", dtype=dtype, sample_prompt=None
        ).figures["bits_per_byte"]
        for dtype in ("float32", "bfloat16")
    }
    assert found["float32"].value == pytest.approx(bits, rel=1e-4)
    assert found["bfloat16"].value == pytest.approx(bits, rel=0.01)
