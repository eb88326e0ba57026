"""The frozen base under given rows: its own log-probabilities come back; sampling is the full softmax on average."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pairs_and_sampling import BASE, VOCAB, drawn
from tiny_models import CORPUS, checkpoint

from tokswap.checkpoint import read_embeddings
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.language_model import load_language_model
from tokswap.halfway import states_before
from tokswap.hypernet.sampling import as_vocabulary
from tokswap.hypernet.student import Student, all_columns, sampled_columns
from tokswap.methods import SideBySide

TEXT = CORPUS[0] + CORPUS[1]


def student(folder: Path, **how: Any) -> Student:
    base = checkpoint(folder, BASE, rows=320, **how)
    given, output, _ = read_embeddings(base)
    lm = load_language_model(base.folder, known_ids=VOCAB.ids, device="cpu", dtype="float32")
    return Student(lm, open_arm(base), given if output is None else SideBySide(given, output))


@pytest.mark.parametrize(
    "how", [{}, {"tie_word_embeddings": False}, {"kind": "gemma2"}], ids=["tied", "untied", "gemma2"]
)
def test_under_its_own_tokenizer_the_base_is_itself(how: dict[str, Any], tmp_path: Path) -> None:
    made = student(tmp_path / "m", **{"tie_word_embeddings": True} | how)
    vocabulary = as_vocabulary(BASE, BASE, VOCAB)
    assert not len(vocabulary.new)
    read = vocabulary.reader().tokenize(TEXT)
    width = 32 if made.tied else 64
    tables = made.tables(vocabulary, torch.zeros(0, width))
    with torch.no_grad():
        found, states = made.read(tables, all_columns(vocabulary), read.ids, layer=made.third)
        ids = torch.tensor([[made.arm.start_id, *read.ids]])
        out = made.lm.model(ids, output_hidden_states=True)
    # The columns are the start token, which is a shared token as well, and those of the tokenizer.
    known = torch.tensor([made.arm.start_id, *vocabulary.base])
    logits = out.logits[0, :-1]
    expected = logits.gather(-1, ids[0, 1:, None])[:, 0] - logits[:, known].logsumexp(-1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert states is not None
    torch.testing.assert_close(states, out.hidden_states[made.third][0, 1:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.own_states(read, made.third), states, rtol=1e-4, atol=1e-5)
    for layer, expected in enumerate(out.hidden_states):
        torch.testing.assert_close(states_before(made.lm.model, layer, ids), expected, rtol=1e-4, atol=1e-5)


def test_a_sampled_softmax_is_the_full_one_where_all_are_drawn_or_all_are_alike(tmp_path: Path) -> None:
    made, vocabulary = student(tmp_path / "m"), drawn()
    read = vocabulary.reader().tokenize(TEXT)
    same = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).repeat(len(vocabulary.new), 1)
    rows = same.clone()
    mine = np.flatnonzero(np.isin(vocabulary.new, read.ids))
    rows[mine] += torch.randn(len(mine), 64, generator=torch.Generator().manual_seed(1))

    def log_probs(columns: Any) -> torch.Tensor:
        tables = made.tables(vocabulary, rows[columns.predicted])
        return made.read(tables, columns, read.ids)[0].detach()

    full = log_probs(all_columns(vocabulary))
    for negatives in (1, 20, 10_000):
        columns = sampled_columns(vocabulary, [read], negatives, [negatives])
        assert len(columns.predicted) == len(mine) + min(negatives, len(vocabulary.new) - len(mine))
        torch.testing.assert_close(log_probs(columns), full, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_predicted_rows_and_nothing_else(tmp_path: Path) -> None:
    made, vocabulary = student(tmp_path / "m"), drawn()
    read = vocabulary.reader().tokenize(TEXT)
    columns = sampled_columns(vocabulary, [read], 5, [0])
    rows = torch.zeros(len(columns.predicted), 64, requires_grad=True)
    made.read(made.tables(vocabulary, rows), columns, read.ids)[0].sum().backward()
    assert rows.grad is not None and bool((rows.grad[:, 32:].abs().sum(1) > 0).all())
    assert all(p.grad is None for p in made.lm.model.parameters())


def test_a_head_with_a_bias_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match="bias") as caught:
        student(tmp_path / "m", kind="phi")
    assert "spell" in caught.value.hint


def test_tables_follow_the_vocabulary(tmp_path: Path) -> None:
    made, one = student(tmp_path / "m"), drawn(1)
    other = replace(one, base=one.base[::-1].copy())
    none = torch.zeros(0, 64)
    assert not torch.equal(made.tables(one, none)[0], made.tables(other, none)[0])
