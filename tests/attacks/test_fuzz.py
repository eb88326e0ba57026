"""Mutated bytes of headers, index and tokenizer.json are read or refused, and raise nothing but our own error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_models import byte_level, sentencepiece
from transplants import llama, saved

from tokswap.checkpoint import open_checkpoint, read_embeddings
from tokswap.errors import TokswapError
from tokswap.tokenization import load_tokenizer
from tokswap.vocab import vocab_of

Edits = list[tuple[int, int, bytes]]
"""(place in per mille of the file, bytes that are taken out, bytes that are put in)."""
EDITS = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 40), st.binary(max_size=12) | st.sampled_from(
        [b"-1", b"9" * 30, b"null", b"[[[[", b"{}", b'"', b"1e999", b"\\ud800", b"\xff", b"true", b'"type":"BPE"']
    )),
    min_size=1, max_size=4,
)  # fmt: skip
FUZZ = settings(
    max_examples=250,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


TRIED = Counter[str]()


@pytest.fixture(autouse=True)
def counted(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """Say how many mutations were tried: tests/trials.py adds them up."""
    TRIED.clear()
    yield
    record_property("faults", TRIED.total())


def mutated(content: bytes, edits: Edits) -> bytes:
    TRIED["mutations"] += 1
    for place, taken, put in edits:
        at = len(content) * place // 1000
        content = content[:at] + put + content[at + taken :]
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(llama(), tmp_path_factory.mktemp("fuzz") / "base", byte_level())


@FUZZ
@given(edits=EDITS)
def test_a_mutated_header_is_read_or_refused(edits: Edits, folder: Path) -> None:
    path = folder / "model.safetensors"
    sound = path.read_bytes()
    length = 8 + int.from_bytes(sound[:8], "little")
    try:
        path.write_bytes(mutated(sound[:length], edits) + sound[length:])
        _ = read_embeddings(open_checkpoint(folder))
    except TokswapError as error:
        assert error.hint
    finally:
        path.write_bytes(sound)


@FUZZ
@given(edits=EDITS)
def test_a_mutated_index_is_read_or_refused(edits: Edits, folder: Path, tmp_path: Path) -> None:
    places = dict.fromkeys(open_checkpoint(folder).tensors, "one.safetensors")
    index = json.dumps({"metadata": {"total_size": 1}, "weight_map": places}).encode()
    if not (tmp_path / "one.safetensors").exists():
        (tmp_path / "one.safetensors").symlink_to(folder / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_bytes(mutated(index, edits))
    try:
        assert open_checkpoint(tmp_path).tensors
    except TokswapError as error:
        assert error.hint


@pytest.mark.parametrize("make", [byte_level, sentencepiece])
@FUZZ
@given(edits=EDITS)
@example(edits=[(227, 0, b"\\ud800")])  # half a character in a token
def test_a_mutated_tokenizer_is_read_or_refused(make: object, edits: Edits, tmp_path: Path) -> None:
    assert callable(make)
    (tmp_path / "tokenizer.json").write_bytes(mutated(json.dumps(make()).encode(), edits))
    try:
        checkpoint = open_checkpoint(tmp_path)
        assert len(vocab_of(checkpoint)) > 0
        assert load_tokenizer(checkpoint.tokenizer).encode("some text 12").ids is not None
    except TokswapError as error:
        assert error.hint
