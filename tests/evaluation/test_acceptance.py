"""Acceptance of tiny seeded drafts, against a plain loop over every token."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import byte_level, checkpoint, sentencepiece

import tokswap
from tokswap.checkpoint import Checkpoint
from tokswap.evaluation.acceptance import (
    common_borders,
    measure_acceptance,
    predicting_states,
    require_same_ids,
)
from tokswap.evaluation.arm import document_windows, open_arm
from tokswap.evaluation.texts import Text
from tokswap.vocab import vocab_of

PROSE = "The harbour wall was built by the people; naïve façade, 42 œufs.\n    return sorted(values)\n"
TEXTS = {"prose": Text("prose", (PROSE, "Another wall.")), "code": Text("code", ("def median(values):\n",))}
FP32: dict[str, Any] = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """A target, a draft of its vocabulary that resembles it, and where the draft came from."""
    root = tmp_path_factory.mktemp("acceptance")
    target = checkpoint(root / "target", sentencepiece(), seed=1, initializer_range=0.08)
    draft = checkpoint(root / "draft", sentencepiece(), seed=1, initializer_range=0.08, num_hidden_layers=1)
    base = checkpoint(root / "base", byte_level(), seed=2)
    return {"target": target, "draft": draft, "base": base}


@cache
def loaded(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def next_token(its: Checkpoint, ids: list[int]) -> torch.Tensor:
    """The model's logits after some ids, by transformers alone."""
    model = loaded(its.folder)
    vocab = vocab_of(its)
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids])).logits[0, -1]
    known = torch.zeros(len(out), dtype=torch.bool)
    known[torch.from_numpy(vocab.ids)] = True
    return out.masked_fill(~known, float("-inf"))


def test_acceptance_is_that_of_a_plain_loop(models: dict[str, Checkpoint]) -> None:
    report = measure_acceptance(models["draft"], models["target"], TEXTS, **FP32)
    arm = open_arm(models["target"])
    for name, text in TEXTS.items():
        greedy, sampled = [], []
        for document in text.documents:
            ids = [arm.start_id, *arm.encoder.encode(document, add_special_tokens=False).ids]
            for stop in range(1, len(ids)):
                p, q = (next_token(models[who], ids[:stop]) for who in ("target", "draft"))
                greedy.append(float(p.argmax() == q.argmax()))
                sampled.append(float(sum(min(a, b) for a, b in zip(p.softmax(0), q.softmax(0), strict=True))))
        figures = report.sections[name].figures
        assert figures["tokens"].value == len(greedy)
        assert figures["greedy_acceptance"].value == pytest.approx(sum(greedy) / len(greedy))
        assert figures["sampled_acceptance"].value == pytest.approx(sum(sampled) / len(sampled), abs=1e-5)
    assert 0 < report.figures["greedy_acceptance"].value < 1


def test_before_the_move_shared_tokens_are_all_that_can_be_proposed(models: dict[str, Checkpoint]) -> None:
    one = {"prose": Text("prose", (PROSE,))}
    report = measure_acceptance(models["draft"], models["target"], one, against=models["base"], **FP32)
    target, base = open_arm(models["target"]), open_arm(models["base"])
    ids = target.encoder.encode(PROSE, add_special_tokens=False).ids
    own = base.encoder.encode(PROSE, add_special_tokens=False).ids
    begins = {len(b"".join(map(base.vocab.bytes_of, own[:i]))): i for i in range(len(own))}
    own_of = {token: int(i) for i, token in zip(base.vocab.ids, base.vocab.tokens, strict=True)}
    greedy, sampled, most, at = [], [], [], 0
    for i, token_id in enumerate(ids):
        size = len(target.vocab.bytes_of(token_id)) - (i == 0)  # a space is put before the text
        if size and at in begins:
            p = next_token(models["target"], [target.start_id, *ids[:i]]).softmax(0)
            raw = next_token(models["base"], [base.start_id, *own[: begins[at]]])
            shared = {
                int(t): own_of[token]
                for t, token in zip(target.vocab.ids, target.vocab.tokens, strict=True)
                if token in own_of and not spelt_better(target.vocab, int(t))
            }
            q = raw[list(shared.values())].softmax(0)
            sampled.append(sum(min(float(p[t]), float(x)) for t, x in zip(shared, q, strict=True)))
            best = int(p.argmax())
            greedy.append(float(list(shared)[int(q.argmax())] == best))
            a, b = target.vocab.bytes_of(best), base.vocab.bytes_of(int(raw.argmax()))
            most.append(float(a.startswith(b) or b.startswith(a)))
        at += size
    figures = report.figures
    assert figures["common_share"].value == pytest.approx(len(sampled) / len(ids))
    assert figures["base_sampled_acceptance"].value == pytest.approx(sum(sampled) / len(sampled), abs=1e-5)
    assert figures["base_greedy_acceptance"].value == pytest.approx(sum(greedy) / len(greedy))
    assert figures["base_text_acceptance"].value == pytest.approx(sum(most) / len(most))
    assert figures["base_text_acceptance"].value >= figures["base_greedy_acceptance"].value


def spelt_better(vocab: Any, token_id: int) -> bool:
    """Is this a fallback byte beside a plain piece of the same byte? Text yields the piece."""
    token = vocab.bytes_of(token_id)
    return vocab.texts[vocab.position[token_id]].startswith("<0x") and any(
        other == token and int(i) != token_id for i, other in zip(vocab.ids, vocab.tokens, strict=True)
    )


def test_a_model_keeps_all_that_it_drafts_itself(models: dict[str, Checkpoint]) -> None:
    report = measure_acceptance(models["target"], models["target"], TEXTS, tokens=3, cost=0.5, **FP32)
    assert report.figures["greedy_acceptance"].value == 1
    assert report.figures["sampled_acceptance"].value == pytest.approx(1, abs=1e-5)
    assert report.figures["tokens_per_call_greedy"].value == 4
    assert report.figures["speedup_greedy"].value == pytest.approx(4 / 2.5)
    assert not report.warnings


def test_a_draft_as_large_as_its_target_is_slower_and_it_says_so(models: dict[str, Checkpoint]) -> None:
    report = measure_acceptance(models["base"], models["base"], TEXTS, **FP32)
    assert (
        report.figures["cost"].value == 1 and not report.warnings
    )  # it is always right, and even then no faster
    slow = measure_acceptance(models["draft"], models["target"], TEXTS, cost=2.0, **FP32)
    assert slow.figures["speedup_greedy"].value < 1 and "smaller draft" in slow.warnings[0]


def test_windows_give_each_token_its_context(models: dict[str, Checkpoint]) -> None:
    from tokswap.evaluation.language_model import load_language_model

    arm = open_arm(models["target"])
    lm = load_language_model(models["target"].folder, **FP32)
    document = arm.tokenize(PROSE * 3)
    windows = document_windows(document, 128, 64)
    assert len(windows) > 3
    states = predicting_states(lm, document.ids, windows, arm.start_id)
    assert len(states) == len(document.ids)
    for window in windows:
        ids = [arm.start_id, *document.ids[window.first : window.stop - 1].tolist()]
        alone = predicting_states(lm, document.ids, [window], arm.start_id)
        assert torch.allclose(states[window.start : window.stop], alone, atol=1e-5)
        assert len(ids) >= len(alone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"against": "base"}, None),
        ({"draft": "base"}, "is '.*' to the draft and '.*' to the target"),
        ({"tokens": 0}, "can't be drafted"),
        ({"cost": -1.0}, "no ratio"),
        ({"texts": {}}, "no text"),
    ],
)
def test_what_can_not_be_measured_is_refused(
    change: dict[str, Any], said: str | None, models: dict[str, Checkpoint]
) -> None:
    how: dict[str, Any] = {"draft": "draft", "target": "target", "texts": TEXTS, **FP32, **change}
    call = {k: models[v] if k in ("draft", "target", "against") else v for k, v in how.items()}
    if said is None:
        assert measure_acceptance(**call).figures["base_cost"].value > 0
        return
    with pytest.raises(tokswap.TokswapError, match=said) as caught:
        measure_acceptance(**call)
    assert caught.value.hint


def test_other_rows_are_another_vocabulary(models: dict[str, Checkpoint], tmp_path: Path) -> None:
    padded = checkpoint(tmp_path / "padded", sentencepiece(), rows=320)
    with pytest.raises(tokswap.TokswapError, match="320 rows and the target's 304") as caught:
        require_same_ids(vocab_of(padded), vocab_of(models["target"]))
    assert "--for-draft-of" in caught.value.hint


def test_common_borders_count_each_byte_once() -> None:
    import numpy as np

    starts, others = np.array([0, 3, 3, 5, 9]), np.array([0, 0, 3, 4, 9])
    at, other_at = common_borders(starts, others)
    assert starts[at].tolist() == others[other_at].tolist() == [0, 3, 9]
    assert (at.tolist(), other_at.tolist()) == (
        [0, 2, 4],
        [1, 2, 4],
    )  # of several, the one that holds the byte
