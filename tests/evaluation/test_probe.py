"""The generative probe: greedy text against a plain loop, and figures of texts that are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CORPUS, byte_level, checkpoint, tiny_model

from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.language_model import final_states, logits, wrap_model
from tokswap.evaluation.probe import (
    MOST_BYTES,
    Written,
    always_emitted,
    bits_of,
    default_prompts,
    probe_figures,
    repetition,
)
from tokswap.evaluation.sample import continue_greedily
from tokswap.evaluation.texts import Text

TEXTS = {"prose": Text("prose", (CORPUS[0],))}
PLAIN: dict[str, Any] = {"device": "cpu", "dtype": "float32", "sample_prompt": None}


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_arm(checkpoint(tmp_path_factory.mktemp("model"), byte_level(44)))


@pytest.mark.parametrize("kind", ["llama", "gemma2", "phi"])
def test_greedy_text_is_the_plain_loops(arm: Any, kind: str) -> None:
    lm = wrap_model(tiny_model(kind, rows=304), known_ids=arm.vocab.ids)
    prompts = ["The harbour wall", "def f(x):\n", "x"]
    found = continue_greedily(lm, arm, prompts, tokens=12)
    for prompt, written in zip(prompts, found, strict=True):
        ids = [arm.start_id, *arm.tokenize(prompt).ids.tolist()]
        plain: list[int] = []
        while len(plain) < 12:
            token_id = int(logits(lm, final_states(lm, torch.tensor([ids + plain]))[0, -1]).argmax())
            if token_id == 0:  # <s> is bos and eos
                break
            plain.append(token_id)
        assert written == plain


def test_the_folders_own_generation_settings_do_not_count(arm: Any) -> None:
    lm = wrap_model(tiny_model(rows=304), known_ids=arm.vocab.ids)
    plain = continue_greedily(lm, arm, ["The"], tokens=8)
    lm.model.generation_config.repetition_penalty = 5.0
    lm.model.generation_config.do_sample = True
    lm.model.generation_config.max_length = 3
    assert continue_greedily(lm, arm, ["The"], tokens=8) == plain


def test_it_ends_at_the_end_token_and_at_the_last_position(arm: Any) -> None:
    model = tiny_model(rows=304, max_position_embeddings=16)
    prompt = "The harbour"
    room = 16 - 1 - len(arm.tokenize(prompt).ids)
    (written,) = continue_greedily(wrap_model(model, known_ids=arm.vocab.ids), arm, [prompt], tokens=50)
    assert 0 < len(written) <= room
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias = torch.nn.Parameter(torch.zeros(304))
        model.lm_head.bias[0] = 1.0
    assert continue_greedily(wrap_model(model), arm, [prompt, "x"], tokens=4) == [[], []]


def test_repetition() -> None:
    assert repetition(["a text in which nothing at all comes back"]) == 0
    assert repetition(["", "short"]) == 0
    looped = repetition(["the same words. " * 8])
    assert looped == pytest.approx(1 - 16 / (16 * 8 - 15))
    assert repetition(["the same words. " * 8, "x" * 15 + "y"]) < looped
    # Two texts that repeat each other, but not themselves, don't go in circles.
    assert repetition(["one two three four five"] * 2) == 0


def test_always_emitted() -> None:
    base = [[1, 2, 3], [1, 4], [5], [6]] * 4
    assert always_emitted([[9, 9, 1], [9, 2], [9, 8], [8, 1]] * 4, base) == [9, 8]
    assert always_emitted(base, base) == []


def test_bits_of_what_was_written(arm: Any) -> None:
    model = tiny_model(rows=304)
    lm = wrap_model(model, known_ids=arm.vocab.ids)
    written = Written(("The wall", "x"), ([5], []), (" was built by people", ""))
    found = bits_of(lm, arm, written, 2048, 1024)
    prompt, both = (arm.tokenize(text).ids.tolist() for text in ("The wall", "The wall was built by people"))
    assert both[: len(prompt)] == prompt, "the border of the prompt is a border of tokens"
    with torch.no_grad():
        values = model(input_ids=torch.tensor([[0, *both]])).logits[0, :-1, : len(arm.vocab)]
    nats = torch.nn.functional.cross_entropy(values, torch.tensor(both), reduction="none")[
        len(prompt) :
    ].sum()
    assert found == pytest.approx(float(nats) / len(b" was built by people") / math.log(2), rel=1e-5)
    assert bits_of(lm, arm, Written(("x",), ([],), ("",)), 2048, 1024) is None


def test_new_tokens_are_counted_in_both_texts(arm: Any) -> None:
    text = "The harbour wall"
    ids = arm.tokenize(text).ids
    model = Written(("p",), ([int(ids[0])] * 3 + [7],), ("whatever",))
    figures = probe_figures(arm, model, Written(("p",), ([1],), (text,)), np.asarray([ids[0]]))
    assert figures["greedy_text_new_share"].value == 0.75
    assert figures["base_greedy_text_new_share"].value == pytest.approx(np.mean(ids == ids[0]))


def test_a_model_against_itself_writes_the_same(tmp_path: Path) -> None:
    model = checkpoint(tmp_path, byte_level(44))
    report = evaluate(model, TEXTS, against=model, probe=True, **PLAIN)
    figures = report.figures
    for name in ("repetition", "bits", "new_share"):
        assert figures[f"greedy_text_{name}"].value == figures[f"base_greedy_text_{name}"].value
    assert figures["greedy_text_bits"].value > 0
    continuations = json.loads(report.to_json())["facts"]["continuations"]
    assert [c["prompt"] for c in continuations] == list(default_prompts())
    assert all(c["model"] == c["base"] and _bytes(c["model"]) <= MOST_BYTES for c in continuations)
    alone = evaluate(model, TEXTS, probe=True, **PLAIN)
    assert alone.figures["greedy_text_repetition"] == figures["greedy_text_repetition"]
    assert "greedy_text_new_share" not in alone.figures


def test_a_token_that_always_wins_is_found(tmp_path: Path) -> None:
    """One new row, large along the direction that all states share, as an average that was not calibrated is."""
    base = checkpoint(tmp_path / "base", byte_level(20), seed=1)
    model = checkpoint(tmp_path / "new", byte_level(44), seed=1)
    arm = open_arm(model)
    magnet = len(arm.vocab) - 1
    from safetensors.torch import load_file, save_file

    path = model.folder / "model.safetensors"
    tensors = load_file(path)
    lm = wrap_model(tiny_model(rows=304, seed=1))
    states = final_states(lm, torch.tensor([[0, 5, 80, magnet], [0, 90, 33, magnet]]))[:, -1]
    tensors["lm_head.weight"][magnet] = 100 * torch.linalg.pinv(states).sum(1)
    save_file(tensors, path, metadata={"format": "pt"})
    report = evaluate(model, TEXTS, against=base, probe=True, **PLAIN)
    assert report.figures["greedy_text_new_share"].value > report.figures["base_greedy_text_new_share"].value
    assert report.figures["always_emitted_tokens"].value >= 1
    assert report.facts["always_emitted"][0] == arm.vocab.bytes_of(magnet).decode("utf-8", "replace")


def _bytes(text: str) -> int:
    """What was written, where each byte that is no UTF-8 was replaced by one character of three bytes."""
    return len(text.replace("\ufffd", "?").encode())


def test_the_prompts_that_come_along() -> None:
    prompts = default_prompts()
    assert len(set(prompts)) == len(prompts) >= 12 and not any(p.endswith("\n\n") for p in prompts)
    assert sum(not p.isascii() for p in prompts) >= 3
