"""A softmax over some rows is the one over all rows where it takes all, and on average where it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as tf
from taught_pairs import made
from test_pair import corpus_of, opened

from tokswap.errors import TokswapError
from tokswap.healing.candidates import JUDGED, Candidates, make_candidates
from tokswap.healing.objective import Objective, Rung, rows_to_train
from tokswap.healing.pair import Pair
from tokswap.healing.settings import make_settings
from tokswap.healing.snippets import Corpus


def trained(pair: Pair, corpus: Corpus, new: np.ndarray) -> Pair:
    ids = torch.from_numpy(rows_to_train(Rung.LM, corpus, new))
    adapters = pair.train(ids, body=pair.layers, rank=4, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in adapters.parameters.values():
        parameter.data.normal_(std=0.1, generator=generator)
    return pair


def own_and_others(pair: Pair, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    own = np.unique(np.concatenate([s.student.ids for s in corpus.train]))
    unknown = pair.student.unknown_rows.numpy()
    return own, np.setdiff1d(np.arange(pair.student.rows), np.concatenate([own, unknown]))


@pytest.mark.parametrize(("kind", "tied"), [("llama", False), ("gemma2", True), ("cohere", True)])
def test_all_rows_in_any_order_give_the_loss_and_gradients_of_the_whole(
    kind: str, tied: bool, tmp_path: Path, text: Path
) -> None:
    folders = made(tmp_path, kind=kind, tie_word_embeddings=tied)
    corpus, new = corpus_of(*folders, text)
    pair = trained(opened(*folders), corpus, new)
    own, others = own_and_others(pair, corpus)
    draw = Candidates(own, others, len(others), seed=0).draw(3)
    found = []
    for its in (None, draw):
        loss = Objective(Rung.LM, pair).loss(corpus.train[:1], its)
        parameters = pair.adapters.parameters if pair.adapters else {}
        found.append((loss.detach(), torch.autograd.grad(loss, list(parameters.values()))))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    for name, whole, part in zip(parameters, found[0][1], found[1][1], strict=True):
        assert torch.allclose(whole, part, atol=1e-5), name
    whole_again = Objective(Rung.LM, pair).loss(corpus.train[:1]).detach()
    assert torch.equal(whole_again, found[0][0]), "the output layer has all its rows again"


def test_the_sum_over_drawn_rows_is_that_of_all_rows_on_average(tied: tuple[Path, Path], text: Path) -> None:
    corpus, new = corpus_of(*tied, text)
    pair = trained(opened(*tied), corpus, new)
    own, others = own_and_others(pair, corpus)
    candidates = Candidates(own, others, 20, seed=0)
    ids = [corpus.train[0].student.ids[:30]]

    def share(step: int) -> torch.Tensor:
        """The estimated sum over the true one, at each place."""
        return (whole - pair.read(ids, draw=candidates.draw(step)).log_probs[0].detach()).exp()

    with torch.no_grad():
        whole = pair.read(ids).log_probs[0]
    shares = torch.stack([share(step) for step in range(200)])
    assert float(shares.std(0).max()) > 0.01, "a draw is an estimate"
    error = shares.std(0) / len(shares) ** 0.5
    assert float(((shares.mean(0) - 1).abs() / error).max()) < 4


def test_every_step_takes_the_texts_tokens_and_the_likeliest_and_draws_the_rest_anew(
    tied: tuple[Path, Path], text: Path
) -> None:
    corpus, new = corpus_of(*tied, text)
    pair = trained(opened(*tied), corpus, new)
    own, others = own_and_others(pair, corpus)
    settings = make_settings("lm", budget=None, steps=1, candidates=16)
    made_ = make_candidates(pair, settings, corpus.train, corpus.held_out)
    assert made_ is not None and made_.drawn == 4 and len(made_.exact) == len(own) + 12
    assert np.isin(own, made_.exact).all()
    assert np.array_equal(np.union1d(made_.exact, made_.others), np.union1d(own, others))
    draw, other = made_.draw(5), made_.draw(6)
    assert torch.equal(draw.rows, made_.draw(5).rows) and not torch.equal(draw.rows, other.rows)
    assert len(set(draw.rows.tolist())) == len(draw.rows)
    targets = torch.from_numpy(own)
    assert torch.equal(draw.rows[draw.places(targets)], targets)

    model = tf.AutoModelForCausalLM.from_pretrained(tied[1]).eval()
    start = pair.arms[0].start_id
    judged = corpus.held_out[:: max(1, len(corpus.held_out) // JUDGED)]
    read = [torch.tensor([[start, *s.student.ids[:-1].tolist()]]) for s in judged]
    with torch.no_grad():
        logits = torch.cat([model(ids).logits[0] for ids in read])
    mass = logits.index_fill(-1, pair.student.unknown_rows, float("-inf")).softmax(-1).mean(0).numpy()
    likely = others[np.argsort(-mass[others])[:12]]
    assert set(made_.exact.tolist()) == {*own.tolist(), *likely.tolist()}
    for wide in (0, pair.student.rows):
        settings = make_settings("lm", budget=None, steps=1, candidates=wide)
        assert make_candidates(pair, settings, corpus.train, corpus.held_out) is None


@pytest.mark.parametrize("candidates", [-1, 1, 3, 5.5])
def test_a_number_of_candidates_that_cannot_be_is_refused(candidates: float) -> None:
    with pytest.raises(TokswapError, match="the candidates are"):
        make_settings("lm", budget=None, steps=1, candidates=candidates)
