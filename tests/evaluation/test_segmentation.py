"""The segmentation reference against a plain loop, and where it must equal what it is compared with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CORPUS, byte_level, checkpoint, lower_casing, sentencepiece, tiny_model

from tokswap.align import align
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.segmentation import resegment
from tokswap.evaluation.texts import Text
from tokswap.tokenization import load_tokenizer

DOCUMENTS = (CORPUS[0], CORPUS[2])
TEXTS = {"prose": Text("prose", DOCUMENTS)}
PLAIN: dict[str, Any] = {"device": "cpu", "dtype": "float32", "sample_prompt": None, "segmentation": True}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return checkpoint(tmp_path_factory.mktemp("base"), byte_level(20), seed=1)


def plain_loop(base: Any, new_tokenizer: dict[str, Any], document: str) -> tuple[list[int], float]:
    """Encode with the new tokenizer, spell each token's own text with the base's, and add up the base's losses."""
    new, old = load_tokenizer(new_tokenizer), load_tokenizer(base.tokenizer)
    shared = base.tokenizer["model"]["vocab"]
    ids: list[int] = []
    for token in new.encode(document, add_special_tokens=False).tokens:
        ids += [shared[token]] if token in shared else [t.id for t in old.model.tokenize(token)]
    with torch.no_grad():
        values = tiny_model(rows=304, seed=1)(input_ids=torch.tensor([[0, *ids]])).logits[0, :-1]
    known = len(base.tokenizer["model"]["vocab"])
    return ids, float(
        torch.nn.functional.cross_entropy(values[:, :known], torch.tensor(ids), reduction="sum")
    )


def test_agrees_with_a_plain_loop(base: Any, tmp_path: Path) -> None:
    tokenizer = byte_level(44, CORPUS[1:2])
    model = checkpoint(tmp_path, tokenizer)
    figures = evaluate(model, TEXTS, against=base, **PLAIN).figures
    nats = sum(plain_loop(base, tokenizer, document)[1] for document in DOCUMENTS)
    size = sum(len(document.encode()) for document in DOCUMENTS)
    value = figures["segmentation_bits_per_byte"].value
    assert value == pytest.approx(nats / size / math.log(2), rel=1e-5)
    assert value != pytest.approx(figures["base_bits_per_byte"].value, rel=1e-3), "the borders differ"
    parts = figures["segmentation_difference"].value + figures["rows_difference"].value
    assert parts == pytest.approx(figures["difference"].value)


def test_the_pieces_are_the_plain_loops_and_keep_the_borders(base: Any, tmp_path: Path) -> None:
    tokenizer = byte_level(44, CORPUS[1:2])
    arm, old = open_arm(checkpoint(tmp_path, tokenizer)), open_arm(base)
    documents = [arm.tokenize(document) for document in DOCUMENTS]
    found = resegment(documents, align(old.vocab, arm.vocab), arm.vocab, base.tokenizer, old.vocab)
    for document, before, after in zip(DOCUMENTS, documents, found, strict=True):
        assert after.ids.tolist() == plain_loop(base, tokenizer, document)[0]
        assert after.spans.exact and np.isin(before.spans.ends, after.spans.ends).all()
        pieces = [old.vocab.bytes_of(int(i)) for i in after.ids]
        assert b"".join(pieces) == document.encode()
        assert np.diff(after.spans.ends, prepend=0).tolist() == list(map(len, pieces))


def test_one_tokenizer_has_one_segmentation(base: Any, tmp_path: Path) -> None:
    model = checkpoint(tmp_path, byte_level(20), seed=2)
    report = evaluate(model, TEXTS, against=base, **PLAIN)
    for figures in (report.figures, report.sections["prose"].figures):
        assert figures["segmentation_bits_per_byte"].value == figures["base_bits_per_byte"].value
        difference = figures["segmentation_difference"]
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert figures["rows_difference"] == figures["difference"].__class__(
            figures["difference"].value,
            "bits/byte",
            figures["difference"].low,
            figures["difference"].high,
            "of the difference, from the rows",
        )


def test_a_space_before_the_text_belongs_to_no_byte(base: Any, tmp_path: Path) -> None:
    arm, old = open_arm(checkpoint(tmp_path, sentencepiece())), open_arm(base)
    (found,) = resegment(
        [arm.tokenize("the wall")], align(old.vocab, arm.vocab), arm.vocab, base.tokenizer, old.vocab
    )
    assert b"".join(old.vocab.bytes_of(int(i)) for i in found.ids) == b" the wall"
    assert found.spans.ends[-1] == len("the wall") and found.spans.exact


def test_a_tokenizer_that_changes_the_text_keeps_its_borders(base: Any, tmp_path: Path) -> None:
    arm, old = open_arm(checkpoint(tmp_path, lower_casing())), open_arm(base)
    document = arm.tokenize(CORPUS[2])
    (found,) = resegment([document], align(old.vocab, arm.vocab), arm.vocab, base.tokenizer, old.vocab)
    assert not found.spans.exact and found.spans.length == document.spans.length
    assert np.isin(document.spans.ends, found.spans.ends).all()


def test_bytes_that_the_base_lacks_go_to_a_piece_beside_them(tmp_path: Path) -> None:
    lacking = byte_level(20)
    lost = lacking["model"]["vocab"].pop("T")  # byte 54 of every text that begins with a capital T
    lacking["model"]["vocab"]["\u0180"] = lost
    lacking["model"]["merges"] = [m for m in lacking["model"]["merges"] if "T" not in "".join(m)]
    poor = checkpoint(tmp_path / "poor", lacking)
    arm, old = open_arm(checkpoint(tmp_path / "new", byte_level(44))), open_arm(poor)
    alignment = align(old.vocab, arm.vocab)
    (found,) = resegment([arm.tokenize("The T wall")], alignment, arm.vocab, poor.tokenizer, old.vocab)
    assert found.spans.length == 10 and found.spans.ends[-1] == 10 and not found.spans.exact
    with pytest.raises(TokswapError, match="can't spell"):
        resegment([arm.tokenize("TTT")], alignment, arm.vocab, poor.tokenizer, old.vocab)


def test_it_needs_a_base(base: Any) -> None:
    with pytest.raises(TokswapError, match="there is no base"):
        evaluate(base, TEXTS, **PLAIN)
