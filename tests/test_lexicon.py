"""The inner lexicon, held against scikit-learn's Ridge and a plain reading of every word in pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from calibrated_plans import TEXT, tiny_plan
from sklearn.linear_model import Ridge

from tokswap import inner_states, reading_lexicon
from tokswap.evaluation.language_model import load_language_model
from tokswap.evaluation.texts import Text
from tokswap.initialise import Embeddings
from tokswap.inner_states import InnerReading, read_inside
from tokswap.judging import ONE_IN, RUN_BYTES, Judged
from tokswap.lexicon import RIDGES, fit_lexicon
from tokswap.pieces import spell
from tokswap.tokenization import load_tokenizer


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_plan(tmp_path_factory.mktemp("lexicon"))


def test_the_map_is_ridge_regression_on_the_layer_that_knows_most() -> None:
    g = torch.Generator().manual_seed(0)
    states = torch.randn(3, 300, 12, generator=g) + 1
    truth = torch.randn(12, 5, generator=g)
    misses = states[1] @ truth + 0.1 * torch.randn(300, 5, generator=g)
    found = fit_lexicon(states, misses)
    assert found.layer == 1 and found.ridge in RIDGES and found.error < 0.2
    centred = states[1].double() - states[1].double().mean(0)
    penalty = found.ridge * float((centred.T @ centred).diagonal().mean())
    plain = Ridge(alpha=penalty).fit(centred.numpy(), misses.double().numpy())
    torch.testing.assert_close(
        found(states[1]).double(), torch.from_numpy(plain.predict(centred.numpy())), atol=1e-4, rtol=1e-4
    )


def test_states_that_say_nothing_leave_what_is_missed_on_average() -> None:
    g = torch.Generator().manual_seed(0)
    found = fit_lexicon(torch.randn(2, 400, 40, generator=g), torch.randn(400, 5, generator=g) + 3)
    assert float((found(torch.randn(50, 40, generator=g)) - 3).norm(dim=1).mean()) < 0.7  # of some 2.2


def test_states_inside_are_those_of_the_words_in_pieces(plan: Any) -> None:
    lm = load_language_model(plan.base.folder, known_ids=plan.base_vocab.ids, dtype="float32")
    reading = read_inside(plan, lm, [Text("a", (TEXT,))], plan.tokenizer.tokenizer)
    new, source, table = plan.new_vocab, plan.alignment.source, plan.base.read(plan.base.input_name).float()
    ids = load_tokenizer(plan.tokenizer.tokenizer).encode(TEXT, add_special_tokens=False).ids
    used = sorted(set(ids))
    split = [i for i in used if source[i] >= 0 and len(new.bytes_of(i)) > 1][:: inner_states.SPLIT_ONE_IN]
    gone = {int(source[i]) for i in split}
    pieces: dict[int, list[int]] = {}
    for i in used:
        without = gone if i in split else set()
        spelt = spell(plan.base.tokenizer, plan.base_vocab, [new.bytes_of(i)], without).ids.tolist()
        pieces[i] = spelt if i in split or source[i] < 0 else [int(source[i])]
        assert not gone & set(spelt) or i not in split
    flat = [plan.base_vocab.start_id, *(p for i in ids for p in pieces[i])]
    with torch.no_grad():
        layers = lm.model(torch.tensor([flat]), output_hidden_states=True).hidden_states
    ends = np.cumsum([len(pieces[i]) for i in ids])  # the start token is first: the state at the last piece
    begin = np.cumsum([0, *(len(new.bytes_of(i)) for i in ids)])[:-1]
    seen = (begin // RUN_BYTES) % ONE_IN != ONE_IN - 1

    def state(token: int) -> torch.Tensor:
        places = [int(end) for i, end, there in zip(ids, ends, seen, strict=True) if i == token and there]
        return torch.stack([layers[layer][0, places].mean(0) for layer in inner_states.inner_layers(lm)])

    met = {i for i, there in zip(ids, seen, strict=True) if there}
    known = [i for i in split if i in met and len(pieces[i]) > 1]
    fresh = [i for i in used if i in set(plan.alignment.new_ids.tolist()) and i in met]
    assert reading.ids.tolist() == fresh and len(known) == reading.known.shape[1] > 5
    torch.testing.assert_close(reading.known, torch.stack([state(i) for i in known], 1), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(reading.new, torch.stack([state(i) for i in fresh], 1), atol=1e-4, rtol=1e-3)
    means = torch.stack([table[pieces[i]].mean(0) for i in fresh])
    torch.testing.assert_close(reading.means, means)
    misses = torch.stack([table[int(source[i])] - table[pieces[i]].mean(0) for i in known])
    torch.testing.assert_close(reading.misses, misses)


def test_shares_of_a_row_are_the_lexicons(monkeypatch: pytest.MonkeyPatch) -> None:
    """All proposals are looked at: from the method's row to the lexicon's, and only rows of the text's new tokens."""
    g = torch.Generator().manual_seed(0)
    known = torch.randn(1, 60, 4, generator=g)
    reading = InnerReading(
        known,
        torch.randn(60, 4, generator=g),
        known[:, :3],
        torch.randn(3, 4, generator=g),
        torch.tensor([2, 5, 7]),
    )
    made = Embeddings(torch.randn(10, 4, generator=g), torch.randn(10, 4, generator=g))
    seen: list[tuple[float, Embeddings]] = []

    def all_of_them(_judge: Any, rows: Embeddings, proposals: Any, *_: Any) -> Judged:
        seen.extend(proposals(None))
        return Judged(rows, "")

    monkeypatch.setattr(reading_lexicon, "best_of", all_of_them)
    judge: Any = None
    reading_lexicon.read_lexicon(judge, made, made, reading, lambda its: its)
    lexicon = fit_lexicon(reading.known, reading.misses)
    rows = reading.means + lexicon(reading.new[lexicon.layer])
    for share, its in seen:
        torch.testing.assert_close(
            its.input[reading.ids], (1 - share) * made.input[reading.ids] + share * rows
        )
        others = [i for i in range(10) if i not in reading.ids.tolist()]
        assert torch.equal(its.input[others], made.input[others]) and its.output is made.output
    assert [share for share, _ in seen] == sorted(reading_lexicon.SHARES) and seen[-1][0] == 1.0


def test_too_few_known_words_make_no_lexicon() -> None:
    few = InnerReading(
        *(torch.zeros(1, 3, 4), torch.zeros(3, 4), torch.zeros(1, 2, 4), torch.zeros(2, 4)), torch.arange(2)
    )
    made = Embeddings(torch.zeros(5, 4))
    judge: Any = None
    found = reading_lexicon.read_lexicon(judge, made, made, few, lambda its: its)
    assert found.rows is made and not found.kept and "3 known tokens" in found.reason
