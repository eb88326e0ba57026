"""SentencePiece .model files (BPE and Unigram) as tokenizer.json data; parsed by sentencepiece's own library."""

from __future__ import annotations

import base64
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from tokswap.errors import TokswapError
from tokswap.pretokenizers import Json
from tokswap.tokenizer_build import (
    SPACE,
    TokenizerFiles,
    added_token,
    merges_from_scores,
    sentencepiece_tokenizer,
    tokenizer_json,
)

_UNIGRAM, _BPE = 1, 2  # trainer_spec.model_type
_REFETCH = "fetch the file again from its origin"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4  # piece.type


def read_sentencepiece(path: Path) -> TokenizerFiles:
    """Return the tokenizer of a SentencePiece model file.

    Raises TokswapError when the library isn't installed, the file is damaged, or the model is neither BPE
    nor Unigram.
    """
    proto = _parse(path)
    builders = {_BPE: _bpe, _UNIGRAM: _unigram}
    kind = int(proto.trainer_spec.model_type)
    if kind not in builders:
        hint = "give the model's tokenizer.json, if there is one"
        raise TokswapError(
            f"{path.name} is a SentencePiece model of kind {kind}, neither BPE nor Unigram", hint
        )
    return TokenizerFiles(builders[kind](proto), _config(proto))


def can_read_pieces() -> bool:
    """Tell whether SentencePiece's own library is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("sentencepiece", "google.protobuf"))


def pieces_of(path: Path) -> list[str]:
    """Return the pieces of a SentencePiece model file by id; raises TokswapError as `read_sentencepiece` does."""
    return [str(piece.piece) for piece in _parse(path).pieces]


def _parse(path: Path) -> Any:
    try:
        # By name, as neither package is required nor typed.
        message = importlib.import_module("google.protobuf.message")
        model = importlib.import_module("sentencepiece.sentencepiece_model_pb2")
    except ImportError as error:
        hint = "install it with `pip install 'tokswap[sentencepiece]'`, or give a tokenizer.json"
        raise TokswapError(f"{path.name} needs the sentencepiece package to be read", hint) from error
    proto: Any = model.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except message.DecodeError as error:
        raise TokswapError(f"{path.name} is no SentencePiece model", _REFETCH) from error
    if not proto.pieces:
        raise TokswapError(f"{path.name} is no SentencePiece model: it holds no pieces", _REFETCH)
    return proto


def _bpe(proto: Any) -> Json:
    pieces = {piece.piece: i for i, piece in enumerate(proto.pieces)}
    scores = {p.piece: p.score if p.type == _NORMAL else 0.0 for p in proto.pieces if p.type in _MERGED}
    return sentencepiece_tokenizer(
        pieces,
        merges_from_scores(pieces, scores),
        _added(proto),
        unk=_piece(proto, proto.trainer_spec.unk_id),
        prefix_space=bool(proto.normalizer_spec.add_dummy_prefix),
        byte_fallback=bool(proto.trainer_spec.byte_fallback),
        bos=_bos(proto),
    )


_MERGED = (_NORMAL, _USER_DEFINED)


def _unigram(proto: Any) -> Json:
    """Return a Unigram tokenizer.json: characters mapped as trained, repeated spaces joined, `▁` for a space."""
    spec = proto.normalizer_spec
    steps: list[Json] = []
    if spec.precompiled_charsmap:
        charsmap = base64.b64encode(spec.precompiled_charsmap).decode("ascii")
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    if spec.remove_extra_whitespaces:
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    scheme = "always" if spec.add_dummy_prefix else "never"
    spaces: Json = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": True}
    return tokenizer_json(
        added_tokens=_added(proto),
        normalizer={"type": "Sequence", "normalizers": steps} if steps else None,
        pre_tokenizer=spaces,
        decoder=spaces,
        model={
            "type": "Unigram",
            "unk_id": int(proto.trainer_spec.unk_id),
            "vocab": [[piece.piece, piece.score] for piece in proto.pieces],
            "byte_fallback": bool(proto.trainer_spec.byte_fallback),
        },
    )


def _added(proto: Any) -> list[Json]:
    special = (_UNKNOWN, _CONTROL)
    found = [(i, piece) for i, piece in enumerate(proto.pieces) if piece.type in (*special, _USER_DEFINED)]
    return [added_token(piece.piece, i, special=piece.type in special) for i, piece in found]


def _piece(proto: Any, piece_id: int) -> str | None:
    return str(proto.pieces[piece_id].piece) if 0 <= piece_id < len(proto.pieces) else None


def _bos(proto: Any) -> tuple[str, int] | None:
    text = _piece(proto, proto.trainer_spec.bos_id)
    return None if text is None else (text, int(proto.trainer_spec.bos_id))


def _config(proto: Any) -> Json:
    spec = proto.trainer_spec
    adds_bos = int(spec.model_type) == _BPE and _bos(proto) is not None
    config: Json = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    ids = {"bos": spec.bos_id, "eos": spec.eos_id, "unk": spec.unk_id, "pad": spec.pad_id}
    config |= {f"{role}_token": _piece(proto, piece_id) for role, piece_id in ids.items()}
    return config | {"add_bos_token": adds_bos}
