"""The hypernetwork of ZeTT (arXiv 2405.07883, section 3.2), with the state-dict names of the released checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from tokswap.hypernet.config import POSITIONS, HypernetConfig

if TYPE_CHECKING:
    from tokswap.methods import SideBySide

LAYER_EPS, PROJECTOR_EPS = 1e-5, 1e-6


@dataclass(frozen=True)
class Predicted:
    """`rows` Float[n w]: input rows, followed by output rows where they are apart; `bias` Float[n], or None."""

    rows: Tensor
    bias: Tensor | None = None


class Rescaler(nn.Module):
    """w x + b for each of n columns: rows of the base brought to one scale, and predicted ones back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1, width), requires_grad=False)
        self.b = nn.Parameter(torch.zeros(1, width), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return Float[… n]."""
        return self.w * x + self.b


class ProjectorBlock(nn.Module):
    """LN(GELU(W2 GELU(W1 x)) + x), with GELU's tanh approximation."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dense1, self.dense2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.ln = nn.LayerNorm(width, eps=PROJECTOR_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return Float[… h]."""
        inner = gelu(self.dense1(x), approximate="tanh")
        return self.ln(gelu(self.dense2(inner), approximate="tanh") + x)


class Dense(nn.Module):
    """A linear layer, the residual and a norm: RoBERTa's `output`."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=LAYER_EPS)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        """Return Float[… h]."""
        return self.LayerNorm(self.dense(inner) + x)


class Attention(nn.Module):
    """Queries, keys and values of RoBERTa's self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, asking: Tensor, x: Tensor, mask: Tensor) -> Tensor:
        """Return Float[n q h] for some positions of x Float[n L h]; `mask` Bool[n 1 1 L] is false at padding."""
        q, k, v = (
            layer(given).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, given in ((self.query, asking), (self.key, x), (self.value, x))
        )  # (n heads q h/heads), (n heads L h/heads) twice
        return scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class Layer(nn.Module):
    """A layer of RoBERTa: the norm after each residual, GELU in its exact form."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": Attention(width, heads), "output": Dense(width, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Dense(inner, width)

    def forward(self, x: Tensor, mask: Tensor, positions: int) -> Tensor:
        """Return Float[n positions h]: the first ones of x Float[n L h]."""
        first = x[:, :positions]
        x = self.attention["output"](self.attention["self"](first, x, mask), first)
        return self.output(gelu(self.intermediate["dense"](x)), x)


class Embeddings(nn.Module):
    """What RoBERTa adds to its inputs; `word_embeddings` is stored by the checkpoints and used by nobody."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(words, width)
        self.position_embeddings = nn.Embedding(POSITIONS, width)
        self.token_type_embeddings = nn.Embedding(1, width)
        self.LayerNorm = nn.LayerNorm(width, eps=LAYER_EPS)

    def forward(self, x: Tensor, language: Tensor | None) -> Tensor:
        """Return Float[n L h], or one more position: the language, which no position and no type is added to."""
        x = x + self.position_embeddings.weight[: x.shape[1]] + self.token_type_embeddings.weight[0]
        if language is not None:
            x = torch.cat([x, language.expand(len(x), 1, -1)], dim=1)
        return self.LayerNorm(x)


class Encoder(nn.Module):
    """Embeddings and layers, under RoBERTa's names."""

    def __init__(self, config: HypernetConfig, words: int) -> None:
        super().__init__()
        width, inner = config.hn_hidden_size, config.hn_intermediate_size
        self.embeddings = Embeddings(width, words)
        layers = (Layer(width, inner, config.heads) for _ in range(config.hn_n_layers))
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(self, x: Tensor, mask: Tensor, language: Tensor | None = None) -> Tensor:
        """Return the state Float[n h] at the first of inputs Float[n L h]; `mask` Bool[n L] is false at padding."""
        x = self.embeddings(x, language)
        if language is not None:
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        *lower, last = self.encoder["layer"].children()
        for layer in lower:
            x = layer(x, mask[:, None, None], x.shape[1])
        return last(x, mask[:, None, None], 1)[:, 0]


class ZettNetwork(nn.Module):
    """Spelling → rows: the base rows of the pieces, an encoder, the state at the first piece, heads."""

    def __init__(self, config: HypernetConfig) -> None:
        super().__init__()
        self.config = config
        width, inner, row = config.hn_hidden_size, config.hn_intermediate_size, config.row_width
        if config.languages:
            self.lang_embeddings = nn.Embedding(config.languages, width)
        self.model = Encoder(config, config.pad_token_id + 1)
        self.fallback_embeddings = nn.Embedding(max(config.hn_n_extra_tokens, 1), row)
        self.input_projection = nn.Sequential(nn.Linear(row, width), ProjectorBlock(width, inner))
        one = config.hn_single_head or not config.separate_out_embeddings
        self.output_projection = _head(width, inner, row if one else config.n_embd)
        self.output_projection_out = None if one else _head(width, inner, config.n_embd)
        if config.hn_rescale_embeddings:
            self.in_scaler, self.scaler = Rescaler(row), Rescaler(config.n_embd)
            if config.separate_out_embeddings:
                self.out_scaler = Rescaler(config.n_embd)
        if config.hn_predict_bias:
            self.bias_projection = nn.Linear(width, 1)

    def forward(self, surfaces: Tensor, base: Tensor | SideBySide, language: int | None = None) -> Predicted:
        """Return rows and biases for spellings.

        `surfaces` Int[n L] are base ids, `original_vocab_size` + i for fallback i, and the padding id; `base`
        Float[V w] the base's rows.
        """
        rows = self._pieces(surfaces, base)
        table = None if language is None else self.lang_embeddings.weight[language]
        mask = surfaces != self.config.pad_token_id
        first = self.model(self.input_projection(rows), mask, table)  # (n h)
        bias = self.bias_projection(first)[:, 0] if self.config.hn_predict_bias else None
        return Predicted(self._scaled(first), bias)

    def _pieces(self, surfaces: Tensor, base: Tensor | SideBySide) -> Tensor:
        """Return Float[n L w]; only rows of the base are rescaled."""
        last = self.config.original_vocab_size - 1
        fallback = self.fallback_embeddings((surfaces - last - 1).clamp(min=0))
        rows = base[surfaces.clamp(max=last).to(_device(base))].to(fallback)
        if self.config.hn_rescale_embeddings:
            rows = self.in_scaler(rows)
        return torch.where((surfaces > last)[..., None], fallback, rows)

    def _scaled(self, first: Tensor) -> Tensor:
        rows = self.output_projection(first)
        if self.output_projection_out is not None:
            rows = torch.cat([rows, self.output_projection_out(first)], dim=-1)
        if not self.config.hn_rescale_embeddings:
            return rows
        parts = [self.scaler(rows[:, : self.config.n_embd])]
        if self.config.separate_out_embeddings:
            parts.append(self.out_scaler(rows[:, self.config.n_embd :]))
        return torch.cat(parts, dim=-1)


def _head(width: int, inner: int, out: int) -> nn.Sequential:
    return nn.Sequential(ProjectorBlock(width, inner), nn.Linear(width, out))


def _device(base: Tensor | SideBySide) -> torch.device:
    return base.device if isinstance(base, Tensor) else base.input.device
