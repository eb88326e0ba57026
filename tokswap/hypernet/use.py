"""A hypernetwork for a transplant: found by its name, checked against the base, made ready for the new tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tokswap.align import Alignment, Origin
from tokswap.cache import cache_folder
from tokswap.checkpoint import SINGLE_NAME, Checkpoint, read_json
from tokswap.commit_stage import Places
from tokswap.errors import TokswapError
from tokswap.hypernet.config import HypernetConfig, make_config
from tokswap.hypernet.files import load_hypernet
from tokswap.hypernet.flax_files import FLAX_NAME
from tokswap.hypernet.places import KIND
from tokswap.hypernet.predict import Predictor
from tokswap.hypernet.surfaces import surface_matrix, vocabulary_digest, with_fallbacks
from tokswap.vocab import Kind, Vocab

if TYPE_CHECKING:
    from tokswap.methods import Pieces

AUTO = "auto"
BLOCK_BYTES = 1 << 20


def cached_folder(base: Checkpoint, vocab: Vocab) -> Path:
    """Return where a hypernetwork for this base, and for its fine-tuned variants, is kept: in the cache."""
    tied = "tied" if base.tied else "untied"
    known = vocabulary_digest(vocab, base.rows)[:32]
    return cache_folder() / "hypernets" / f"{known}-{base.hidden_size}-{tied}"


def find_hypernet(name: str, base: Checkpoint, vocab: Vocab) -> Path:
    """Return the folder of a hypernetwork by its path, or by "auto": the one in the cache that is for this base.

    Raises TokswapError where there is none.
    """
    folder = cached_folder(base, vocab) if name == AUTO else Path(name).expanduser()
    if (folder / "config.json").is_file():
        _require_weights(folder)
        return folder
    if Places.of(folder).states(KIND):
        raise TokswapError(
            f"the training of {folder} has not ended",
            "run the same `tokswap hypernet train` again: it goes on",
        )
    if name == AUTO:
        raise TokswapError(
            f"no hypernetwork for {base.source} is in the cache",
            "train one with: tokswap hypernet train, or name a folder with --hypernet DIR",
        )
    raise TokswapError(
        f"{name} is no folder of a hypernetwork", "it needs config.json and weights, or is misspelt"
    )


def _require_weights(folder: Path) -> None:
    if not any((folder / name).is_file() for name in (SINGLE_NAME, FLAX_NAME)):
        raise TokswapError(
            f"{folder} has neither {SINGLE_NAME} nor {FLAX_NAME}",
            "pickles are not read: save it as safetensors",
        )


def fitting_config(folder: Path, base: Checkpoint, vocab: Vocab) -> HypernetConfig:
    """Read a hypernetwork's configuration and check that it is for this base or a fine-tuned variant of it.

    The width and the tying must be the base's, and the tokens those it was trained with; a variant may have more
    control tokens. Raises TokswapError with what differs.
    """
    config = make_config(read_json(folder / "config.json"), f"{folder}/config.json")
    wrong = ""
    if config.n_embd != base.hidden_size:
        wrong = f"rows of {config.n_embd} numbers, and the base's have {base.hidden_size}"
    elif config.separate_out_embeddings == base.tied:
        wrong = f"{'un' * config.separate_out_embeddings}tied embeddings, and the base's are not"
    elif config.original_vocab_size > base.rows:
        wrong = f"{config.original_vocab_size:,} tokens, and the base has {base.rows:,} rows"
    elif config.vocabulary and config.vocabulary != vocabulary_digest(vocab, config.original_vocab_size):
        wrong = "other tokens than the base's"
    if wrong:
        raise TokswapError(
            f"the hypernetwork {folder} is for {wrong}",
            "use one that was trained for this base, or for the model that it was fine-tuned from",
        )
    return config


def open_predictor(
    folder: Path, base: Checkpoint, vocab: Vocab, tokens: Sequence[bytes], pieces: Pieces
) -> Predictor:
    """Return a hypernetwork that is ready for new tokens.

    `pieces` are those of `tokens`; where the base has no token for a byte the network's fallback rows stand in. Of a
    token with more pieces than the network looks at it sees the first ones.
    """
    config = fitting_config(folder, base, vocab)
    if not config.residual:
        pieces = with_fallbacks(pieces, tokens, vocab, config.original_vocab_size, config.hn_n_extra_tokens)
    surfaces = surface_matrix(pieces, config.hn_surface_maxlen, config.pad_token_id)
    return Predictor(load_hypernet(folder), surfaces)


def with_everything_new(alignment: Alignment, vocab: Vocab) -> Alignment:
    """Return the alignment with all ordinary tokens to be predicted, shared ones too; special rows stay."""
    ordinary = vocab.ids[(vocab.kinds != Kind.SPECIAL) & (vocab.ids < alignment.rows)]
    shared = ordinary[alignment.origin[ordinary] == Origin.SAME_BYTES]
    source, origin = alignment.source.copy(), alignment.origin.copy()
    source[shared], origin[shared] = -1, Origin.NEW
    return replace(alignment, source=source, origin=np.asarray(origin), identical=False)


def weights_digest(folder: Path) -> str:
    """Return the sha256 of a hypernetwork's weights."""
    digest = hashlib.sha256()
    name = SINGLE_NAME if (folder / SINGLE_NAME).is_file() else FLAX_NAME
    with (folder / name).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
