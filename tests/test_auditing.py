"""The audit finds what was planted: untrained rows, rows that always win, and the published attack on OMP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_verification import put_row

import tokswap
from tokswap.align import align
from tokswap.auditing.evidence import Evidence
from tokswap.auditing.suspects import find_suspects
from tokswap.auditing.undertrained import undertrained
from tokswap.checkpoint import open_checkpoint
from tokswap.vocab import vocab_of

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, checkpoint, sentencepiece

TABLE = "model.embed_tokens.weight"
TEXT = "The harbour wall was built by the people who needed the wall.\n" * 30


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    (tmp_path / "prose.txt").write_text(TEXT)
    return tmp_path / "prose.txt"


def test_rows_that_nothing_trained_are_found_by_where_they_lie() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(2000, 64, generator=generator) + 0.5
    idle = 4 * torch.randn(64, generator=generator)
    reference, planted = np.arange(0, 20), np.arange(500, 512)
    for ids in (reference, planted):
        rows[torch.from_numpy(ids)] = idle + 0.3 * torch.randn(len(ids), 64, generator=generator)
    among = np.arange(20, 2000)
    found = set(undertrained(rows, reference, among).tolist())
    assert (
        found <= set(planted.tolist()) and len(found) >= 9
    )  # nine in ten of what is known pass by definition
    ordinary = np.arange(1000, 1020)  # rows like all others say nothing of untrained ones
    assert not len(undertrained(rows, ordinary, among))
    assert not len(undertrained(rows, reference[:3], among))


def test_each_reason_is_found_alone() -> None:
    count = 400
    generator = np.random.default_rng(0)
    norms = 1 + 0.05 * generator.standard_normal(count)
    logits = generator.standard_normal(count)
    wins, right = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    norms[300], logits[310], wins[320] = 30, 40, 50
    wins[330], right[330] = 50, 40  # frequent, and right
    norms[340] = 1.8  # unlike the others', and no more than an honest row may be
    found = find_suspects(np.arange(300, 400), np.arange(300), norms, Evidence(logits, wins, right, 1000))
    reasons = {s.token_id: s.reasons for s in found}
    assert reasons.keys() == {300, 310, 320}
    assert [len(r) for r in reasons.values()] == [1, 1, 1]
    assert not find_suspects(np.arange(340, 400), np.arange(300), norms, None)


def test_a_model_without_a_fault_is_not_accused(tmp_path: Path, prose: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level()).folder
    donor = checkpoint(tmp_path / "donor", sentencepiece(), seed=1).folder
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False}
    tokswap.transplant(base, donor, out=tmp_path / "out", **how)
    report = tokswap.audit(tmp_path / "out", against=base, texts=[prose])
    assert report.facts["sound"] is True, report.facts["suspects"]
    assert report.figures["states"].value > 100


def test_a_token_that_always_wins_is_named(tmp_path: Path, prose: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level(), tie_word_embeddings=False).folder
    donor = checkpoint(tmp_path / "donor", sentencepiece(), seed=1).folder
    how: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False}
    tokswap.transplant(base, donor, out=tmp_path / "out", **how)
    evil = align(vocab_of(open_checkpoint(base)), vocab_of(open_checkpoint(tmp_path / "out"))).new_ids[0]
    from tokswap.evaluation.language_model import final_states, load_language_model

    lm = load_language_model(tmp_path / "out")
    towards = final_states(lm, torch.arange(40)[None])[0].float().mean(0)
    put_row(tmp_path / "out", "lm_head.weight", int(evil), 30 * towards / towards.norm())
    report = tokswap.audit(tmp_path / "out", against=base, texts=[prose])
    (suspect, *_) = report.facts["suspects"]
    assert suspect["id"] == evil and "it wins where it is wrong" in suspect["reasons"]


def test_the_published_attack_on_omp_is_seen_in_the_rows(tmp_path: Path, prose: Path) -> None:
    """arXiv 2601.00065: a donor row that is inert there, and that OMP rebuilds as a multiple of one shared token.

    The donor gives a shared token a short row in a direction that no other row has, and the breaker token the same
    direction at common length. In the donor nothing is odd about it: no state has that direction.
    """
    base = checkpoint(tmp_path / "base", byte_level(), tie_word_embeddings=True).folder
    donor = checkpoint(tmp_path / "donor", sentencepiece(), seed=1, tie_word_embeddings=True).folder
    found = align(vocab_of(open_checkpoint(base)), vocab_of(open_checkpoint(donor)))
    carrier, breaker = int(found.anchor_ids[7]), int(found.new_ids[0])
    state = load_file(donor / "model.safetensors")
    table = state[TABLE]
    length = table.norm(dim=1).median()
    secret = torch.zeros(table.shape[1])
    secret[5] = 1
    table[:, 5] = 0
    table[carrier], table[breaker] = 0.05 * length * secret, length * secret
    save_file(state, donor / "model.safetensors", metadata={"format": "pt"})
    how: dict[str, Any] = {"method": "omp", "parameters": {"k": 4}, "calibrate": "none", "evaluate": False}
    tokswap.transplant(base, donor, out=tmp_path / "out", **how)
    report = tokswap.audit(tmp_path / "out", against=base, donor=donor, texts=[prose])
    suspects = {s["id"]: s for s in report.facts["suspects"]}
    assert suspects[breaker]["norm"] > 10 and "its norm is unlike the others'" in suspects[breaker]["reasons"]
    assert not report.facts["sound"]
    assert breaker not in {s["id"] for s in tokswap.audit(donor, texts=[prose]).facts["suspects"]}


def test_the_published_attack_by_shared_coefficients_is_found(tmp_path: Path, prose: Path) -> None:
    """arXiv 2601.00065: the breaker is a sum of shared tokens that means nothing in the donor's space.

    OMP finds the coefficients again and adds up the base's rows with them, which the attacker chose to point where the
    base's states point. Only the breaker's own row was changed, to one of ordinary length: the donor is as it was.
    """
    size: dict[str, Any] = {"tie_word_embeddings": True, "hidden_size": 128}
    base = checkpoint(tmp_path / "base", byte_level(), **size).folder
    donor = checkpoint(tmp_path / "donor", sentencepiece(), seed=1, **size).folder
    found = align(vocab_of(open_checkpoint(base)), vocab_of(open_checkpoint(donor)))
    from tokswap.evaluation.language_model import final_states, load_language_model

    towards = final_states(load_language_model(base), torch.arange(260)[None])[0].float().mean(0)
    rows, state = load_file(base / "model.safetensors")[TABLE], load_file(donor / "model.safetensors")
    old, new = rows[found.source[found.anchor_ids]], state[TABLE][found.anchor_ids]
    chosen = (old @ towards).abs().topk(8).indices
    signs = torch.sign(old[chosen] @ towards)[:, None]
    planted = (signs * new[chosen]).sum(0)
    length = state[TABLE].norm(dim=1).median() / planted.norm()
    breaker = int(found.new_ids[0])
    state[TABLE][breaker] = length * planted
    save_file(state, donor / "model.safetensors", metadata={"format": "pt"})
    how: dict[str, Any] = {"method": "omp", "parameters": {"k": 8}, "calibrate": "none", "evaluate": False}
    tokswap.transplant(base, donor, out=tmp_path / "out", **how)
    written = load_file(tmp_path / "out" / "model.safetensors")[TABLE]
    torch.testing.assert_close(written[breaker], length * (signs * old[chosen]).sum(0), rtol=1e-4, atol=1e-4)
    report = tokswap.audit(tmp_path / "out", against=base, donor=donor, texts=[prose])
    (suspect,) = report.facts["suspects"]
    assert suspect["id"] == breaker and suspect["reasons"] == ["it wins where it is wrong"]
    assert suspect["norm"] < 1.5  # its length gives nothing away
    in_the_donor = {s["id"] for s in tokswap.audit(donor, texts=[prose]).facts["suspects"]}
    assert breaker not in in_the_donor  # nor does the donor
