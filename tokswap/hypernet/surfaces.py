"""New tokens as a hypernetwork reads them: rows of base ids, cut or padded to one length."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tokswap.align import preferred_ids
from tokswap.vocab import Kind, Vocab, gpt2_alphabet

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.methods import Pieces

UNMAPPED_BYTE = 0xFF
"""The byte that ZeTT's conversion gives a fallback row even where the base has `<0xFF>`: no UTF-8 text holds it."""


def surface_matrix(pieces: Pieces, length: int, pad: int) -> Tensor:
    """Return Int[n length]: the ids of each token's pieces, the first `length` of them, then `pad`."""
    import torch

    counts = pieces.starts.diff()
    out = torch.full((len(counts), length), pad, dtype=torch.long)
    place = torch.arange(len(pieces.ids)) - pieces.starts[:-1].repeat_interleave(counts)
    owner = torch.arange(len(counts)).repeat_interleave(counts)
    kept = place < length
    out[owner[kept], place[kept]] = pieces.ids[kept]
    return out


def truncated(pieces: Pieces, length: int) -> int:
    """Return how many tokens have more pieces than a hypernetwork looks at."""
    return int((pieces.starts.diff() > length).sum())


def with_fallbacks(
    pieces: Pieces, tokens: Sequence[bytes], vocab: Vocab, original_vocab_size: int, extra: int
) -> Pieces:
    """Return the pieces with fallback ids where `spell` had no piece for a byte.

    Fallback i is `original_vocab_size` + i, for the i-th byte of the GPT-2 alphabet that the base has no token for;
    bytes beyond the `extra` rows that the hypernetwork has are left out as before.
    """
    import torch

    from tokswap.methods import Pieces

    fallback = {byte: i + original_vocab_size for i, byte in enumerate(fallback_bytes(vocab)) if i < extra}
    ids, starts = pieces.ids.tolist(), pieces.starts.tolist()
    rows = [
        _filled(token, ids[a:b], vocab, fallback)
        for token, a, b in zip(tokens, starts, starts[1:], strict=False)
    ]
    counts = torch.tensor([0, *map(len, rows)]).cumsum(0)
    flat = torch.tensor([i for row in rows for i in row], dtype=torch.long)
    lengths = vocab.byte_lengths
    sizes = [int(lengths[i]) if i < original_vocab_size else 1 for i in flat.tolist()]
    return Pieces(flat, torch.tensor(sizes, dtype=torch.long), counts)


def fallback_bytes(vocab: Vocab) -> list[int]:
    """Return the bytes that have no token, in the order of the GPT-2 alphabet: the order of their fallback rows.

    In a vocabulary with `<0xNN>` pieces that is the byte 0xFF alone.
    """
    known = preferred_ids(vocab)
    falls_back = bool((vocab.kinds == Kind.BYTE).any())
    lacking = [byte for byte in gpt2_alphabet().values() if bytes([byte]) not in known]
    if falls_back and UNMAPPED_BYTE not in lacking:
        return [UNMAPPED_BYTE]
    return lacking


def vocabulary_digest(vocab: Vocab, size: int) -> str:
    """Return a sha256 of the ordinary tokens below `size`: a fine-tuned variant adds control tokens and keeps these."""
    digest = hashlib.sha256()
    for token_id, token, kind in zip(vocab.ids.tolist(), vocab.tokens, vocab.kinds.tolist(), strict=True):
        if token_id < size and kind != Kind.SPECIAL:
            digest.update(b"%d:%d:%b" % (token_id, len(token), token))
    return digest.hexdigest()


def usable_size(vocab: Vocab) -> int:
    """Return one more than the highest id that has a row: what a hypernetwork's spellings are below."""
    inside = vocab.ids[vocab.ids < vocab.rows]
    return int(np.max(inside)) + 1 if len(inside) else 1


def _filled(token: bytes, ids: list[int], vocab: Vocab, fallback: Mapping[int, int]) -> list[int]:
    """Put fallback ids where the pieces, in order, leave bytes of the token out."""
    out: list[int] = []
    at = 0
    for token_id in [*ids, None]:
        piece = b"" if token_id is None else vocab.bytes_of(token_id)
        end = len(token) if token_id is None else max(token.find(piece, at), at)
        out += [fallback[byte] for byte in token[at:end] if byte in fallback]
        if token_id is not None:
            single = len(piece) == 1 and piece[0] in fallback
            out.append(fallback[piece[0]] if single else token_id)
        at = end + len(piece)
    return out
