"""Teacher and student share a body: each must be the model that its own folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from taught_pairs import made

from tokswap.checkpoint import open_checkpoint
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.texts import load_texts
from tokswap.healing.adapters import Adapters
from tokswap.healing.objective import Objective, Rung, rows_to_train
from tokswap.healing.pair import Pair
from tokswap.healing.snippets import Corpus, make_corpus
from tokswap.verification.subject import Subject


def opened(base: Path, moved: Path) -> Pair:
    both = open_checkpoint(moved), open_checkpoint(base)
    return Pair(*both, (open_arm(both[0]), open_arm(both[1])), device="cpu", dtype="float32")


def corpus_of(base: Path, moved: Path, text: Path) -> tuple[Corpus, np.ndarray[Any, Any]]:
    both = open_checkpoint(moved), open_checkpoint(base)
    new = Subject(*both).alignment.new_ids
    return make_corpus(load_texts([text]), open_arm(both[0]), open_arm(both[1]), new, both[0].rows), new


def by_transformers(folder: Path, start: int, ids: np.ndarray[Any, Any]) -> torch.Tensor:
    """Log-probabilities of each id after the start token, by the folder's own model and nothing of ours."""
    model = tf.AutoModelForCausalLM.from_pretrained(folder).eval()
    whole = torch.tensor([[start, *ids.tolist()]])
    with torch.no_grad():
        engine = tf.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        tokens = len(engine)  # rows behind them are padding
        found = model(whole).logits[0, :-1, :tokens].log_softmax(-1)
    return found.gather(-1, whole[0, 1:, None])[:, 0]


@pytest.mark.parametrize(
    ("kind", "tied"), [("llama", True), ("llama", False), ("gemma2", True), ("cohere", True)]
)
def test_each_is_the_model_of_its_folder(kind: str, tied: bool, tmp_path: Path) -> None:
    base, moved = made(tmp_path, kind=kind, tie_word_embeddings=tied)
    pair = opened(base, moved)
    adapters = pair.train(torch.arange(40, 60), body=pair.layers, rank=4, seed=0)
    document = "the harbour wall was built; return values[len(values) // 2]\n"
    mine, theirs = (arm.tokenize(document).ids for arm in pair.arms)
    assert mine.tolist() != theirs.tolist()

    def check() -> None:
        student = pair.read([mine[:5], mine]).log_probs[1].detach()
        teacher = pair.read_as_teacher([theirs, theirs[:3]]).log_probs[0]
        known = by_transformers(base, pair.arms[1].start_id, theirs)
        assert torch.allclose(teacher, known, atol=1e-4), "the teacher never feels what is trained"
        own = by_transformers(moved, pair.arms[0].start_id, mine)
        same = torch.allclose(student, own, atol=1e-4)
        assert same == all(not bool(p.any()) for name, p in adapters.parameters.items() if "down" not in name)

    check()
    for parameter in adapters.parameters.values():
        parameter.data.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    check()


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_the_teachers_states_are_those_of_the_bases_own_layers(kind: str, tmp_path: Path) -> None:
    base, moved = made(tmp_path, kind=kind)
    pair = opened(base, moved)
    texts = [pair.arms[1].tokenize(text).ids for text in ("the harbour wall was built", "the wall")]
    model = tf.AutoModelForCausalLM.from_pretrained(base).eval()
    for layer in range(pair.depth + 1):
        for its, found in zip(texts, pair.states_of_teacher(texts, layer), strict=True):
            whole = torch.tensor([[pair.arms[1].start_id, *its.tolist()]])
            with torch.no_grad():
                known = model(whole, output_hidden_states=True).hidden_states[layer][0, 1:]
            assert torch.allclose(found, known, atol=1e-4), layer


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_steps_are_those_of_the_merged_weights(kind: str, tmp_path: Path) -> None:
    """What the hooks add is what the tables and matrices will hold: the same logits from a model with them inside."""
    base, moved = made(tmp_path, kind=kind, tie_word_embeddings=False)
    pair = opened(base, moved)
    ids = torch.tensor([3, 40, 77, 260])
    adapters = pair.train(ids, body=pair.layers, rank=4, seed=0)
    for parameter in adapters.parameters.values():
        parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    text = np.array([40, 3, 260, 9, 77, 40])
    hooked = pair.read([text]).log_probs[0].detach()

    other = tf.AutoModelForCausalLM.from_pretrained(moved).eval()
    with torch.no_grad():
        other.get_input_embeddings().weight[ids] += adapters.row_step(output=False)
        other.get_output_embeddings().weight[ids] += adapters.row_step(output=True)
        modules = dict(other.named_modules())
        for name in adapters.body_names:
            modules[name].weight += adapters.body_step(name)
        whole = torch.tensor([[pair.arms[0].start_id, *text.tolist()]])
        logits = other(whole).logits[0, :-1]
        logits[:, pair.student.unknown_rows] = float("-inf")
    merged = logits.log_softmax(-1).gather(-1, whole[0, 1:, None])[:, 0]
    assert torch.allclose(hooked, merged, atol=1e-4)


@pytest.mark.parametrize("rung", list(Rung))
def test_gradients_reach_what_the_rung_trains_and_nothing_else(
    rung: Rung, untied: tuple[Path, Path], text: Path
) -> None:
    corpus, new = corpus_of(*untied, text)
    both = opened(*untied)
    rows = torch.from_numpy(rows_to_train(rung, corpus, new))
    body = both.layers if rung.trains_body else {}
    adapters: Adapters = both.train(rows, body=body, rank=4, seed=0)
    snippet = next(s for s in corpus.train if s.new)
    Objective(rung, both).loss([snippet]).backward()
    assert all(p.grad is None for p in both.model.parameters())
    reached = {name for name, p in adapters.parameters.items() if p.grad is not None and bool(p.grad.any())}
    # A factor that is 0 hides the other one's gradient at the first step.
    assert reached == {name for name in adapters.parameters if not name.endswith("down")}
    expected = set(np.unique(np.concatenate([s.student.ids for s in corpus.train])).tolist())
    assert set(rows.tolist()) == (expected if rung.trains_body else expected & set(new.tolist()))


def test_matching_falls_to_zero_for_a_student_that_is_the_teacher(tmp_path: Path, text: Path) -> None:
    base, _ = made(tmp_path)
    corpus, _ = corpus_of(base, base, text)
    both = opened(base, base)
    both.train(torch.arange(10), body={}, rank=4, seed=0)
    assert float(Objective(Rung.ALM, both).loss(corpus.train[:2]).detach()) == pytest.approx(0, abs=1e-4)


def test_slices_of_logits_and_less_memory_change_no_gradient(
    tied: tuple[Path, Path], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, _ = corpus_of(*tied, text)

    def gradients(small: bool) -> dict[str, torch.Tensor]:
        both = opened(*tied)
        adapters = both.train(torch.arange(20, 60), body=both.layers, rank=4, seed=0)
        for name, parameter in adapters.parameters.items():
            if name.endswith("up"):
                parameter.data.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        if small:
            both.save_memory()
            monkeypatch.setattr("tokswap.healing.pair.LOGIT_BYTES", 4 * 304 * 7)
        Objective(Rung.LM, both).loss(corpus.train[:2]).backward()
        assert not small or any(m.training for m in both.model.modules())
        return {name: p.grad for name, p in adapters.parameters.items()}

    whole, parts = gradients(False), gradients(True)
    for name, gradient in whole.items():
        assert torch.allclose(gradient, parts[name], atol=1e-6), name
