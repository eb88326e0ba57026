from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_model, tiny_model

from tokswap.errors import TokswapError
from tokswap.evaluation import language_model
from tokswap.evaluation.language_model import (
    batch_size,
    final_states,
    load_language_model,
    logit_slices,
    logits,
    wrap_model,
)

IDS = torch.tensor([[5, 17, 250, 8, 3, 99], [1, 2, 3, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


@pytest.mark.parametrize("kind", ["llama", "gemma2", "cohere", "phi"])
def test_head_of_states_is_the_models_logits(kind: str) -> None:
    model = tiny_model(kind)
    lm = wrap_model(model)
    true = model(input_ids=IDS, attention_mask=MASK).logits[MASK.bool()]
    states = final_states(lm, IDS, MASK)
    assert states.shape == (2, 6, 32)
    torch.testing.assert_close(logits(lm, states)[MASK.bool()], true)


def test_soft_cap_is_seen_even_where_the_probe_has_small_logits() -> None:
    model = tiny_model("gemma2", initializer_range=1e-3, final_logit_softcapping=30.0).bfloat16()
    lm = wrap_model(model)
    assert lm.head is not model.get_output_embeddings()
    states = 1000 * final_states(lm, IDS)
    assert logits(lm, states).abs().max() <= 30


def test_a_head_that_cannot_be_called_apart_gives_the_whole_forwards_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    lm = wrap_model(model)
    assert lm.states_are_logits
    torch.testing.assert_close(
        logits(lm, final_states(lm, IDS, MASK)), model(input_ids=IDS, attention_mask=MASK).logits
    )


def test_padded_rows_are_masked() -> None:
    known = np.arange(290, dtype=np.int64)
    lm = wrap_model(tiny_model("llama"), known_ids=np.append(known, 4000))
    out = logits(lm, final_states(lm, IDS))
    assert torch.isneginf(out[..., 290:]).all()
    assert torch.isfinite(out[..., :290]).all()


def test_masking_leaves_states_that_are_logits_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    lm = wrap_model(model, known_ids=np.arange(290, dtype=np.int64))
    states = final_states(lm, IDS)
    logits(lm, states)
    assert torch.isfinite(states).all()


def test_slices_are_the_whole() -> None:
    lm = wrap_model(tiny_model("llama"))
    states = final_states(lm, IDS).reshape(-1, 32)
    parts = [(part, values.clone()) for part, values in logit_slices(lm, states, most_bytes=4 * 300 * 5)]
    assert [part.stop - part.start for part, _ in parts] == [5, 5, 2]
    torch.testing.assert_close(torch.cat([values for _, values in parts]), logits(lm, states))


def test_loads_a_folder(tmp_path: Path) -> None:
    save_model(tmp_path)
    lm = load_language_model(tmp_path, device="cpu", dtype="float32")
    assert lm.rows == 300 and lm.max_tokens == 4096 and lm.dtype == torch.float32
    torch.testing.assert_close(logits(lm, final_states(lm, IDS)), tiny_model()(input_ids=IDS).logits)


def test_absent_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(save_model(tmp_path) / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TokswapError, match="up_proj"):
        load_language_model(tmp_path, device="cpu")


@pytest.mark.parametrize("config", ["", "{}", '{"model_type": "nosuch"}', '{"model_type": "bert"'])
def test_a_folder_without_a_model_is_refused(tmp_path: Path, config: str) -> None:
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(TokswapError, match="causal language model"):
        load_language_model(tmp_path, device="cpu")


def test_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path)
    capfd.readouterr()
    load_language_model(tmp_path, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_batches_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = wrap_model(tiny_model())
    assert batch_size(lm, 256) == language_model.BATCH_TOKENS_CPU // 256
    monkeypatch.setattr(language_model, "free_memory", lambda where: 1)
    assert batch_size(lm, 256) == 1


def test_torch_is_not_imported_by_the_package() -> None:
    heavy = "('torch', 'transformers', 'scipy')"
    code = f"import sys, tokswap.evaluation; print([name for name in {heavy} if name in sys.modules])"
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_that_looks_to_the_right_is_refused() -> None:
    import transformers

    config = transformers.BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, initializer_range=0.5
    )
    with pytest.raises(TokswapError, match="to the right"):
        wrap_model(transformers.BertLMHeadModel(config).eval())
