"""Words counted from files of every kind, against a plain loop over the whole text."""

from __future__ import annotations

import gzip
import json
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import zstandard

sys.path.insert(0, str(Path(__file__).parents[1]))

from tokenizer_families import CORPUS, byte_level, sentencepiece
from tokenizers import Tokenizer

from tokswap.data_files import data_folder
from tokswap.errors import TokswapError
from tokswap.mixture import corpus, counting
from tokswap.mixture.corpus import category_files, content_hash, read_texts, spans_of
from tokswap.mixture.counting import count_words
from tokswap.mixture.merges import merge_list
from tokswap.mixture.tables import merge_counts, write_table
from tokswap.mixture.types import WordCounts
from tokswap.mixture.words import word_spec
from tokswap.pretokenizers import CL100K, DEEPSEEK3, GPT2, O200K, QWEN2, PreTokenizer

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cache"))


def prose(name: str) -> str:
    return (data_folder("data") / "texts" / "evaluation" / name).read_text(encoding="utf-8")


ENGLISH, CODE, CHINESE = prose("english.txt"), prose("code.py.txt"), prose("chinese.txt")


every_rule = pytest.mark.parametrize(
    "rules", [GPT2, CL100K, O200K, QWEN2, DEEPSEEK3], ids=["gpt2", "cl100k", "o200k", "qwen", "deepseek"]
)


def with_rules(rules: PreTokenizer) -> Json:
    return {**byte_level(), "normalizer": rules.normalizer(), "pre_tokenizer": rules.pre_tokenizer()}


def plain_loop(tokenizer: Json, *texts: str) -> dict[str, int]:
    engine = Tokenizer.from_str(json.dumps(tokenizer))
    counts: Counter[str] = Counter()
    for text in texts:
        normal = engine.normalizer.normalize_str(text) if engine.normalizer else text
        counts.update(word for word, _ in engine.pre_tokenizer.pre_tokenize_str(normal))
    return dict(counts)


def counted(counts: WordCounts, category: str) -> dict[str, int]:
    column = counts.counts.toarray()[:, counts.categories.index(category)]
    return {word: int(count) for word, count in zip(counts.words, column, strict=True) if count}


def count(tokenizer: Json, categories: dict[str, Any], **options: Any) -> WordCounts:
    options = {"processes": 1} | options
    return count_words(tokenizer, merge_list(tokenizer, known=()), categories, **options)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@every_rule
def test_counts_are_those_of_a_plain_loop(rules: PreTokenizer, tmp_path: Path) -> None:
    tokenizer = with_rules(rules)
    both = {"en": [write(tmp_path / "en" / "a.txt", ENGLISH).parent], "py": [write(tmp_path / "b.py", CODE)]}
    found = count(tokenizer, both)
    assert counted(found, "en") == plain_loop(tokenizer, ENGLISH)
    assert counted(found, "py") == plain_loop(tokenizer, CODE)
    assert list(found.words) == sorted(found.words) and found.dropped is None
    assert found.text_bytes.tolist() == [len(ENGLISH.encode()), len(CODE.encode())]


def difficult(seed: int) -> str:
    """Text with line breaks, spaces and signs in all orders, where a wrong cut shows at once."""
    parts = [
        "\n",
        "\n\n",
        " ",
        "  ",
        "\r\n",
        "/",
        ")",
        "a",
        "don't",
        "é",
        "e\u0301",
        "中文",
        "。",
        "12",
        "\u3000",
        "\t",
        "_",
    ]
    return "".join(random.Random(seed).choices(parts, k=4_000))


@every_rule
@pytest.mark.parametrize("block", [64, 1_000])
def test_cuts_into_blocks_and_spans_change_no_count(
    rules: PreTokenizer, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = difficult(block) + ENGLISH + CODE + CHINESE
    tokenizer = with_rules(rules)
    monkeypatch.setattr(corpus, "BLOCK_BYTES", block)
    file = write(tmp_path / "a.txt", text)
    monkeypatch.setattr(counting, "spans_of", lambda files: spans_of(files, 5_000))
    assert len(spans_of([file], 5_000)) > 5
    found = count(tokenizer, {"x": [file]})
    assert found.text_bytes.tolist() == [len(text.encode())]
    assert counted(found, "x") == plain_loop(tokenizer, text)


def test_spans_read_every_byte_once(tmp_path: Path) -> None:
    text = (CHINESE + difficult(1)) * 3
    file = write(tmp_path / "a.txt", text)
    for size in (700, 4_096, 10**9):
        groups = spans_of([file], size)
        assert (
            "".join(block for spans in groups for span in spans for block in read_texts(span, "text")) == text
        )


def packed(kind: str, folder: Path, texts: list[str]) -> Path:
    lines = "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts).encode()
    if kind == ".parquet":
        pl.DataFrame({"text": [*texts, None]}).write_parquet(folder / "a.parquet")
        return folder / "a.parquet"
    data = texts[0].encode() if kind.startswith(".txt") else lines
    if kind.endswith(".gz"):
        data = gzip.compress(data[:1_000], mtime=0) + gzip.compress(data[1_000:])
    elif kind.endswith(".zst"):
        parts = (data[:1_000], data[1_000:])
        data = b"".join(zstandard.ZstdCompressor().compress(part) for part in parts)
    (folder / f"a{kind}").write_bytes(data)
    return folder / f"a{kind}"


@pytest.mark.parametrize(
    "kind", [".txt", ".txt.gz", ".txt.zst", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"]
)
def test_files_of_every_kind_hold_the_same_text(kind: str, tmp_path: Path) -> None:
    texts = [ENGLISH, CODE, CHINESE][: 1 if ".txt" in kind else 3]
    tokenizer = with_rules(CL100K)
    found = count(tokenizer, {"x": [packed(kind, tmp_path, texts)]})
    assert counted(found, "x") == plain_loop(tokenizer, *texts)
    assert found.text_bytes.tolist() == [sum(len(text.encode()) for text in texts)]


def test_processes_and_executors_count_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        write(tmp_path / "x" / f"{number}.txt", ENGLISH[number * 1_000 :])
    tokenizer = with_rules(GPT2)
    monkeypatch.setattr(counting, "FEW_BYTES", 0)
    monkeypatch.setattr(counting, "spans_of", lambda files: spans_of(files, 20_000))
    spawned = count(tokenizer, {"x": [tmp_path / "x"]}, processes=2)
    monkeypatch.setattr(counting, "_VERSION", -1)  # not from the cache
    with ThreadPoolExecutor(2) as pool:
        elsewhere = count(tokenizer, {"x": [tmp_path / "x"]}, executor=pool)
    expected = plain_loop(tokenizer, *(ENGLISH[n * 1_000 :] for n in range(6)))
    assert counted(spawned, "x") == counted(elsewhere, "x") == expected


def test_a_process_out_of_room_writes_its_words_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "WORDS_IN_MEMORY", 50)
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 500)
    tokenizer = with_rules(CL100K)
    found = count(tokenizer, {"x": [write(tmp_path / "a.txt", ENGLISH)]})
    assert counted(found, "x") == plain_loop(tokenizer, ENGLISH)


def test_rare_words_are_dropped_when_there_are_too_many(tmp_path: Path) -> None:
    files = {"en": [write(tmp_path / "a.txt", ENGLISH)], "zh": [write(tmp_path / "b.txt", CHINESE)]}
    tokenizer = with_rules(CL100K)
    whole, some = count(tokenizer, files), count(tokenizer, files, most_words=100)
    assert len(some.words) == 100 and some.dropped is not None
    kept = np.isin(whole.words, some.words)
    assert np.array_equal(whole.counts.toarray()[kept], some.counts.toarray())
    assert np.array_equal(whole.counts.toarray()[~kept].sum(0), some.dropped)
    shares = (whole.counts.toarray() / whole.counts.toarray().sum(0)).sum(1)
    assert shares[kept].min() >= shares[~kept].max()


def test_a_second_tokenizer_with_the_same_words_reads_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.txt", ENGLISH)
    first = count(with_rules(CL100K), {"en": [file]})
    other = {**byte_level(300), "normalizer": None, "pre_tokenizer": CL100K.pre_tokenizer()}
    other["pre_tokenizer"]["pretokenizers"][-1]["trim_offsets"] = False
    renamed = write(tmp_path / "else" / "b.md", ENGLISH)

    def never(*args: Any) -> Any:
        raise AssertionError("counted again")

    monkeypatch.setattr(counting, "count_spans", never)
    again = count(other, {"english": [renamed]})
    assert again.words == first.words and np.array_equal(again.counts.toarray(), first.counts.toarray())
    assert again.text_bytes.tolist() == first.text_bytes.tolist()
    with pytest.raises(AssertionError, match="counted again"):
        count(with_rules(GPT2), {"en": [file]})
    with pytest.raises(AssertionError, match="counted again"):
        count(other, {"en": [write(tmp_path / "a.txt", ENGLISH + ".")]})


def test_tables_add_up_in_any_order(tmp_path: Path) -> None:
    parts = [Counter(["the", "cat", "the", "dog"]), Counter(["a", "cat"]), Counter(["ü", "中", "cat"])]
    tables = [write_table(part, tmp_path / f"{i}.parquet") for i, part in enumerate(parts)]
    one = pl.read_parquet(merge_counts(tables, tmp_path / "one.parquet"))
    two = merge_counts(
        [merge_counts(tables[1:], tmp_path / "x.parquet"), tables[0]], tmp_path / "two.parquet"
    )
    assert one.equals(pl.read_parquet(two))
    assert dict(one.iter_rows()) == dict(sum(parts, Counter())) and one["word"].to_list() == sorted(
        one["word"]
    )


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    files = {"a": [write(tmp_path / "a.txt", ENGLISH)], "b": [write(tmp_path / "b.txt", CODE)]}
    count(with_rules(GPT2), files, on_progress=lambda *step: told.append(step))
    size = len((ENGLISH + CODE).encode())
    assert told[0] == ("count", 0, size) and told[-1] == ("count", size, size)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_folders_globs_and_files_name_each_file_once(tmp_path: Path) -> None:
    write(tmp_path / "x" / "deep" / "a.txt", "a")
    write(tmp_path / "x" / "b.py", "b")
    write(tmp_path / "x" / ".git" / "c.txt", "c")
    (tmp_path / "x" / "d.png").write_bytes(b"\x89PNG\0\0")
    found = category_files("x", [tmp_path / "x", str(tmp_path / "x" / "*.py"), tmp_path / "x" / "b.py"])
    assert [file.name for file in found] == ["b.py", "a.txt"]
    assert content_hash(found) == content_hash(found[::-1]) != content_hash(found[:1])


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("a.txt", b"good \xff bad", r"a\.txt isn't UTF-8 \(byte 5\)"),
        ("a.txt", "é" .encode("latin-1") * 3, r"isn't UTF-8 \(byte 0\)"),
        ("a.txt", b"x" * 5_000 + "中".encode()[:2], r"isn't UTF-8 \(byte 5,000\)"),
        ("a.txt", b"", "'x' holds no text"),
        ("a.jsonl", b'{"body": "x"}\n', "line 1 of .*a.jsonl has no 'text'"),
        ("a.jsonl", b'{"text": 3}\n', "is no text"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\xff"}\n', r"isn't UTF-8 \(byte 24\)"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "surrogate"),
        ("a.txt.gz", b"no gzip", "can't be read"),
        ("a.txt.gz", gzip.compress(b"x" * 9_999, mtime=0)[:-9], "can't be read"),
        ("a.txt.zst", b"no zstandard", "can't be read"),
        ("a.parquet", b"PAR1 no", "no parquet"),
    ],
)  # fmt: skip
def test_bad_files_are_named(
    name: str, data: bytes, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "BLOCK_BYTES", 512)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(TokswapError, match=what):
        count(with_rules(GPT2), {"x": [tmp_path / name]})
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert left == []  # nothing that a later run could take for counts


def test_a_parquet_file_without_the_column_says_which_it_has(tmp_path: Path) -> None:
    pl.DataFrame({"body": ["x"]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(TokswapError, match="no column 'text'") as caught:
        count(with_rules(GPT2), {"x": [tmp_path / "a.parquet"]})
    assert "body" in caught.value.hint
    assert count(with_rules(GPT2), {"x": [tmp_path / "a.parquet"]}, field="body").words == ("x",)


@pytest.mark.parametrize("sources", [["nowhere/*.txt"], ["empty"], ["missing.txt"]])
def test_a_category_without_files_is_refused(sources: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TokswapError, match="category 'x': there is no text at"):
        count(with_rules(GPT2), {"x": [tmp_path / source for source in sources]})
    with pytest.raises(TokswapError, match="no category"):
        count(with_rules(GPT2), {})


def test_sentencepiece_words_are_cut_where_its_trainer_cut(tmp_path: Path) -> None:
    """No piece of this vocabulary has a digit, a line break, two scripts, or a space inside."""
    tokenizer = sentencepiece_of(["▁the", "the", "th", "▁c", "at", "▁▁", "中文", "▁t", "on", "▁o"])
    spec = word_spec(tokenizer, merge_list(tokenizer, known=()))
    assert (spec.lines, spec.spaces, spec.scripts, spec.runs) == (True, True, True, False)
    text = "the cat\n  the 中文on 12"
    found = count(tokenizer, {"x": [write(tmp_path / "a.txt", text)]})
    assert counted(found, "x") == {
        "▁the": 1,
        "▁cat": 1,
        "▁▁▁the": 1,
        "▁中文": 1,
        "on": 1,
        "▁": 1,
        "1": 1,
        "2": 1,
    }


def sentencepiece_of(pieces: list[str]) -> Json:
    tokenizer = sentencepiece()
    characters = sorted({character for piece in pieces for character in piece} | set("0123456789\n"))
    known = dict.fromkeys([*characters, *sorted(pieces, key=len)])
    cuts = [[piece[:i], piece[i:]] for piece in known for i in range(1, len(piece))]
    merges = [cut for cut in cuts if cut[0] in known and cut[1] in known]
    vocab = {text: i for i, text in enumerate(["<unk>", *known])}
    model = {**tokenizer["model"], "vocab": vocab, "merges": merges, "byte_fallback": False}
    return {**tokenizer, "added_tokens": [], "model": model}


def test_a_trained_sentencepiece_keeps_words_that_its_pieces_fit(tmp_path: Path) -> None:
    """Nothing is cut that a learnt piece holds together: every piece still stands inside some word of its own text."""
    tokenizer = sentencepiece()
    documents = "".join(json.dumps({"text": text}) + "\n" for text in CORPUS)
    found = count(tokenizer, {"x": [write(tmp_path / "a.jsonl", documents)]})
    merges = merge_list(tokenizer, known=())
    for result in merges.results:
        assert any(merges.texts[result] in word for word in found.words), merges.texts[result]
