"""Small tokenizers of every family, trained by the `tokenizers` library, as parsed tokenizer.json files."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

CORPUS = [
    "The harbour wall was built by the people who needed somewhere to tie up three boats.",
    "def median(values: list[float]) -> float:\n    return sorted(values)[len(values) // 2]\n\n",
    "Le phare éclaire la baie; naïve façade, 42 œufs — 水路と橋 and 🙂🙃, 水路と橋 🙂🙃.",
    "    for row in rows:\n        print(row)\n",
] * 4
BYTE_PIECES = [f"<0x{byte:02X}>" for byte in range(256)]


def added(token_id: int, content: str, *, special: bool = True) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token_id, "content": content, "special": special} | flags


def byte_level(size: int = 400, specials: tuple[str, ...] = ("<s>", "</s>"), **model: Any) -> dict[str, Any]:
    """Byte-level BPE over all 256 bytes, special tokens first."""
    engine = Tokenizer(models.BPE(**model))
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **model,
    )  # fmt: skip
    engine.train_from_iterator(CORPUS, trainer)
    return json.loads(engine.to_str())


def sentencepiece(size: int = 520) -> dict[str, Any]:
    """BPE in SentencePiece's manner: `▁` for a space, one put first, `<0xNN>` for what has no piece."""
    engine = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    engine.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    engine.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>", "</s>", *BYTE_PIECES], show_progress=False,
        limit_alphabet=60, max_token_length=8,
    )  # fmt: skip
    engine.train_from_iterator(CORPUS, trainer)
    return without_added_bytes(json.loads(engine.to_str()))


def without_added_bytes(tokenizer: dict[str, Any]) -> dict[str, Any]:
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] not in BYTE_PIECES]
    return tokenizer


def unigram(size: int = 150) -> dict[str, Any]:
    engine = Tokenizer(models.Unigram())
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    engine.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    engine.train_from_iterator(CORPUS, trainer)
    return json.loads(engine.to_str())


def wordpiece(size: int = 200) -> dict[str, Any]:
    engine = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=["[UNK]", "[CLS]"], show_progress=False
    )
    engine.train_from_iterator(CORPUS, trainer)
    return json.loads(engine.to_str())


def suffixed(size: int = 450) -> dict[str, Any]:
    """Byte-level BPE whose words end in `</w>`, as CLIP's do."""
    engine = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    engine.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), byte_level])
    engine.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(vocab_size=size, end_of_word_suffix="</w>", show_progress=False)
    engine.train_from_iterator([text.replace(",", "") for text in CORPUS], trainer)
    return json.loads(engine.to_str())


def with_start(tokenizer: dict[str, Any], text: str) -> dict[str, Any]:
    """Let the post-processor put a start token before every text."""
    token_id = next(t["id"] for t in tokenizer["added_tokens"] if t["content"] == text)
    start = {"SpecialToken": {"id": text, "type_id": 0}}
    sequence = [{"Sequence": {"id": name, "type_id": kind}} for kind, name in enumerate("AB")]
    template = {
        "type": "TemplateProcessing",
        "single": [start, sequence[0]],
        "pair": [start, *sequence],
        "special_tokens": {text: {"id": text, "ids": [token_id], "tokens": [text]}},
    }
    return {**tokenizer, "post_processor": template}
