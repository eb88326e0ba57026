"""The configuration of a hypernetwork, under the keys of the released checkpoints (`hn_*`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tokswap.errors import TokswapError

ZETT, RESIDUAL = "zett_hypernetwork", "tokswap_residual_hypernetwork"
HEAD_WIDTH = 64
"""Width of an attention head where a configuration gives no number of heads."""
POSITIONS = 514
"""Rows of RoBERTa's table of positions, of which a spelling uses the first few."""
# What no released checkpoint uses, and what is not computed here.
_UNUSED: Mapping[str, object] = {
    "hn_model_type": "roberta",
    "hn_embed_using_source_embeddings": True,
    "hn_embed_target_priors": False,
    "hn_add_inter_token_attention": False,
    "hn_concat_last_hidden_state": False,
}


class Start(BaseModel):
    """The training-free method whose rows a residual network refines, with its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = "subword"
    parameters: dict[str, Any] = Field(default_factory=dict)


class HypernetConfig(BaseModel):
    """What decides a hypernetwork's tensors and how they are used; other keys of a config.json are kept as they are.

    `n_embd` is the base's hidden size, `original_vocab_size` its tokens: surface ids from there on are
    `fallback_embeddings`. `start` and `vocabulary` (a digest of the base's tokens) are ours; released checkpoints
    have neither.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    model_type: Literal["zett_hypernetwork", "tokswap_residual_hypernetwork"] = ZETT
    n_embd: int = Field(ge=1)
    hn_hidden_size: int = Field(ge=1)
    hn_intermediate_size: int = Field(ge=1)
    hn_n_layers: int = Field(default=3, ge=0)
    hn_num_attention_heads: int | None = Field(default=None, ge=1)
    hn_surface_maxlen: int = Field(default=16, ge=1, lt=POSITIONS)
    hn_n_extra_tokens: int = Field(default=0, ge=0)
    hn_rescale_embeddings: bool = False
    hn_predict_bias: bool = True
    hn_single_head: bool = False
    hn_embed_lang_id: bool = False
    n_langs: int | None = Field(default=None, ge=1)
    langs: list[str] = Field(default_factory=list)
    separate_out_embeddings: bool = False
    original_vocab_size: int = Field(ge=1)
    pad_token_id: int = Field(ge=0)
    start: Start = Field(default_factory=Start)
    vocabulary: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> HypernetConfig:
        if self.hn_hidden_size % self.heads:
            raise ValueError(f"hn_hidden_size {self.hn_hidden_size} is no multiple of {self.heads} heads")
        if self.hn_embed_lang_id and not self.languages:
            raise ValueError("hn_embed_lang_id without n_langs or langs")
        if self.langs and self.n_langs is not None and len(self.langs) != self.n_langs:
            raise ValueError(f"n_langs is {self.n_langs}, and langs names {len(self.langs)}")
        return self

    @property
    def residual(self) -> bool:
        """Does it refine rows that another method made?"""
        return self.model_type == RESIDUAL

    @property
    def heads(self) -> int:
        """Attention heads of each layer."""
        return self.hn_num_attention_heads or max(1, self.hn_hidden_size // HEAD_WIDTH)

    @property
    def row_width(self) -> int:
        """Numbers of a base token: its input row, followed by its output row where they are apart."""
        return self.n_embd * (2 if self.separate_out_embeddings else 1)

    @property
    def languages(self) -> int:
        """Rows of the table of languages."""
        return (self.n_langs or len(self.langs)) if self.hn_embed_lang_id else 0

    def language_index(self, language: str) -> int | None:
        """Return the row of a language's code, None without a table of languages.

        Raises TokswapError for a code that isn't there, and where one is needed and none is given.
        """
        if not self.hn_embed_lang_id:
            if language:
                raise TokswapError("this hypernetwork knows no languages", "leave language out")
            return None
        if language in self.langs:
            return self.langs.index(language)
        known = ", ".join(self.langs) or f"numbers from 0 to {self.languages - 1}"
        if not self.langs and language.isdecimal() and int(language) < self.languages:
            return int(language)
        raise TokswapError(
            f"the hypernetwork needs a language, and {language!r} is none of its own" if language
            else "the hypernetwork was trained with languages, and none was given",
            f"choose one with --set language=…: {known}",
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return self.model_dump(mode="json") | {"hn_num_attention_heads": self.heads}


def make_config(fields: Mapping[str, Any], name: str = "the configuration") -> HypernetConfig:
    """Check the content of a hypernetwork's config.json; raises TokswapError for what can't be."""
    for key, needed in _UNUSED.items():
        if fields.get("model_type") != RESIDUAL and fields.get(key, needed) != needed:
            raise TokswapError(
                f"{name} has {key} = {fields[key]!r}, which tokswap doesn't compute",
                f"use a hypernetwork with {key} = {needed!r}, as all released ones have",
            )
    try:
        return HypernetConfig.model_validate(dict(fields))
    except ValidationError as error:
        found = "; ".join(
            ".".join(map(str, entry["loc"])) + (": " if entry["loc"] else "") + entry["msg"]
            for entry in error.errors()
        )
        raise TokswapError(
            f"{name} is no configuration of a hypernetwork: {found}",
            "give the folder of a ZeTT hypernetwork, or of one that `tokswap hypernet train` wrote",
        ) from None
