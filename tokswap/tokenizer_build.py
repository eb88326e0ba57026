"""Build tokenizer.json data: models, normalisers, decoders and post-processors of the BPE families."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokswap.pretokenizers import Json, PreTokenizer, byte_level

SPACE = "▁"  # how SentencePiece writes a space


@dataclass(frozen=True)
class TokenizerFiles:
    """What a tokenizer is on disk: tokenizer.json, tokenizer_config.json, and notes for a person."""

    tokenizer: Json
    config: Json
    notes: tuple[str, ...] = ()


def added_token(text: str, token_id: int, *, special: bool) -> Json:
    """Return one entry of `added_tokens`: found in the raw text, before anything else looks at it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token_id, "content": text, **flags, "special": special}


def tokenizer_json(**parts: Any) -> Json:
    """Return tokenizer.json data with every top-level key present; `parts` fills in those that matter."""
    empty: Json = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": []}
    empty |= {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return empty | parts


def bpe_model(vocab: Mapping[str, int], merges: Iterable[tuple[str, str]], **options: Any) -> Json:
    """Return the `model` entry of a BPE tokenizer; `options` as in tokenizer.json."""
    defaults: Json = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None}
    defaults |= {
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    return defaults | options | {"vocab": dict(vocab), "merges": [list(pair) for pair in merges]}


def byte_level_tokenizer(
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    rules: PreTokenizer,
    added: Sequence[Json],
    bos: tuple[str, int] | None = None,
) -> Json:
    """Return a byte-level BPE tokenizer.json; `bos` (text, id) is put in front of every text if given."""
    return tokenizer_json(
        added_tokens=list(added),
        normalizer=rules.normalizer(),
        pre_tokenizer=rules.pre_tokenizer(),
        post_processor=bos_template(*bos) if bos else None,
        decoder=byte_level(use_regex=True),
        model=bpe_model(vocab, merges, ignore_merges=rules.whole_first),
    )


def sentencepiece_tokenizer(
    vocab: Mapping[str, int],
    merges: Iterable[tuple[str, str]],
    added: Sequence[Json],
    *,
    unk: str | None,
    prefix_space: bool,
    byte_fallback: bool,
    bos: tuple[str, int] | None,
) -> Json:
    """Return a SentencePiece BPE as tokenizer.json: spaces become `▁`, unknown characters become bytes."""
    return tokenizer_json(
        added_tokens=list(added),
        normalizer=_space_normalizer(prefix_space),
        pre_tokenizer=None if prefix_space else _split_at_spaces(),
        post_processor=bos_template(*bos) if bos else None,
        decoder=_space_decoder(prefix_space),
        model=bpe_model(vocab, merges, unk_token=unk, fuse_unk=True, byte_fallback=byte_fallback),
    )


def bos_template(text: str, token_id: int) -> Json:
    """Return the post-processor that puts the BOS token in front of each text."""

    def special(segment: int) -> Json:
        return {"SpecialToken": {"id": text, "type_id": segment}}

    def sequence(name: str, segment: int) -> Json:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [special(0), sequence("A", 0)]
    tokens = {text: {"id": text, "ids": [token_id], "tokens": [text]}}
    pair = [*single, special(1), sequence("B", 1)]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}


def _space_normalizer(prefix_space: bool) -> Json:
    replace: Json = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    if not prefix_space:
        return replace
    return {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]}


def _split_at_spaces() -> Json:
    # Never cuts, as the normaliser leaves no space; Gemma's own file has it, and so have we.
    return {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def _space_decoder(prefix_space: bool) -> Json:
    steps: list[Json] = [{"type": "Replace", "pattern": {"String": SPACE}, "content": " "}]
    steps += [{"type": "ByteFallback"}, {"type": "Fuse"}]
    if prefix_space:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def merges_from_scores(vocab: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the merge list of a SentencePiece BPE vocabulary, best merge first.

    SentencePiece keeps no merges: it joins the neighbours whose union has the best score. So every way to
    cut a piece into two pieces is a merge, ranked by the piece's score; ties go to the longer left part,
    then to the smaller ids. This is the order of the families' published tokenizer.json files.
    """
    pairs: list[tuple[float, str, str]] = []
    for piece, score in scores.items():
        cuts = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        known = [cut for cut in cuts if cut[0] in vocab and cut[1] in vocab]
        known.sort(key=lambda cut: (vocab[cut[0]], vocab[cut[1]]))
        pairs += [(score, *cut) for cut in known]
    pairs.sort(key=lambda pair: (pair[0], len(pair[1]), len(pair[2])), reverse=True)
    return [(left, right) for _, left, right in pairs]
