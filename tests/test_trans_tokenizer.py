"""Trans-tokenization: the alignment against a slow transcription of IBM model 1, and the rows against a loop."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_tasks import make_task
from test_pipeline import llama, moved, saved, table_of, with_tokenizer
from tokenizer_families import CORPUS, byte_level, sentencepiece

import tokswap
from tokswap import cooccurrence
from tokswap.cooccurrence import NO_TOKEN, translation_table
from tokswap.errors import TokswapError
from tokswap.methods import get_method

LINES = st.lists(st.tuples(st.lists(st.integers(0, 5), max_size=6), st.lists(st.integers(0, 4), max_size=6)),
                 min_size=1, max_size=8)  # fmt: skip
Chances = dict[tuple[int, int], float]


def model_one(base: list[list[int]], new: list[list[int]], rounds: int) -> tuple[Chances, list[float]]:
    """IBM model 1 token by token, and the log-likelihood before each round."""
    sides = [(b, [NO_TOKEN, *n]) for b, n in zip(base, new, strict=True)]
    chance: Chances = {(t, b): 1.0 for bs, ts in sides for b in bs for t in ts}
    likelihoods = []
    for _ in range(rounds):
        counts: Chances = dict.fromkeys(chance, 0.0)
        likelihoods.append(
            sum(math.log(sum(chance[t, b] for t in ts) / len(ts)) for bs, ts in sides for b in bs)
        )
        for bs, ts in sides:
            for b in bs:
                total = sum(chance[t, b] for t in ts)
                for t in ts:
                    counts[t, b] += chance[t, b] / total
        owners: dict[int, float] = {}
        for (t, _), count in counts.items():
            owners[t] = owners.get(t, 0.0) + count
        chance = {(t, b): count / owners[t] for (t, b), count in counts.items()}
    return chance, likelihoods


@settings(deadline=None, max_examples=60)
@given(LINES, st.integers(1, 6))
def test_the_table_is_that_of_ibm_model_one(lines: list[tuple[list[int], list[int]]], rounds: int) -> None:
    base, new = [b for b, _ in lines], [n for _, n in lines]
    if not any(base):
        with pytest.raises(TokswapError, match="pairs no tokens"):
            translation_table(base, new, rounds)
        return
    expected, likelihoods = model_one(base, new, rounds)
    found = translation_table(base, new, rounds)
    table = {(int(t), int(b)): float(p) for t, b, p in zip(*found, strict=True)}
    assert table == pytest.approx(
        {k: p for k, p in expected.items() if k[0] != NO_TOKEN}, rel=1e-6, abs=1e-12
    )
    assert all(b >= a - 1e-9 for a, b in pairwise(likelihoods[1:]))


def test_a_cipher_is_read() -> None:
    random = np.random.default_rng(0)
    base = [random.choice(40, size=8, replace=False).tolist() for _ in range(400)]
    new = [random.permutation([b * 3 + 1 for b in line]).tolist() for line in base]
    found = {(t, b): p for t, b, p in zip(*translation_table(base, new, 20), strict=True)}
    assert min(found[b * 3 + 1, b] for b in range(40)) > 0.95


def test_too_much_text_and_lines_that_are_too_long_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    long = list(range(cooccurrence.LONGEST_LINE + 1))
    found = translation_table([long, [1]], [[5], [6]])
    assert found[0].tolist() == [6] and found[1].tolist() == [1]
    monkeypatch.setattr(cooccurrence, "MOST_PAIRS", 10)
    with pytest.raises(TokswapError, match="more than 10 tokens"):
        translation_table([[1, 2, 3, 4]], [[5, 6, 7]])


@pytest.mark.parametrize("floor", [0.0, 0.05, 0.6, 0.99])
def test_rows_are_means_by_probability(floor: float) -> None:
    task = make_task(seed=11)
    assert task.links is not None
    rows, spelt = get_method("trans-tokenizer")(task, floor=floor), get_method("subword")(task)
    usable = set(task.usable.tolist())
    for at, target in enumerate(task.targets.tolist()):
        parts = [
            (float(w), int(b))
            for t, b, w in zip(task.links.new, task.links.base, task.links.weights, strict=True)
            if int(t) == target and float(w) >= floor and int(b) in usable
        ]
        expected = spelt[at]
        if parts:
            mean = sum(w * task.base[b].double() for w, b in parts) / sum(w for w, _ in parts)
            expected = torch.as_tensor(mean).float()
        torch.testing.assert_close(rows[at], expected, rtol=1e-4, atol=1e-5)


def test_without_parallel_text_it_is_refused() -> None:
    with pytest.raises(TokswapError, match="trans-tokenizer") as caught:
        get_method("trans-tokenizer")(replace(make_task(), links=None))
    assert "--parallel-text" in caught.value.hint
    with pytest.raises(TokswapError, match="floor"):
        get_method("trans-tokenizer")(make_task(), floor=1.0)


def test_a_transplant_learns_from_two_files(tmp_path: Path) -> None:
    base = saved(llama(rows=402), tmp_path / "base", byte_level(400))
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    lines = [line for text in CORPUS for line in text.splitlines() if line.strip()] * 3
    for file in files:
        file.write_text("\n".join(lines) + "\n")
    how = {"method": "trans-tokenizer", "parallel_texts": [str(f) for f in files]}
    out = moved(base, donor, tmp_path / "out", **how)
    plain = moved(base, donor, tmp_path / "plain")
    assert not torch.equal(table_of(out, "embed_tokens.weight"), table_of(plain, "embed_tokens.weight"))
    assert "- b.txt" in (out / "recipe.yaml").read_text()
    again = moved(base, donor, tmp_path / "again", **how)
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_parallel_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    base = saved(llama(rows=402), tmp_path / "base", byte_level(400))
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("a\nb\n")
    two.write_text("a\nb\nc\n")
    for files, what in (([one, two], "2 lines and .* has 3"), ([one], "two files"), ([], "needs parallel")):
        with pytest.raises(TokswapError, match=what):
            tokswap.transplant(
                base, donor, dry_run=True, method="trans-tokenizer", parallel_texts=[str(f) for f in files]
            )
    plan = tokswap.transplant(
        base, donor, dry_run=True, method="subword", parallel_texts=[str(one), str(one)]
    )
    assert any("parallel_texts have no effect" in warning for warning in plan.warnings)
