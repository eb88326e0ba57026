from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CORPUS, byte_level, checkpoint, lower_casing, sentencepiece, tiny_model

from tokswap.align import align
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import fit_windows, open_arm, start_token
from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.gate import gate
from tokswap.evaluation.shared_prefix import shared_prefix_check
from tokswap.evaluation.texts import Text
from tokswap.vocab import read_vocab

TEXTS = {"prose": Text("prose", (CORPUS[0], CORPUS[2])), "code": Text("code", (CORPUS[1] * 3,))}
QUICK: dict[str, Any] = {"device": "cpu", "dtype": "float32", "window_bytes": 128, "stride_bytes": 64}


def test_a_model_against_itself_has_ratio_one(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, byte_level())
    report = evaluate(model, TEXTS, against=model, **QUICK)
    for section in (report, *report.sections.values()):
        ratio = section.figures["ratio"]
        assert (ratio.value, ratio.low, ratio.high) == (1, 1, 1)
        assert section.figures["difference"].value == 0
        assert section.figures["new_token_share"].value == 0
        assert section.figures["new_token_mass"].value == 0
    assert report.facts["sample"] == report.facts["base_sample"] != ""
    assert not report.warnings


def test_figures_against_a_plain_loop(tmp_path: Path) -> None:
    document = CORPUS[0]
    model = checkpoint(tmp_path, byte_level())
    report = evaluate(
        model, {"t": Text("t", (document,))}, **QUICK | {"window_bytes": 2048, "stride_bytes": 1024}
    )
    arm = open_arm(model)
    ids = arm.tokenize(document).ids.tolist()
    with torch.no_grad():
        values = tiny_model(rows=304)(input_ids=torch.tensor([[0, *ids]])).logits[0, :-1, : len(arm.vocab)]
    nats = float(torch.nn.functional.cross_entropy(values, torch.tensor(ids), reduction="sum"))
    size = len(document.encode())
    figures = report.figures
    assert figures["bits_per_byte"].value == pytest.approx(nats / size / math.log(2), rel=1e-5)
    assert figures["byte_perplexity"].value == pytest.approx(math.exp(nats / size), rel=1e-4)
    assert figures["token_perplexity"].value == pytest.approx(math.exp(nats / len(ids)), rel=1e-4)
    assert figures["word_perplexity"].value == pytest.approx(math.exp(nats / len(document.split())), rel=1e-3)
    assert figures["bytes_per_token"].value == pytest.approx(size / len(ids))
    assert figures["token_perplexity"].note == "comparable only inside one tokenizer"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, Any]:
    return checkpoint(tmp_path / "new", byte_level(44)), checkpoint(tmp_path / "base", byte_level(20), seed=1)


def test_two_arms(pair: tuple[Any, Any]) -> None:
    model, base = pair
    report = evaluate(model, TEXTS, against=base, **QUICK)
    figures = report.figures
    assert figures["ratio"].value == pytest.approx(
        figures["bits_per_byte"].value / figures["base_bits_per_byte"].value
    )
    assert figures["ratio"].low < figures["ratio"].value < figures["ratio"].high
    assert figures["bytes_per_token"].value > figures["base_bytes_per_token"].value
    assert 0 < figures["new_token_share"].value < 1 and 0 < figures["new_token_mass"].value < 1
    # The two arms alone give what they give together.
    alone = evaluate(base, TEXTS, **QUICK)
    assert alone.figures["bits_per_byte"].value == pytest.approx(figures["base_bits_per_byte"].value)
    assert "new_token_mass" not in alone.figures and "ratio" not in alone.figures


def test_parts_add_up_to_the_whole(pair: tuple[Any, Any]) -> None:
    model, base = pair
    report = evaluate(model, TEXTS, against=base, **QUICK)
    figures = report.figures
    size = report.facts["bytes"]
    under = {kind: figures[f"bytes_under_{kind}_tokens"].value for kind in ("new", "shared")}
    assert sum(under.values()) == size
    for prefix in ("", "base_"):
        parts = sum(figures[f"{prefix}bits_under_{kind}_tokens"].value * under[kind] for kind in under)
        assert parts == pytest.approx(figures[f"{prefix}bits_per_byte"].value * size)
    by_text = sum(s.figures["bits_per_byte"].value * s.facts["bytes"] for s in report.sections.values())
    assert by_text == pytest.approx(figures["bits_per_byte"].value * size)


def test_the_report_is_json_and_feeds_a_gate(pair: tuple[Any, Any]) -> None:
    model, base = pair
    report = evaluate(model, TEXTS, against=base, **QUICK)
    facts = json.loads(report.to_json())["facts"]
    assert facts["start_token"] == "'<s>' before every window, in both arms"
    assert (facts["window_bytes"], facts["stride_bytes"], facts["dtype"], facts["device"]) == (
        128,
        64,
        "float32",
        "cpu",
    )
    assert facts["documents"] == 3
    assert not gate(report, "bpb[code]>1000x")[0] and gate(report, "bpb>0.0001x")[0]
    assert not gate(report, "mass>100x")[0] and not gate(report, "greedy>1")[0]


def test_progress_and_no_sample(pair: tuple[Any, Any]) -> None:
    said: list[tuple[str, int, int]] = []
    report = evaluate(
        pair[0],
        TEXTS,
        against=pair[1],
        sample_prompt=None,
        on_progress=lambda *what: said.append(what),
        **QUICK,
    )
    assert list(dict.fromkeys(stage for stage, _, _ in said)) == [
        "load model",
        "score model",
        "load base",
        "score base",
    ]
    assert "sample" not in report.facts and "sample_prompt" not in report.facts


def test_a_tokenizer_that_changes_the_text_is_warned_of(tmp_path: Path) -> None:
    report = evaluate(checkpoint(tmp_path, lower_casing()), TEXTS, **QUICK)
    assert len(report.warnings) == 1 and "prose" in report.warnings[0] and "code" not in report.warnings[0]


def test_sentencepiece_model_scores_every_byte(tmp_path: Path) -> None:
    report = evaluate(checkpoint(tmp_path, sentencepiece()), TEXTS, **QUICK)
    assert not report.warnings and report.facts["bytes"] == sum(text.bytes for text in TEXTS.values())


def test_windows_shrink_for_models_with_few_positions(pair: tuple[Any, Any], tmp_path: Path) -> None:
    short = checkpoint(tmp_path / "short", byte_level(44), max_position_embeddings=100)
    wide = QUICK | {"window_bytes": 512, "stride_bytes": 256}
    report = evaluate(pair[0], TEXTS, against=short, **wide)
    assert report.facts["window_bytes"] < 512 and "too few positions" in report.warnings[0]
    arm = open_arm(checkpoint(tmp_path / "shortest", byte_level(44), max_position_embeddings=8))
    with pytest.raises(TokswapError, match="too few positions"):
        fit_windows([(arm, [arm.tokenize("水" * 400)])], 512, 256)


def test_the_stride_is_half_the_window_unless_given(pair: tuple[Any, Any]) -> None:
    how = {"device": "cpu", "dtype": "float32", "sample_prompt": None}
    facts = evaluate(pair[0], TEXTS, window_bytes=256, **how).facts
    assert (facts["window_bytes"], facts["stride_bytes"]) == (256, 128)
    assert evaluate(pair[0], TEXTS, window_bytes=256, stride_bytes=64, **how).facts["stride_bytes"] == 64


def test_models_bear_the_names_they_were_given(pair: tuple[Any, Any]) -> None:
    model, base = (replace(arm, source=name) for arm, name in zip(pair, ("mine", "gemma3 (…)"), strict=True))
    facts = evaluate(model, TEXTS, against=base, **QUICK).facts
    assert (facts["model"], facts["against"]) == ("mine", "gemma3 (…)")


def test_start_tokens_that_differ_are_told_apart(pair: tuple[Any, Any], tmp_path: Path) -> None:
    tokenizer = json.loads(json.dumps(pair[0].tokenizer).replace("<s>", "<|go|>"))
    other = checkpoint(tmp_path / "other", tokenizer)
    config = {"bos_token": "<|go|>", "eos_token": "<|go|>"}
    report = evaluate(replace(other, tokenizer_config=config), TEXTS, against=pair[1], **QUICK)
    assert report.facts["start_token"] == "model: '<|go|>', base: '<s>', before every window"


def test_max_bytes(pair: tuple[Any, Any]) -> None:
    assert evaluate(pair[0], TEXTS, max_bytes=50, **QUICK).facts["bytes"] == 100


def test_no_text_is_an_error(pair: tuple[Any, Any]) -> None:
    with pytest.raises(TokswapError, match="no text"):
        evaluate(pair[0], {}, **QUICK)


def test_tokens_without_a_row_are_an_error(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, byte_level(44), rows=290)
    with pytest.raises(TokswapError, match="no row"):
        evaluate(model, TEXTS, **QUICK)


def test_start_token_by_role() -> None:
    tokenizer = byte_level()
    assert start_token(read_vocab(tokenizer, {"bos_token": "<s>"})) == 0
    assert start_token(read_vocab(tokenizer, {"eos_token": "<s>"})) == 0
    bare = read_vocab(tokenizer, {})
    assert bare.bytes_of(start_token(bare)) == b"\n"


# --- the proof that only rows changed -------------------------------------------------------------------------


def grafted(folder: Path, base: Any, tokenizer: dict[str, Any]) -> tuple[Any, Any]:
    """The base's body and shared rows, with random new rows."""
    model = checkpoint(folder, tokenizer, seed=1)
    alignment = align(open_arm(base).vocab, open_arm(model).vocab)
    tiny = tiny_model(rows=304, seed=1)
    rows = tiny.get_input_embeddings().weight.clone()
    other = tiny_model(rows=304, seed=7)
    fresh = torch.randn_like(rows)
    copied = alignment.copied_ids
    for name in ("get_input_embeddings", "get_output_embeddings"):
        old = getattr(tiny, name)().weight.detach().clone()
        table = fresh.clone()
        table[copied] = old[alignment.source[copied]]
        getattr(tiny, name)().weight.data = table
    del other
    tiny.save_pretrained(folder)
    return model, alignment


def test_shared_prefixes_are_identical_where_only_rows_changed(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level(20), seed=1)
    model, alignment = grafted(tmp_path / "new", base, byte_level(44))
    report = shared_prefix_check(model, base, alignment, ["xyz qqq ZZZ", "Tx", CORPUS[0]], device="cpu")
    assert report.facts == {"identical_states": True, "equal_logits": True}
    assert report.figures["largest_state_difference"].value == 0
    assert report.figures["prompts"].value == 2  # the third begins with a new token, "The"


def test_a_changed_body_is_found(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level(20), seed=1)
    model, alignment = grafted(tmp_path / "new", base, byte_level(44))
    other = checkpoint(tmp_path / "other", byte_level(20), seed=2)
    report = shared_prefix_check(model, other, alignment, ["xyz"], device="cpu")
    assert report.facts == {"identical_states": False, "equal_logits": False}


def test_prompts_without_shared_tokens_are_refused(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, byte_level(20))
    vocab = open_arm(model).vocab
    nothing = align(vocab, vocab)
    object.__setattr__(nothing, "source", np.full(len(nothing.source), -1))
    with pytest.raises(TokswapError, match="no prompt"):
        shared_prefix_check(model, model, nothing, ["xyz"], device="cpu")
