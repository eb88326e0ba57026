"""The published network: its sizes, and its forward pass against a transcription onto transformers' RoBERTa."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from roberta_oracle import predict
from small_hypernets import released, residual, tiny

from tokswap.errors import TokswapError
from tokswap.hypernet.config import make_config
from tokswap.hypernet.files import Hypernet, shapes_of
from tokswap.hypernet.predict import forward
from tokswap.hypernet.residual import ResidualNetwork

LANGUAGES: dict[str, Any] = {"hn_embed_lang_id": True, "langs": ["de", "en", "sw"]}


@pytest.mark.parametrize(
    ("name", "millions"), [("xlm-roberta-base", 20.635), ("tinyllama", 170.443), ("mistral-7b", 677.741)]
)
def test_the_released_sizes_come_out(name: str, millions: float) -> None:
    """Counted from shapes alone: no tensor of them is made."""
    numbers = sum(math.prod(shape) for shape in shapes_of(released(name)).values())
    assert round(numbers / 1e6, 3) == millions


def test_the_released_names_come_out() -> None:
    shapes = shapes_of(released("tinyllama"))
    assert shapes["in_scaler.w"] == (1, 4096) and shapes["out_scaler.b"] == (1, 2048)
    assert shapes["input_projection.0.weight"] == (2048, 4096)
    assert shapes["input_projection.1.dense1.weight"] == (4096, 2048)
    assert shapes["model.embeddings.position_embeddings.weight"] == (514, 2048)
    assert shapes["model.encoder.layer.2.attention.self.query.bias"] == (2048,)
    assert shapes["model.encoder.layer.0.attention.output.LayerNorm.weight"] == (2048,)
    assert shapes["model.encoder.layer.1.intermediate.dense.weight"] == (4096, 2048)
    assert shapes["output_projection_out.0.ln.bias"] == (2048,)
    assert shapes["output_projection.1.weight"] == (2048, 2048)
    assert shapes["fallback_embeddings.weight"] == (362, 4096)
    assert shapes["bias_projection.weight"] == (1, 2048)
    assert shapes_of(released("xlm-roberta-base"))["lang_embeddings.weight"] == (26, 768)


@pytest.mark.parametrize(
    "more",
    [
        {}, {"separate_out_embeddings": True}, {"separate_out_embeddings": True, "hn_single_head": True}, LANGUAGES,
        {"hn_rescale_embeddings": False, "hn_predict_bias": False}, {"hn_n_extra_tokens": 0, "hn_n_layers": 1},
    ],
    ids=["tied", "two heads", "single head", "languages", "bare", "no extra tokens"],
)  # fmt: skip
def test_the_forward_pass_is_robertas(more: dict[str, Any]) -> None:
    hypernet = tiny(**more)
    config, g = hypernet.config, torch.Generator().manual_seed(1)
    base = torch.randn(40, config.row_width, generator=g)
    surfaces = torch.randint(2, 40 + max(config.hn_n_extra_tokens, 1), (9, 7), generator=g)
    for row, length in enumerate([1, 2, 3, 4, 5, 6, 7, 7, 1]):
        surfaces[row, length:] = config.pad_token_id
    language = config.language_index("sw") if config.languages else None
    made = hypernet.network(surfaces, base, language)
    rows, bias = predict(config, dict(hypernet.network.state_dict()), surfaces, base, language)
    torch.testing.assert_close(made.rows, rows, rtol=1e-4, atol=1e-5)
    assert (bias is None) == (made.bias is None) == (not config.hn_predict_bias)
    if bias is not None:
        torch.testing.assert_close(made.bias, bias, rtol=1e-4, atol=1e-5)
    assert made.rows.std(0).min() > 1e-3, "the rows differ, so that something was compared"


def test_what_pads_a_spelling_changes_nothing() -> None:
    hypernet = tiny()
    base = torch.randn(40, 12, generator=torch.Generator().manual_seed(1))
    short = torch.tensor([[5, 9, 1]])
    long = torch.tensor([[5, 9, 1, 1, 1, 1, 1]])
    torch.testing.assert_close(hypernet.network(short, base).rows, hypernet.network(long, base).rows)


@pytest.mark.parametrize(
    "made", [tiny(), tiny(hn_predict_bias=False), residual(n_embd=12, original_vocab_size=40)]
)
def test_tokens_of_any_lengths_go_through_together_as_one_by_one(made: Hypernet) -> None:
    generator = torch.Generator().manual_seed(3)
    base, start = torch.randn(40, 12, generator=generator), torch.randn(30, 12, generator=generator)
    pad, longest = made.config.pad_token_id, made.config.hn_surface_maxlen
    surfaces = torch.randint(2, 40, (30, longest), generator=generator)
    lengths = torch.arange(30) % (longest + 1)
    surfaces[torch.arange(longest) >= lengths[:, None]] = pad
    found = forward(made.network, surfaces, base, start)
    for i in range(30):
        one = forward(made.network, surfaces[i : i + 1], base, start[i : i + 1])
        whole = (made.network(surfaces[i : i + 1], base, *[start[i : i + 1]] * made.config.residual),)[0]
        torch.testing.assert_close(found.rows[i], one.rows[0], rtol=1e-5, atol=1e-5)
        if lengths[i]:
            torch.testing.assert_close(found.rows[i], whole.rows[0], rtol=1e-5, atol=1e-5)
        if found.bias is not None:
            assert one.bias is not None
            torch.testing.assert_close(found.bias[i], one.bias[0], rtol=1e-5, atol=1e-5)
    assert (found.bias is not None) == made.config.hn_predict_bias


def test_languages_are_asked_for_by_their_codes() -> None:
    config = tiny(**LANGUAGES).config
    assert config.language_index("en") == 1
    with pytest.raises(TokswapError, match="'xx' is none") as caught:
        config.language_index("xx")
    assert "de, en, sw" in caught.value.hint
    with pytest.raises(TokswapError, match="none was given"):
        config.language_index("")
    with pytest.raises(TokswapError, match="no languages"):
        tiny().config.language_index("en")
    assert tiny(hn_embed_lang_id=True, n_langs=26).config.language_index("25") == 25


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"hn_concat_last_hidden_state": True}, "hn_concat_last_hidden_state"),
        ({"hn_model_type": "t5"}, "t5"),
        ({"hn_num_attention_heads": 5}, "no multiple of 5"),
        ({"n_embd": 0}, "n_embd"),
        ({"hn_embed_lang_id": True}, "n_langs"),
        ({"langs": ["de"], "n_langs": 2, "hn_embed_lang_id": True}, "langs names 1"),
        ({"original_vocab_size": "many"}, "original_vocab_size"),
    ],
)
def test_configurations_that_cannot_be_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(TokswapError, match=words) as caught:
        make_config(tiny().config.to_dict() | fields)
    assert caught.value.hint


def test_other_keys_of_a_configuration_are_kept() -> None:
    config = make_config(tiny().config.to_dict() | {"architectures": ["ZettHypernet"]})
    assert config.to_dict()["architectures"] == ["ZettHypernet"]
    assert make_config(config.to_dict()) == config


def test_a_fresh_residual_network_returns_its_start_bit_for_bit() -> None:
    g = torch.Generator().manual_seed(3)
    network = ResidualNetwork(residual().config).eval().requires_grad_(False)
    base = torch.randn(160, 24, generator=g) * torch.rand(160, 1, generator=g)
    network.standardise(base, torch.arange(100))
    surfaces, start = torch.randint(0, 160, (50, 5), generator=g), torch.randn(50, 24, generator=g)
    made = network(surfaces, base, start).rows
    assert torch.equal(made.view(torch.int32), start.view(torch.int32))
    network.output_projection.weight.normal_(generator=g)
    assert not torch.equal(network(surfaces, base, start).rows, start)
