"""Auxiliary spaces: vectors for the tokens of both vocabularies where the donor's rows are missing or not wanted.

A space is `ngrams` (spelling alone), a folder with a sentence encoder, or a folder with static token vectors. Methods
that reason in the donor's space reason in this one instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tokswap.errors import TokswapError

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.checkpoint import Checkpoint

T = TypeVar("T", bytes, str)
DONOR = "donor"
NGRAMS = "ngrams"
_HINT = "give donor, ngrams, or the folder of a sentence encoder or of static token vectors"


def auxiliary_vectors(
    space: str,
    tokens: Sequence[bytes],
    *,
    device: str = "cpu",
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return Float32[n f], the vectors of n tokens' bytes in a space, zero for a token that has none there.

    Equal bytes get equal vectors. Bytes that are no text (a part of a character) have none in an encoder's space or a
    table's: decoding them would make one text of many. Raises TokswapError for a space that can't be read.
    """
    if space == NGRAMS:
        from tokswap.auxiliary.ngrams import ngram_vectors

        return _each(tokens, lambda some: ngram_vectors(some, seed=seed))
    from tokswap.auxiliary.encoder import encode_texts
    from tokswap.auxiliary.static import static_vectors, table_name

    model = open_space(space)
    if table_name(model) is not None:
        return _each(_texts(tokens), lambda some: static_vectors(model, some))
    return _each(_texts(tokens), lambda some: encode_texts(model.folder, some, device, on_progress))


def open_space(space: str) -> Checkpoint:
    """Open the folder of an auxiliary space, or raise TokswapError with the spaces there are."""
    from tokswap.checkpoint import open_checkpoint

    folder = Path(space).expanduser()
    if not folder.is_dir():
        raise TokswapError(f"there is no auxiliary space {space!r}", _HINT)
    model = open_checkpoint(folder, source=space)
    if not model.tokenizer or not model.tensors:
        raise TokswapError(f"the auxiliary space {space} lacks tokenizer.json or model.safetensors", _HINT)
    return model


def _texts(tokens: Sequence[bytes]) -> list[str]:
    """Return each token's text, "" for one that is white space alone or no text."""
    out: list[str] = []
    for token in tokens:
        try:
            out.append(token.decode("utf-8").strip())
        except UnicodeDecodeError:
            out.append("")
    return out


def _each(items: Sequence[T], vectors_of: Callable[[list[T]], Tensor]) -> Tensor:
    """Compute the vectors of different items once and give them to all; empty ones get zeros."""
    import torch

    place = {item: at for at, item in enumerate(dict.fromkeys(filter(None, items)))}
    if not place:
        return torch.zeros(len(items), 1)
    vectors = vectors_of(list(place))
    padded = torch.cat([vectors, torch.zeros(1, vectors.shape[1])])
    return padded[torch.tensor([place.get(item, len(place)) for item in items])]
