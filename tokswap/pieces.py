"""How the base tokenizer's model spells the bytes of tokens it does not have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tokswap.align import preferred_ids
from tokswap.vocab import SPACE_MARK, Vocab, gpt2_alphabet, is_byte_level

if TYPE_CHECKING:
    from tokswap.methods import Pieces

BYTE_TO_CHAR = {byte: char for char, byte in gpt2_alphabet().items()}


def spell(tokenizer: Mapping[str, Any], vocab: Vocab, tokens: Sequence[bytes]) -> Pieces:
    """Return the base ids that spell each of n byte strings, by the base's model alone (no pre-tokenizer).

    Bytes that are no UTF-8 are spelt byte by byte; a byte that the base lacks is left out, so that a row can be
    empty.
    """
    import torch

    from tokswap.methods import Pieces

    rows = list(map(_speller(tokenizer, vocab), tokens))
    ids = torch.tensor([i for row in rows for i in row], dtype=torch.long)
    starts = torch.tensor([0, *accumulate(map(len, rows))], dtype=torch.long)
    lengths = torch.from_numpy(vocab.byte_lengths)[ids] if len(ids) else ids
    return Pieces(ids, lengths, starts)


def _speller(tokenizer: Mapping[str, Any], vocab: Vocab) -> Callable[[bytes], list[int]]:
    from tokenizers import Tokenizer

    bare = {"version": "1.0", "model": tokenizer["model"], "added_tokens": []}
    model: Any = Tokenizer.from_str(json.dumps(bare)).model
    exact = preferred_ids(vocab)
    unknown = vocab.role_id("unk")

    def ids_of(text: str) -> list[int]:
        return [token.id for token in model.tokenize(text) if token.id != unknown and token.id < vocab.rows]

    def byte_level(token: bytes) -> list[int]:
        return ids_of("".join(map(BYTE_TO_CHAR.__getitem__, token)))

    def plain(token: bytes) -> list[int]:
        out: list[int] = []
        for text in _utf8_runs(token):
            if isinstance(text, bytes):
                out.extend(exact[text[i : i + 1]] for i in range(len(text)) if text[i : i + 1] in exact)
            else:
                out.extend(ids_of(text.replace(" ", SPACE_MARK)))
        return out

    def words(token: bytes) -> list[int]:
        texts = token.decode("utf-8", "ignore").split()
        return [i for text in texts for i in ids_of(text)]

    if tokenizer["model"].get("type") == "WordPiece":
        return words
    return byte_level if is_byte_level(tokenizer) else plain


def _utf8_runs(token: bytes) -> Iterator[str | bytes]:
    """Cut bytes into runs: str where they are valid UTF-8, bytes where they are not."""
    while token:
        try:
            yield token.decode("utf-8")
            return
        except UnicodeDecodeError as error:
            if error.start:
                yield token[: error.start].decode("utf-8")
            yield token[error.start : error.end]
            token = token[error.end :]
