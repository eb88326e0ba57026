from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import CORPUS, byte_level, checkpoint, tiny_model

from tokswap.evaluation.arm import Arm, document_windows, open_arm
from tokswap.evaluation.language_model import LanguageModel, wrap_model
from tokswap.evaluation.score import Scored, score_documents
from tokswap.evaluation.spans import Window

TEXT = "".join(CORPUS[:3])
NEW_IDS = np.arange(257, 290, dtype=np.int64)


def oracle(
    model: Any, start_id: int, ids: list[int], windows: list[Window], known: list[int]
) -> list[tuple[float, float, int]]:
    """(loss, mass on new ids, likeliest id) by one plain forward a token, over the known ids only."""
    out: list[tuple[float, float, int]] = []
    for window in windows:
        for at in range(window.start, window.stop):
            read = torch.tensor([[start_id, *ids[window.first : at]]])
            with torch.no_grad():
                values = model(input_ids=read).logits[0, -1].double()
            allowed = torch.full_like(values, -math.inf)
            allowed[known] = values[known]
            chances = torch.log_softmax(allowed, dim=-1)
            mass = float(chances.exp()[torch.from_numpy(NEW_IDS)].sum())
            out.append((-float(chances[ids[at]]), mass, int(allowed.argmax())))
    return out


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Arm:
    folder: Path = tmp_path_factory.mktemp("model")
    return open_arm(checkpoint(folder, byte_level(), rows=304))


def score(arm: Arm, lm: LanguageModel, documents: list[str], **how: Any) -> list[Scored]:
    tokenized = [arm.tokenize(document) for document in documents]
    windows = [document_windows(document, 64, 32) for document in tokenized]
    return score_documents(lm, tokenized, windows, start_id=arm.start_id, new_ids=NEW_IDS, **how)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "phi"])
def test_agrees_with_one_plain_forward_a_token(arm: Arm, kind: str) -> None:
    model = tiny_model(kind, rows=304)
    lm = wrap_model(model, known_ids=arm.vocab.ids)
    assert len(lm.unknown_rows) == 304 - len(arm.vocab)
    (found,) = score(arm, lm, [TEXT])
    ids = arm.tokenize(TEXT)
    true = oracle(
        model, arm.start_id, ids.ids.tolist(), document_windows(ids, 64, 32), arm.vocab.ids.tolist()
    )
    nll, mass, likeliest = map(np.array, zip(*true, strict=True))
    np.testing.assert_allclose(found.nll, nll, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.new_mass, mass, rtol=1e-4, atol=1e-6)
    assert (found.top == (likeliest == ids.ids)).all()
    assert (found.greedy_new == np.isin(likeliest, NEW_IDS)).all()
    assert (found.is_new == np.isin(ids.ids, NEW_IDS)).all() and found.is_new.any()


def test_the_batch_size_does_not_matter(arm: Arm) -> None:
    lm = wrap_model(tiny_model(rows=304), known_ids=arm.vocab.ids)
    documents = [TEXT, "x", CORPUS[1], "水路" * 30]
    one, many = (score(arm, lm, documents, most_windows=n) for n in (1, None))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a.nll, b.nll, rtol=1e-5, atol=1e-5)


def test_slices_of_the_logits_do_not_matter(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokswap.evaluation import language_model

    lm = wrap_model(tiny_model(rows=304), known_ids=arm.vocab.ids)
    (whole,) = score(arm, lm, [TEXT])
    slices = language_model.logit_slices
    monkeypatch.setattr(language_model, "logit_slices", lambda lm, s: slices(lm, s, most_bytes=4 * 304 * 3))
    (sliced,) = score(arm, lm, [TEXT])
    np.testing.assert_allclose(whole.nll, sliced.nll, rtol=1e-5, atol=1e-5)


def test_documents_do_not_see_each_other(arm: Arm) -> None:
    lm = wrap_model(tiny_model(rows=304), known_ids=arm.vocab.ids)
    both = score(arm, lm, [CORPUS[0], CORPUS[1]])
    (alone,) = score(arm, lm, [CORPUS[1]])
    np.testing.assert_allclose(both[1].nll, alone.nll, rtol=1e-5)


def test_progress_ends_at_the_total(arm: Arm) -> None:
    said: list[tuple[int, int]] = []
    lm = wrap_model(tiny_model(rows=304))
    score(arm, lm, [TEXT], most_windows=2, on_windows=lambda done, total: said.append((done, total)))
    assert said[-1][0] == said[-1][1] and [done for done, _ in said] == sorted({done for done, _ in said})


def test_bytes_carry_all_the_loss(arm: Arm) -> None:
    (found,) = score(arm, wrap_model(tiny_model(rows=304)), [TEXT])
    assert found.byte_nll.shape == (len(TEXT.encode()),)
    assert found.byte_nll.sum() == pytest.approx(found.nll.sum())
