"""What a tokenizer's ids stand for: exact bytes, kinds and roles, whatever family the tokenizer is of.

Two tokens are the same when their bytes and their kind agree; their spelling in the file says nothing:
`Ġhello` (byte-level), `▁hello` (SentencePiece) and `hello` as an initial WordPiece all stand for the bytes
of " hello". Bytes are never decoded: thousands of tokens of a byte-level vocabulary are no valid UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.errors import TokswapError
from tokswap.token_roles import find_roles
from tokswap.tokenizer_parts import BROKEN, adds_bos, list_of, section_of, steps, template_start

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

SPACE_MARK = "▁"  # SentencePiece's stand-in for a space
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
RESERVED = re.compile(
    r"<unused_?\d+>|<\|?reserved[^<>]*?\d+\|?>|<｜place▁holder▁no▁\d+｜>|\[unused\d+\]|<extra_id_\d+>|<SPECIAL_\d+>"
)
# No tokenizer in use comes near this; a file that names a larger id is broken or hostile.
MAX_TOKEN_ID = 16_777_216


class Kind(IntEnum):
    """What a token is: ordinary text, a `<0xNN>` fallback byte, or a control token that is no text."""

    ORDINARY = 0
    BYTE = 1
    SPECIAL = 2


@dataclass(frozen=True)
class Vocab:
    """The tokens of one tokenizer, in the order of their ids, and the rows of the matrix they index.

    `ids` Int[n] ascending and unique; `tokens[i]` the exact bytes of `ids[i]` (for a special token the UTF-8 of
    its text, which is a name and not content); `texts[i]` its spelling in the file; `kinds` UInt8[n] of `Kind`;
    `roles` id → roles of special tokens, by priority; `rows` declared embedding rows: ids at or above it have
    no row, and rows without an id are padding or holes.
    """

    ids: NDArray[np.int64]
    tokens: tuple[bytes, ...]
    texts: tuple[str, ...]
    kinds: NDArray[np.uint8]
    roles: Mapping[int, tuple[str, ...]]
    rows: int
    adds_bos: bool = False

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.tokens) == len(self.texts) == len(self.kinds):
            raise ValueError("ids, tokens, texts and kinds must have one entry a token")
        if len(self.ids) and (self.ids[0] < 0 or bool(np.any(np.diff(self.ids) <= 0))):
            raise ValueError("token ids must be ascending, unique and not negative")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def position(self) -> Mapping[int, int]:
        """Id → position in `ids`, `tokens`, `texts` and `kinds`."""
        return {int(token_id): i for i, token_id in enumerate(self.ids)}

    @cached_property
    def id_of_text(self) -> Mapping[str, int]:
        """Spelling in the file → id (the first where two tokens share one)."""
        out: dict[str, int] = {}
        for text, token_id in zip(self.texts, self.ids, strict=True):
            out.setdefault(text, int(token_id))
        return out

    @cached_property
    def byte_lengths(self) -> NDArray[np.int64]:
        """Int[max id + 1]: bytes of text that each id stands for; 0 for special tokens and holes."""
        out = np.zeros(self.max_id + 1, dtype=np.int64)
        lengths = np.fromiter(map(len, self.tokens), dtype=np.int64, count=len(self.tokens))
        out[self.ids] = np.where(self.kinds == Kind.SPECIAL, 0, lengths)
        return out

    @property
    def max_id(self) -> int:
        """The highest id, -1 for an empty vocabulary."""
        return int(self.ids[-1]) if len(self.ids) else -1

    @property
    def out_of_rows(self) -> NDArray[np.int64]:
        """Ids that the matrix has no row for (Gemma 3's image token 262144 beside 262,144 rows)."""
        return self.ids[self.ids >= self.rows]

    def bytes_of(self, token_id: int) -> bytes:
        """Return the exact bytes of an id, b"" for a hole or a padded row."""
        at = self.position.get(int(token_id))
        return b"" if at is None else self.tokens[at]

    def is_special(self, token_id: int) -> bool:
        """Tell whether an id is a control token, which stands for no text."""
        at = self.position.get(int(token_id))
        return at is not None and int(self.kinds[at]) == Kind.SPECIAL

    @property
    def start_id(self) -> int | None:
        """The token that stands before a text: bos, else what separates documents, else eos."""
        found = (self.role_id(role) for role in ("bos", "document_end", "eos"))
        return next((i for i in found if i is not None and i < self.rows), None)

    def role_id(self, role: str) -> int | None:
        """Return the id that plays a role ("bos", "eos", "turn_end", …), the lowest where several do, or None."""
        return min((i for i, roles in self.roles.items() if role in roles), default=None)


def make_vocab(
    tokens: Mapping[int, tuple[str, bytes, Kind]],
    roles: Mapping[int, tuple[str, ...]],
    rows: int | None,
    *,
    adds_bos: bool = False,
) -> Vocab:
    """Build a `Vocab` from id → (spelling, bytes, kind); `rows` None means one row up to the highest id."""
    ids = sorted(tokens)
    top = ids[-1] + 1 if ids else 0
    return Vocab(
        ids=np.asarray(ids, dtype=np.int64),
        tokens=tuple(tokens[i][1] for i in ids),
        texts=tuple(tokens[i][0] for i in ids),
        kinds=np.asarray([tokens[i][2] for i in ids], dtype=np.uint8),
        roles={i: r for i, r in roles.items() if i in tokens},
        rows=top if rows is None else rows,
        adds_bos=adds_bos,
    )


def read_vocab(
    tokenizer: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    generation_config: Mapping[str, Any] | None = None,
    *,
    rows: int | None = None,
) -> Vocab:
    """Read the vocabulary of a parsed tokenizer.json, with its roles from the configs beside it.

    `rows` is the number of embedding rows where a model is at hand; without it one row up to the highest id.
    Raises `TokswapError` for ids that collide or are out of all bounds, and for unknown model types.
    """
    model = section_of(tokenizer.get("model"), "model")
    pieces = _model_pieces(model)
    spell = _byte_reader(tokenizer, model)
    tokens: dict[int, tuple[str, bytes, Kind]] = {}
    for text, token_id in pieces:
        if token_id in tokens:
            raise _collision(token_id, tokens[token_id][0], text)
        tokens[token_id] = (text, *spell(text))
    _add_tokens(tokens, list_of(tokenizer.get("added_tokens"), "added_tokens"))
    _check_ids(tokens)
    roles = find_roles(
        {i: text for i, (text, _, _) in tokens.items()},
        dict.fromkeys(i for i, (_, _, kind) in tokens.items() if kind == Kind.SPECIAL),
        tokenizer_config,
        config or {},
        generation_config or {},
        template_start(tokenizer),
    )
    for token_id in roles:
        text, _, _ = tokens[token_id]
        tokens[token_id] = (text, text.encode("utf-8", "surrogatepass"), Kind.SPECIAL)
    return make_vocab(tokens, roles, rows, adds_bos=adds_bos(tokenizer, tokenizer_config))


def vocab_of(checkpoint: Checkpoint) -> Vocab:
    """Read the vocabulary of an opened checkpoint, with the rows of its embedding or those its config declares.

    Raises `TokswapError` where it has no tokenizer.json or a broken one.
    """
    if not checkpoint.tokenizer:
        raise TokswapError(
            f"{checkpoint.source or checkpoint.folder} has no tokenizer.json",
            "save it with a fast tokenizer: AutoTokenizer.from_pretrained(…).save_pretrained(…)",
        )
    try:
        return read_vocab(
            checkpoint.tokenizer,
            checkpoint.tokenizer_config,
            checkpoint.config,
            checkpoint.generation_config,
            rows=checkpoint.rows if checkpoint.tensors else checkpoint.vocab_size,
        )
    except TokswapError as error:
        raise TokswapError(f"{checkpoint.source or checkpoint.folder}: {error.what}", error.hint) from error


def gpt2_alphabet() -> dict[str, int]:
    """Return the byte-level alphabet: printable character → byte, all 256 of them (`Ġ` is 0x20, `Ċ` is 0x0A)."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    shifted = [b for b in range(256) if b not in set(keep)]
    return {chr(b): b for b in keep} | {chr(256 + i): b for i, b in enumerate(shifted)}


def is_byte_level(tokenizer: Mapping[str, Any]) -> bool:
    """Tell whether a tokenizer.json spells its tokens in the byte-level alphabet."""
    model_type = (tokenizer.get("model") or {}).get("type")
    parts = (("pre_tokenizer", "pretokenizers"), ("decoder", "decoders"), ("normalizer", "normalizers"))
    found = any(s.get("type") == "ByteLevel" for key, sub in parts for s in steps(tokenizer.get(key), sub))
    return found and model_type != "Unigram"


def _model_pieces(model: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    kind, vocab = model.get("type"), model.get("vocab")
    if kind is None and isinstance(vocab, Mapping):
        kind = "BPE" if "merges" in model else "WordPiece"
    if kind == "Unigram" and isinstance(vocab, Sequence):
        if not all(isinstance(entry, Sequence) and len(entry) == 2 for entry in vocab):
            raise TokswapError("the vocabulary has an entry that is no piece with a score", BROKEN)
        return [(str(entry[0]), i) for i, entry in enumerate(vocab)]
    if kind in ("BPE", "WordPiece", "WordLevel") and isinstance(vocab, Mapping):
        bad = next((t for t, i in vocab.items() if not isinstance(i, int)), None)
        if bad is not None:
            raise TokswapError(f"the vocabulary gives {bad!r} an id that is no integer", BROKEN)
        return list(vocab.items())
    raise TokswapError(
        f"unknown tokenizer model type {kind!r}", "tokswap reads BPE, Unigram, WordPiece and WordLevel models"
    )


def _byte_reader(
    tokenizer: Mapping[str, Any], model: Mapping[str, Any]
) -> Callable[[str], tuple[bytes, Kind]]:
    """Return the function that turns a spelling into (bytes, kind) for this tokenizer's family."""
    if model.get("type") == "WordPiece":
        return _wordpiece_reader(str(model.get("continuing_subword_prefix") or "##"))
    suffix = model.get("end_of_word_suffix") or ""
    if is_byte_level(tokenizer):
        return _byte_level_reader(suffix)
    fallback = bool(model.get("byte_fallback")) or any(
        s.get("type") == "ByteFallback" for s in steps(tokenizer.get("decoder"), "decoders")
    )
    return _sentencepiece_reader(fallback, suffix)


def _byte_level_reader(suffix: str) -> Callable[[str], tuple[bytes, Kind]]:
    table = {ord(char): chr(byte) for char, byte in gpt2_alphabet().items()}
    alphabet = {chr(code) for code in table}

    def read(text: str) -> tuple[bytes, Kind]:
        body, tail = (text[: -len(suffix)], b" ") if suffix and text.endswith(suffix) else (text, b"")
        if alphabet.issuperset(body):
            return body.translate(table).encode("latin-1") + tail, Kind.ORDINARY
        return text.encode("utf-8", "surrogatepass"), Kind.ORDINARY  # an added token spelt as plain text

    return read


def _sentencepiece_reader(fallback: bool, suffix: str) -> Callable[[str], tuple[bytes, Kind]]:
    def read(text: str) -> tuple[bytes, Kind]:
        byte = BYTE_PIECE.fullmatch(text) if fallback else None
        if byte:
            return bytes([int(byte[1], 16)]), Kind.BYTE
        if suffix and text.endswith(suffix):
            text = text[: -len(suffix)] + " "
        return text.replace(SPACE_MARK, " ").encode("utf-8", "surrogatepass"), Kind.ORDINARY

    return read


def _wordpiece_reader(prefix: str) -> Callable[[str], tuple[bytes, Kind]]:
    def read(text: str) -> tuple[bytes, Kind]:
        if text.startswith(prefix) and len(text) > len(prefix):
            return text[len(prefix) :].encode(), Kind.ORDINARY
        return b" " + text.encode("utf-8", "surrogatepass"), Kind.ORDINARY

    return read


def _add_tokens(tokens: dict[int, tuple[str, bytes, Kind]], added: Iterable[Any]) -> None:
    ids = {text: token_id for token_id, (text, _, _) in tokens.items()}
    for entry in added:
        token_id, text = (
            (entry.get("id"), entry.get("content")) if isinstance(entry, Mapping) else (None, None)
        )
        if not isinstance(token_id, int) or not isinstance(text, str):
            raise TokswapError("an added token lacks its id or its content", BROKEN)
        known = tokens.get(token_id)
        if known is not None and known[0] != text:
            raise _collision(token_id, known[0], text)
        if ids.setdefault(text, token_id) != token_id:
            raise TokswapError(f"the token {text!r} has two ids: {ids[text]} and {token_id}", BROKEN)
        if entry.get("special") or RESERVED.fullmatch(text):
            tokens[token_id] = (text, text.encode("utf-8", "surrogatepass"), Kind.SPECIAL)
        elif known is None:
            tokens[token_id] = (text, text.encode("utf-8", "surrogatepass"), Kind.ORDINARY)


def _check_ids(tokens: Mapping[int, Any]) -> None:
    if not tokens:
        raise TokswapError("the tokenizer has no tokens", BROKEN)
    for token_id in (min(tokens), max(tokens)):
        if not 0 <= token_id < MAX_TOKEN_ID:
            raise TokswapError(f"token id {token_id} is out of all bounds (0 to {MAX_TOKEN_ID - 1})", BROKEN)


def _collision(token_id: int, one: str, other: str) -> TokswapError:
    return TokswapError(f"two tokens share id {token_id}: {one!r} and {other!r}", BROKEN)
