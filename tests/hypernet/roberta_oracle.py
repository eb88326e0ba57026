"""ZeTT's forward pass transcribed onto transformers' RoBERTa, independently of tokswap's own network."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf
from torch import Tensor

from tokswap.hypernet.config import HypernetConfig


def roberta(config: HypernetConfig, tensors: dict[str, Tensor]) -> Any:
    model = tf.RobertaModel(
        tf.RobertaConfig(
            vocab_size=config.pad_token_id + 1,
            hidden_size=config.hn_hidden_size,
            num_hidden_layers=config.hn_n_layers,
            num_attention_heads=config.heads,
            intermediate_size=config.hn_intermediate_size,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        ),
        add_pooling_layer=False,
    ).eval()
    mine = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    model.load_state_dict(mine)
    return model


def project(x: Tensor, tensors: dict[str, Tensor], name: str) -> Tensor:
    def linear(x: Tensor, part: str) -> Tensor:
        return x @ tensors[f"{name}.{part}.weight"].T + tensors[f"{name}.{part}.bias"]

    def bent(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))

    y = bent(linear(bent(linear(x, "dense1")), "dense2")) + x
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    return y * tensors[f"{name}.ln.weight"] + tensors[f"{name}.ln.bias"]


def predict(
    config: HypernetConfig, t: dict[str, Tensor], surfaces: Tensor, base: Tensor, language: int | None
) -> tuple[Tensor, Tensor | None]:
    """Return rows (input and output side by side) and biases, one token at a time."""
    model = roberta(config, t)
    rows, biases = [], []
    for spelling in surfaces:
        inputs = []
        for piece in spelling.tolist():
            if piece >= config.original_vocab_size:
                inputs.append(t["fallback_embeddings.weight"][piece - config.original_vocab_size])
            else:
                inputs.append(base[piece])
                if config.hn_rescale_embeddings:
                    inputs[-1] = (t["in_scaler.w"] * inputs[-1] + t["in_scaler.b"])[0]
        x = torch.stack(inputs)
        x = x @ t["input_projection.0.weight"].T + t["input_projection.0.bias"]
        x = project(x, t, "input_projection.1")
        mask = (spelling != config.pad_token_id).long()
        if language is not None:
            added = t["model.embeddings.token_type_embeddings.weight"][0]
            added = added + t["model.embeddings.position_embeddings.weight"][len(spelling)]
            x = torch.cat([x, (t["lang_embeddings.weight"][language] - added)[None]])
            mask = torch.cat([mask, torch.ones(1, dtype=torch.long)])
        out = model(inputs_embeds=x[None], attention_mask=mask[None], position_ids=torch.arange(len(x))[None])
        first = out.last_hidden_state[0, 0]

        def head(name: str, first: Tensor = first) -> Tensor:
            return project(first, t, f"{name}.0") @ t[f"{name}.1.weight"].T + t[f"{name}.1.bias"]

        row = head("output_projection")
        if "output_projection_out.1.weight" in t:
            row = torch.cat([row, head("output_projection_out")])
        if config.hn_rescale_embeddings:
            d = config.n_embd
            parts = [t["scaler.w"][0] * row[:d] + t["scaler.b"][0]]
            if config.separate_out_embeddings:
                parts.append(t["out_scaler.w"][0] * row[d:] + t["out_scaler.b"][0])
            row = torch.cat(parts)
        rows.append(row)
        if config.hn_predict_bias:
            biases.append((t["bias_projection.weight"] @ first + t["bias_projection.bias"])[0])
    return torch.stack(rows), torch.stack(biases) if biases else None
