"""Tokenizer files of every kind become tokenizer.json data that encodes alike."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tokswap.errors import TokswapError
from tokswap.pretokenizers import BY_GGUF_NAME
from tokswap.rank_files import merges_from_ranks, parts_below
from tokswap.tokenizer_build import merges_from_scores
from tokswap.tokenizer_files import read_tokenizer_file
from tokswap.vocab import gpt2_alphabet

TEXT = (
    "the theatre there, then the other thin thing; in 1999 and 2024 they bathed the other 12 brothers. "
    "\nNaïve façade — 日本語 😀 the end\n\n  the\tthe"
)


def _trained(vocab_size: int = 400) -> Any:
    """A byte-level BPE trained on the spot: its merges are the oracle for recovering them from ranks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([TEXT] * 3, trainer)
    return tokenizer


def _ranks(tokenizer: Any) -> dict[bytes, int]:
    alphabet = gpt2_alphabet()
    return {bytes(alphabet[char] for char in text): i for text, i in tokenizer.get_vocab().items()}


def _write_tiktoken(path: Path, ranks: Mapping[bytes, int]) -> Path:
    lines = [base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()]
    path.write_bytes(b"".join(lines))
    return path


def _engine(data: Mapping[str, Any]) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(data))


def test_merges_are_recovered_from_ranks_as_they_were_trained() -> None:
    tokenizer = _trained()
    chars = {byte: char for char, byte in gpt2_alphabet().items()}

    def spell(token: bytes) -> str:
        return "".join(chars[byte] for byte in token)

    found = [[spell(left), spell(right)] for left, right in merges_from_ranks(_ranks(tokenizer))]
    model = json.loads(tokenizer.to_str())["model"]
    trained = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
    assert found == trained and len(found) > 50


def test_a_token_that_merging_never_yields_has_no_parts() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256, b"bc": 257, b"xyz": 258}
    assert parts_below(b"ab", ranks) == [b"a", b"b"]
    assert parts_below(b"xyz", ranks) == [b"x", b"y", b"z"]
    assert merges_from_ranks(ranks) == [(b"a", b"b"), (b"b", b"c")]


def test_tiktoken_files_encode_like_their_ranks(tmp_path: Path) -> None:
    tokenizer = _trained()
    files = read_tokenizer_file(_write_tiktoken(tmp_path / "mine.tiktoken", _ranks(tokenizer)))
    assert len(files.notes) == 1 and "cl100k" in files.notes[0]
    ours = _engine(files.tokenizer)
    for word in ("the", " theatre", " brothers", "—", "日本語", " 😀"):
        assert ours.encode(word).ids == tokenizer.encode(word).ids
    assert ours.decode(ours.encode(TEXT).ids) == TEXT


@pytest.mark.parametrize("content", [b"", b"not base64 at all\n", b"YQ== 0\nYg== x\n", b"YQ== 0\nYg== 1\n"])
def test_a_damaged_tiktoken_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.tiktoken").write_bytes(content)
    with pytest.raises(TokswapError, match=r"bad\.tiktoken"):
        read_tokenizer_file(tmp_path / "bad.tiktoken")


def _tekken(ranks: Mapping[bytes, int], specials: int = 4) -> dict[str, Any]:
    rows = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])
    ]
    named = [{"rank": i, "token_str": text} for i, text in enumerate(["<unk>", "<s>", "</s>"])]
    config = {"pattern": r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+", "default_num_special_tokens": specials}
    # The file holds more rows than the model: the last 20 are to be left out.
    config["default_vocab_size"] = specials + len(rows) - 20
    return {"config": config, "vocab": rows, "special_tokens": named}


def test_tekken_files_put_special_tokens_first(tmp_path: Path) -> None:
    tokenizer = _trained()
    ranks = _ranks(tokenizer)
    path = tmp_path / "tekken.json"
    path.write_text(json.dumps(_tekken(ranks)))
    files = read_tokenizer_file(path)
    ours = _engine(files.tokenizer)
    assert files.notes == () and files.config["bos_token"] == "<s>"
    assert ours.get_vocab_size() == 4 + len(ranks) - 20
    assert ours.token_to_id("<SPECIAL_3>") == 3
    ids = ours.encode("the 12").ids
    assert ids[0] == 1 and ids[1] == ranks[b"the"] + 4 and ids[-1] == ranks[b"2"] + 4
    assert ours.decode(ours.encode(TEXT).ids) == TEXT


def test_broken_json_is_an_error(tmp_path: Path) -> None:
    cases: list[Any] = [{}, {"vocab": [], "config": {}}, {"vocab": [{"rank": 0}], "config": {"pattern": "x"}}]
    for content in ["{", *(json.dumps(case) for case in cases)]:
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(TokswapError, match=r"t\.json"):
            read_tokenizer_file(tmp_path / "t.json")


def test_a_tokenizer_json_takes_its_configuration_along(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(_trained().to_str())
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": "<a>", "eos_token": "<b>"}')
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<c>"}')
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    files = read_tokenizer_file(path)
    assert files.config == {"bos_token": "<a>", "eos_token": "<c>", "chat_template": "{{ messages }}"}
    assert files.tokenizer == json.loads(path.read_text())


def test_merges_from_scores_rank_every_cut_of_a_piece() -> None:
    vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    merges = merges_from_scores(vocab, {"abc": -3.0, "ab": -1.0, "bc": -2.0, "a": -4.0})
    assert merges == [("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")]


def test_every_pre_tokenizer_is_valid_and_loses_nothing() -> None:
    base = json.loads(_trained().to_str())
    for name, rules in BY_GGUF_NAME.items():
        data = base | {"normalizer": rules.normalizer(), "pre_tokenizer": rules.pre_tokenizer()}
        engine = _engine(data)
        assert engine.decode(engine.encode(TEXT).ids) == TEXT, name


def _sentencepiece_model(tmp_path: Path, kind: str) -> Path:
    import sentencepiece

    (tmp_path / "text.txt").write_text("\n".join(TEXT.split(". ") * 30), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"),
        model_prefix=str(tmp_path / "sp"),
        model_type=kind,
        vocab_size=340 if kind == "bpe" else 295,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity" if kind == "bpe" else "nmt_nfkc",
        remove_extra_whitespaces=kind == "unigram",
        minloglevel=2,
    )
    return tmp_path / "sp.model"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece_models_encode_as_the_library_does(tmp_path: Path, kind: str) -> None:
    path = _sentencepiece_model(tmp_path, kind)
    import sentencepiece

    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    files = read_tokenizer_file(path)
    ours = _engine(files.tokenizer)
    assert files.config["bos_token"] == "<s>" and files.config["unk_token"] == "<unk>"
    for text in ("the other thing", "in 1999", "Naïve 日本 😀", "then  the", "ab"):
        assert ours.encode(text, add_special_tokens=False).ids == library.encode(text), text


def test_a_broken_sentencepiece_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(b"\xff\xfe nothing")
    with pytest.raises(TokswapError, match=r"x\.model"):
        read_tokenizer_file(tmp_path / "x.model")
