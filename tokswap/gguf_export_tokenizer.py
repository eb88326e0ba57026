"""A tokenizer.json as the `tokenizer.ggml.*` fields of a GGUF, refused where they would mean another tokenizer.

GGUF keeps tokens, types, scores or merges, and a name for how text is cut. What it can't keep is found by asking: the
fields are read back by `gguf_tokenizer`, and both tokenizers must hold the same tokens and merges and cut the same
texts alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokswap.errors import TokswapError
from tokswap.evaluation.texts import default_texts
from tokswap.gguf_tokenizer import TokenType, tokenizer_from_metadata
from tokswap.pretokenizers import BY_GGUF_NAME, Json, gguf_name
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_build import SPACE
from tokswap.tokenizer_traits import NASTY_STRINGS
from tokswap.vocab import Kind, Vocab, is_byte_level

NOT_MERGED = -1000.0  # the score of a piece that no merge yields, as SentencePiece's converters write it
HINT = "the folder is complete without it: leave --gguf out, or take a donor whose tokenizer llama.cpp knows"
NFC_NOTE = (
    "the tokenizer joins letters with their accents (NFC) before it cuts; readers of GGUF don't, so that text with "
    "separate accents takes other tokens there"
)
FLAGS_NOTE = "added tokens that take the spaces around them with them (lstrip, rstrip) don't in a GGUF"
Pair = tuple[str, str]


def tokenizer_fields(
    tokenizer: Mapping[str, Any], config: Mapping[str, Any], vocab: Vocab, rows: int
) -> tuple[Json, tuple[str, ...]]:
    """Return (the fields by name, notes) for a tokenizer of a model with `rows` rows.

    Raises TokswapError for a kind of tokenizer that GGUF doesn't know, a pattern that it has no name for, and one that
    reads back as another.
    """
    byte_level = is_byte_level(tokenizer)
    merges = _merges(tokenizer)
    fields: Json = {
        "model": "gpt2" if byte_level else "llama",
        "pre": _pattern(tokenizer) if byte_level else "default",
        "tokens": _texts(tokenizer, vocab, rows, byte_level=byte_level),
        "token_type": _types(tokenizer, vocab, rows),
        "add_bos_token": vocab.adds_bos,
        "add_eos_token": False,
    }
    if byte_level:
        fields["merges"] = [f"{left} {right}" for left, right in merges]
    else:
        fields |= {"scores": _scores(merges, vocab, rows), "add_space_prefix": _prefixes_space(tokenizer)}
    named = {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
    named |= _named_ids(tokenizer, config, vocab)
    if template := config.get("chat_template"):
        named["tokenizer.chat_template"] = template
    return named, _notes(tokenizer)


def require_same_tokenizer(tokenizer: Mapping[str, Any], fields: Mapping[str, Any], rows: int) -> None:
    """Read the fields back and raise TokswapError where that gives other tokens, merges or cuts."""
    back = tokenizer_from_metadata(fields).tokenizer
    here = {text: i for text, i in _all_ids(tokenizer).items() if i < rows}
    there = _all_ids(back)
    if odd := sorted(text for text in here.keys() | there.keys() if here.get(text) != there.get(text)):
        raise _unlike(f"{odd[0]!r} would have the id {there.get(odd[0])}, not {here.get(odd[0])}")
    if is_byte_level(tokenizer):
        if _merges(back) != _merges(tokenizer):
            raise _unlike("its merges would be others")
    elif (wrong := _first_unlike(_within_text(tokenizer), _within_text(back))) is not None:
        raise _unlike(f"SentencePiece makes {wrong!r} of any two tokens that spell it, and this one doesn't")
    if (_normalizer(tokenizer), _normalizer(back)) in {("NFC", None), (None, "NFC")}:
        back = {**back, "normalizer": tokenizer.get("normalizer")}
    _require_same_cuts(tokenizer, back, rows)


def _require_same_cuts(tokenizer: Mapping[str, Any], back: Mapping[str, Any], rows: int) -> None:
    texts = [*NASTY_STRINGS, *(doc for text in default_texts().values() for doc in text.documents)]
    mine, theirs = (
        [found.ids for found in load_tokenizer(one).encode_batch(texts)] for one in (tokenizer, back)
    )
    for text, a, b in zip(texts, mine, theirs, strict=True):
        if a != b and max(a, default=0) < rows:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
            raise _unlike(f"a text would be cut otherwise from token {at} on ({text[:40]!r})")


def _pattern(tokenizer: Mapping[str, Any]) -> str:
    """Return the name of the pattern that cuts text, among those that take whole tokens first as this one does."""
    model, cuts = tokenizer["model"], tokenizer.get("pre_tokenizer")
    found = gguf_name(cuts)
    if found is None:
        raise TokswapError("no GGUF can be written: it has no name for the pattern that cuts text here", HINT)
    whole, known = bool(model.get("ignore_merges")), BY_GGUF_NAME[found]
    alike = (
        name
        for name, rules in BY_GGUF_NAME.items()
        if rules.splits == known.splits and rules.gpt2 == known.gpt2 and rules.whole_first == whole
    )
    name = next(alike, None)
    if name is None:
        raise TokswapError(
            f"no GGUF can be written: its pattern {found!r} goes with tokens that are "
            f"{'merged' if whole else 'taken whole'}, and here they are {'taken whole' if whole else 'merged'}",
            HINT,
        )
    if _normalizer(tokenizer) not in (None, "NFC"):
        raise TokswapError(
            "no GGUF can be written: readers of it don't normalise text as this one does", HINT
        )
    return name


def _merges(tokenizer: Mapping[str, Any]) -> list[Pair]:
    model = tokenizer["model"]
    if model.get("type", "BPE") != "BPE" or "merges" not in model or model.get("continuing_subword_prefix"):
        raise TokswapError(
            f"no GGUF can be written for a tokenizer of kind {model.get('type', 'unknown')}: only BPE", HINT
        )
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return [(str(left), str(right)) for left, right in pairs]


def _texts(tokenizer: Mapping[str, Any], vocab: Vocab, rows: int, *, byte_level: bool) -> list[str]:
    """Return the tokens by id; of SentencePiece's user-defined ones the spaces are written as spaces."""
    own = {entry["id"] for entry in tokenizer.get("added_tokens") or [] if not entry.get("special")}
    out = [f"[PAD{i}]" for i in range(rows)]
    for token_id, text in zip(vocab.ids.tolist(), vocab.texts, strict=True):
        if token_id < rows:
            out[token_id] = text.replace(SPACE, " ") if token_id in own and not byte_level else text
    return out


def _types(tokenizer: Mapping[str, Any], vocab: Vocab, rows: int) -> list[int]:
    out = [int(TokenType.UNUSED)] * rows
    for token_id, kind in zip(vocab.ids.tolist(), vocab.kinds.tolist(), strict=True):
        if token_id < rows:
            out[token_id] = int(TokenType.BYTE if kind == Kind.BYTE else TokenType.NORMAL)
    for entry in tokenizer.get("added_tokens") or []:
        if entry["id"] < rows:
            special = TokenType.CONTROL if entry.get("special") else TokenType.USER_DEFINED
            unknown = entry["content"] == _unknown(tokenizer) and not is_byte_level(tokenizer)
            out[entry["id"]] = int(TokenType.UNKNOWN if unknown else special)
    return out


def _scores(merges: Sequence[Pair], vocab: Vocab, rows: int) -> list[float]:
    """Return scores by id: the earlier a piece is merged, the higher, which is how SentencePiece decides."""
    out = [NOT_MERGED] * rows
    for rank, text in enumerate(dict.fromkeys(left + right for left, right in merges)):
        token_id = vocab.id_of_text.get(text, rows)
        if token_id < rows:
            out[token_id] = -float(rank)
    for token_id, kind in zip(vocab.ids.tolist(), vocab.kinds.tolist(), strict=True):
        if kind == Kind.BYTE and token_id < rows:
            out[token_id] = 0.0
    return out


def _named_ids(tokenizer: Mapping[str, Any], config: Mapping[str, Any], vocab: Vocab) -> dict[str, int]:
    """Return the ids of the special tokens that tokenizer_config.json names."""
    out: dict[str, int] = {}
    for role, name in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items():
        given = config.get(f"{role}_token") or (_unknown(tokenizer) if role == "unk" else None)
        text = given.get("content") if isinstance(given, dict) else given
        if text is not None and text in vocab.id_of_text:
            out[f"tokenizer.ggml.{name}_token_id"] = vocab.id_of_text[str(text)]
    return out


def _within_text(tokenizer: Mapping[str, Any]) -> list[Pair]:
    """Return the merges that ever happen: added tokens are cut out of the text before."""
    added = {entry["content"] for entry in tokenizer.get("added_tokens") or []}
    return [(left, right) for left, right in _merges(tokenizer) if left + right not in added]


def _first_unlike(mine: Iterable[Pair], theirs: Iterable[Pair]) -> str | None:
    """Return the first piece that two merge lists make at other places or of other halves."""
    ways = [_ways(mine), _ways(theirs)]
    for (a, halves), (b, others) in zip(ways[0].items(), ways[1].items(), strict=False):
        if a != b or halves != others:
            return a if a not in ways[1] or ways[1][a] != halves else b
    longer = max(ways, key=len)
    return None if len(ways[0]) == len(ways[1]) else list(longer)[min(map(len, ways))]


def _ways(merges: Iterable[Pair]) -> dict[str, set[Pair]]:
    out: dict[str, set[Pair]] = {}
    for left, right in merges:
        out.setdefault(left + right, set()).add((left, right))
    return out


def _prefixes_space(tokenizer: Mapping[str, Any]) -> bool:
    """Tell whether a text is read as if a space stood before it."""
    parts = (tokenizer.get("normalizer") or {}, tokenizer.get("pre_tokenizer") or {})
    steps = [
        step for part in parts for step in (part.get("normalizers") or part.get("pretokenizers") or [part])
    ]
    return any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") != "never")
        for step in steps
    )


def _normalizer(tokenizer: Mapping[str, Any]) -> str | None:
    return (tokenizer.get("normalizer") or {}).get("type")


def _unknown(tokenizer: Mapping[str, Any]) -> str | None:
    return tokenizer["model"].get("unk_token")


def _all_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    added = {entry["content"]: int(entry["id"]) for entry in tokenizer.get("added_tokens") or []}
    return {**tokenizer["model"]["vocab"], **added}


def _notes(tokenizer: Mapping[str, Any]) -> tuple[str, ...]:
    added = tokenizer.get("added_tokens") or []
    takes = any(entry.get(flag) for entry in added for flag in ("lstrip", "rstrip", "single_word"))
    notes = [NFC_NOTE] * (_normalizer(tokenizer) == "NFC") + [FLAGS_NOTE] * takes
    return tuple(notes)


def _unlike(what: str) -> TokswapError:
    return TokswapError(f"no GGUF can be written for this tokenizer: {what}", HINT)
