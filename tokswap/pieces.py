"""How the base tokenizer's model spells the bytes of tokens it does not have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tokswap.align import preferred_ids
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import SPACE_MARK, Kind, Vocab, gpt2_alphabet, is_byte_level

if TYPE_CHECKING:
    from tokswap.methods import Pieces

BYTE_TO_CHAR = {byte: char for char, byte in gpt2_alphabet().items()}


def spell(
    tokenizer: Mapping[str, Any], vocab: Vocab, tokens: Sequence[bytes], without: Collection[int] = ()
) -> Pieces:
    """Return the base ids that spell each of n byte strings, by the base's model alone (no pre-tokenizer).

    Bytes that are no UTF-8 are spelt byte by byte; a byte that the base lacks is left out, so that a row can be
    empty. The ids `without` are spelt with as if the base had no such tokens.
    """
    import torch

    from tokswap.methods import Pieces

    rows = list(map(_speller(tokenizer, vocab, frozenset(without)), tokens))
    ids = torch.tensor([i for row in rows for i in row], dtype=torch.long)
    starts = torch.tensor([0, *accumulate(map(len, rows))], dtype=torch.long)
    lengths = torch.from_numpy(vocab.byte_lengths)[ids] if len(ids) else ids
    return Pieces(ids, lengths, starts)


def _speller(
    tokenizer: Mapping[str, Any], vocab: Vocab, without: Collection[int]
) -> Callable[[bytes], list[int]]:
    exact = {token: i for token, i in preferred_ids(vocab).items() if i not in without}
    if tokenizer["model"].get("type") == "WordPiece":
        return partial(_longest_first, exact, max(map(len, exact), default=0))
    bare = _bare(tokenizer["model"], vocab, without)
    engine, text_ids = load_tokenizer(bare), _text_ids(tokenizer["model"], vocab)
    model = engine.model

    def ids_of(text: str) -> list[int]:
        return [token.id for token in model.tokenize(text) if token.id in text_ids]

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

    return byte_level if is_byte_level(tokenizer) else plain


def _bare(model: Mapping[str, Any], vocab: Vocab, without: Collection[int]) -> dict[str, Any]:
    """Return a tokenizer.json of the model alone: nothing random, no text that becomes special, some ids gone."""
    alone = {**model, "dropout": None} if "dropout" in model else dict(model)
    if model.get("type") == "Unigram":  # ids are places in the list, so that no entry can be taken out
        alone["vocab"] = [
            [f"\0{i}" if vocab.is_special(i) or i in without else text, score]
            for i, (text, score) in enumerate(model["vocab"])
        ]
    elif without and model.get("type") == "BPE":
        alone |= _without_merges(model, without)
    return {"version": "1.0", "model": alone, "added_tokens": []}


def _without_merges(model: Mapping[str, Any], gone: Collection[int]) -> dict[str, Any]:
    """Return a BPE's vocabulary without some tokens, and its merges without those that make or need them."""
    known = {text: i for text, i in model["vocab"].items() if i not in gone}
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return {"vocab": known, "merges": [[a, b] for a, b in pairs if {a, b, a + b} <= known.keys()]}


def _text_ids(model: Mapping[str, Any], vocab: Vocab) -> set[int]:
    """Return the ids that stand for text and have a row: neither special tokens nor the model's unknown token."""
    inside = (vocab.kinds != Kind.SPECIAL) & (vocab.ids < vocab.rows)
    unknown = model.get("unk_id", vocab.id_of_text.get(model.get("unk_token") or ""))
    return set(vocab.ids[inside].tolist()) - {unknown}


def _longest_first(exact: Mapping[bytes, int], longest: int, token: bytes) -> list[int]:
    """Spell bytes as WordPiece does, longest piece first; what no piece begins with is left out."""
    out: list[int] = []
    at = 0
    while at < len(token):
        sizes = range(min(longest, len(token) - at), 0, -1)
        size = next((n for n in sizes if token[at : at + n] in exact), 0)
        out += [exact[token[at : at + size]]] if size else []
        at += size or 1
    return out


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
