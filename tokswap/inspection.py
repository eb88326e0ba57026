"""What a source holds: its tokenizer, its special tokens and its embeddings, without reading a weight."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap.display.text import escape
from tokswap.errors import TokswapError
from tokswap.report import Figure, Report
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import encode
from tokswap.vocab import Kind, Vocab, is_byte_level, vocab_of

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

BYTES = 256


def inspect_checkpoint(checkpoint: Checkpoint, *, text: str | None = None) -> Report:
    """Describe an opened source; with `text` also how its tokenizer cuts it.

    Raises TokswapError for a tokenizer that is missing or broken.
    """
    vocab = vocab_of(checkpoint)
    weights, problem = _weights(checkpoint)
    sections = {"embeddings": weights} if weights else {}
    if text is not None:
        sections["cut"] = _cut(checkpoint, vocab, text)
    return Report(
        kind="inspection",
        facts=_facts(checkpoint, vocab),
        figures=_figures(vocab),
        sections=sections,
        warnings=(*checkpoint.notes, *problem),
    )


def family(tokenizer: Mapping[str, Any]) -> str:
    """Name the kind of a tokenizer in words: "byte-level BPE", "SentencePiece Unigram", …."""
    model = tokenizer.get("model") or {}
    kind = str(model.get("type") or ("BPE" if "merges" in model else "WordPiece"))
    if is_byte_level(tokenizer):
        return f"byte-level {kind}"
    if kind in ("BPE", "Unigram"):
        fallback = " with byte fallback" if model.get("byte_fallback") else ""
        return f"SentencePiece {kind}{fallback}"
    return kind


def _facts(checkpoint: Checkpoint, vocab: Vocab) -> dict[str, Any]:
    start = vocab.start_id
    architectures = checkpoint.config.get("architectures") or []
    return {
        "source": checkpoint.source,
        "folder": str(checkpoint.folder),
        "architecture": next(iter(architectures), None) or checkpoint.config.get("model_type"),
        "tokenizer": family(checkpoint.tokenizer),
        "normalizer": _component(checkpoint.tokenizer.get("normalizer"), "normalizers"),
        "pre_tokenizer": _component(checkpoint.tokenizer.get("pre_tokenizer"), "pretokenizers"),
        "start_token": None if start is None else vocab.texts[vocab.position[start]],
        "start_token_is_added": vocab.adds_bos,
        "chat_template": bool(checkpoint.tokenizer_config.get("chat_template"))
        or (checkpoint.folder / "chat_template.jinja").is_file(),
        "special_tokens": [
            {"id": i, "text": vocab.texts[vocab.position[i]], "roles": list(roles), "has_row": i < vocab.rows}
            for i, roles in sorted(vocab.roles.items())
            if roles
        ],
    }


def _component(part: Any, children: str) -> list[str]:
    """Return the types of a tokenizer component and of its steps."""
    if not isinstance(part, Mapping):
        return []
    steps = part.get(children)
    if isinstance(steps, list):
        return [name for step in steps for name in _component(step, children)]
    return [str(part.get("type"))]


def _figures(vocab: Vocab) -> dict[str, Figure]:
    single = {token for token, kind in zip(vocab.tokens, vocab.kinds, strict=True) if kind != Kind.SPECIAL}
    covered = sum(bytes([byte]) in single for byte in range(BYTES))
    inside = int(np.count_nonzero(vocab.ids < vocab.rows))
    holes = min(vocab.max_id + 1, vocab.rows) - inside
    return {
        "ids": Figure(len(vocab), "tokens"),
        "rows": Figure(vocab.rows, "rows"),
        "padding": Figure(max(vocab.rows - vocab.max_id - 1, 0), "rows", note="above the highest id"),
        "holes": Figure(holes, "rows", note="ids below it that no token has"),
        "without_row": Figure(len(vocab.out_of_rows), "tokens", note="ids at or above the rows"),
        "special": Figure(int(np.count_nonzero(vocab.kinds == Kind.SPECIAL)), "tokens"),
        "fallback_bytes": Figure(int(np.count_nonzero(vocab.kinds == Kind.BYTE)), "tokens"),
        "single_bytes_covered": Figure(covered, "bytes of 256"),
        "no_utf8": Figure(sum(map(_is_fragment, vocab.tokens)), "tokens", note="parts of characters"),
    }


def _is_fragment(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return True
    return False


def _weights(checkpoint: Checkpoint) -> tuple[Report | None, tuple[str, ...]]:
    """Describe the embeddings; where they are unclear or quantised, say so instead of failing."""
    if not checkpoint.tensors:
        return None, ("a tokenizer without weights: good enough for a donor, not for a base",)
    sizes = {
        "parameters": Figure(sum(prod(i.shape) for i in checkpoint.tensors.values()), "parameters"),
        "tensors": Figure(len(checkpoint.tensors), "tensors"),
        "size": Figure(sum(i.nbytes for i in checkpoint.tensors.values()), "bytes"),
        "files": Figure(len(checkpoint.shards), "files"),
    }
    try:
        roles = checkpoint.roles
    except TokswapError as error:
        return Report("embeddings", {"tied": None, "tensors": []}, sizes), (f"{error.what} ({error.hint})",)
    tensors = [
        {"role": role, "name": name, "dtype": info.dtype, "shape": list(info.shape)}
        for role, name in (
            ("input", roles.input),
            ("output", roles.output),
            ("bias", roles.bias),
            *(("per layer", name) for name in roles.per_layer),
            *(("stored again", name) for name in roles.copies),
        )
        if name and (info := checkpoint.tensors[name])
    ]
    return Report("embeddings", {"tied": checkpoint.tied, "tensors": tensors}, sizes), roles.notes


def _cut(checkpoint: Checkpoint, vocab: Vocab, text: str) -> Report:
    """Show the tokens of a text: ids and escaped pieces, as the tokenizer cuts it, without special tokens."""
    engine = load_tokenizer(checkpoint.tokenizer, f"the tokenizer of {checkpoint.source}")
    ids = encode(engine, [text])[0]
    pieces = [{"id": i, "piece": escape(vocab.bytes_of(i)), "bytes": len(vocab.bytes_of(i))} for i in ids]
    size = len(text.encode("utf-8", "surrogatepass"))
    figures = {"tokens": Figure(len(ids), "tokens"), "bytes": Figure(size, "bytes")}
    if ids:
        figures["bytes_per_token"] = Figure(size / len(ids), "bytes/token")
    return Report("cut", {"text": escape(text), "pieces": pieces}, figures)
