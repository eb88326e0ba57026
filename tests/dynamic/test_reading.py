"""Merged tokens in a decoder and an encoder, against models whose tables really hold the merged rows."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tiny_models import CORPUS, byte_level, checkpoint

from tokswap.dynamic.encoding import encode_merged
from tokswap.dynamic.merging import Merges, Word, find_merges
from tokswap.dynamic.rows import RowCache
from tokswap.dynamic.scoring import DynamicReader, dynamic_scores
from tokswap.errors import TokswapError
from tokswap.evaluation.texts import Text
from tokswap.hypernet.config import make_config
from tokswap.hypernet.files import Hypernet, build_network

ROWS, WIDTH = 320, 32
TEXTS = [CORPUS[0] * 3 + CORPUS[1], CORPUS[1] * 2 + CORPUS[2]]


def untrained(width: int) -> Hypernet:
    """A residual network whose rows are those of its start, the mean of the pieces."""
    config = make_config(
        {
            "model_type": "tokswap_residual_hypernetwork", "n_embd": WIDTH, "hn_hidden_size": 16,
            "hn_intermediate_size": 16, "hn_num_attention_heads": 1, "hn_n_layers": 1, "hn_surface_maxlen": 4,
            "original_vocab_size": ROWS, "pad_token_id": ROWS, "hn_predict_bias": False,
            "separate_out_embeddings": width > WIDTH,
        }
    )  # fmt: skip
    return Hypernet(config, build_network(config).eval(), "untrained")


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> DynamicReader:
    base = checkpoint(tmp_path / "base", byte_level(), rows=ROWS, tie_word_embeddings=request.param)
    return DynamicReader(base, untrained(WIDTH * (2 - request.param)), device="cpu", dtype="float32")


def by_a_larger_model(
    reader: DynamicReader, texts: list[str], merges: Merges
) -> tuple[list[float], list[int]]:
    """Nats of texts by a copy of the model whose tables were extended by the mean rows of the merged tokens."""
    model: Any = copy.deepcopy(reader.student.lm.model)
    given, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight

    def more(table: torch.Tensor) -> torch.nn.Parameter:
        means = [table[list(pieces)].mean(0) for pieces in merges.spellings]
        return torch.nn.Parameter(torch.cat([table[:ROWS], *[row[None] for row in means]]))

    larger = more(given), more(head)
    model.get_input_embeddings().weight, model.get_output_embeddings().weight = larger
    known = [*reader.arm.vocab.ids.tolist(), *range(ROWS, ROWS + len(merges.pairs))]
    nats: list[float] = []
    sizes: list[int] = []
    for text in texts:
        ids = [s for word in merges.apply(reader.words(text)) for s in word]
        with torch.no_grad():
            logits = model(torch.tensor([[reader.arm.start_id, *ids]])).logits[0, :-1, :]
        log_probs = logits - logits[:, known].logsumexp(-1, keepdim=True)
        nats.append(-float(log_probs[torch.arange(len(ids)), ids].sum()))
        sizes.append(len(ids))
    return nats, sizes


@pytest.mark.parametrize("count", [0, 1, 12])
def test_scores_are_those_of_a_model_with_a_larger_table(count: int, reader: DynamicReader) -> None:
    merges = reader.merges(TEXTS, count)
    assert len(merges.pairs) == count and max(map(len, merges.spellings), default=0) <= reader.longest
    found = reader.score(TEXTS, merges)
    nats, sizes = by_a_larger_model(reader, TEXTS, merges)
    assert found.nats.tolist() == pytest.approx(nats, rel=1e-4)
    assert found.tokens.tolist() == sizes


def test_words_are_the_tokenizers_own_and_add_up_to_its_ids(reader: DynamicReader) -> None:
    for text in TEXTS:
        words = reader.words(text)
        assert [i for word in words for i in word] == reader.arm.tokenize(text).ids.tolist()
        pieces = [
            b"".join(reader.arm.vocab.bytes_of(i) for i in word).decode("utf-8", "replace") for word in words
        ]
        assert all(" " not in piece[1:] for piece in pieces if piece.strip())


def test_the_report_says_how_much_shorter_and_what_it_costs(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "base", byte_level(), rows=ROWS, tie_word_embeddings=True)
    texts = {"mine": Text("mine", tuple(TEXTS * 4))}
    own = dynamic_scores(base, untrained(WIDTH), texts, [4, 20], device="cpu", dtype="float32")
    other = dynamic_scores(
        base, untrained(WIDTH), texts, [20], learnt_from={"other": Text("other", (CORPUS[2] * 9,))}, device="cpu",
        dtype="float32",
    )  # fmt: skip
    few, many = own.sections["4"].figures, own.sections["20"].figures
    assert 0 < few["sequence_reduction"].value < many["sequence_reduction"].value < 1
    assert other.sections["20"].figures["sequence_reduction"].value < many["sequence_reduction"].value
    for level in (few, many):
        gap = level["bits_per_byte"].value - own.figures["bits_per_byte"].value
        assert level["loss"].value == pytest.approx(gap, abs=1e-9)
    assert (
        own.figures["rows_made"].value + own.figures["rows_from_cache"].value
        == (4 + 20) * own.facts["batches"]
    )
    with pytest.raises(TokswapError, match="numbers of merges"):
        dynamic_scores(base, untrained(WIDTH), texts, [0])


def test_rows_are_scaled_as_the_table_scales_its_own() -> None:
    torch.manual_seed(0)
    model: Any = transformers.Gemma3TextModel(
        transformers.Gemma3TextConfig(
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8,
        )
    ).eval()  # fmt: skip
    table = model.get_input_embeddings().weight.detach()
    cache = RowCache(lambda spellings: torch.stack([table[5] for _ in spellings]))
    merges = Merges(40, ((6, 7),), ((6, 7),))
    states, _ = encode_merged(model, [[(2,), (6, 7), (8,)]], merges, cache)
    with torch.no_grad():
        expected = model(torch.tensor([[2, 5, 8]])).last_hidden_state
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)


def test_an_encoder_reads_merged_tokens_as_one_with_a_larger_table() -> None:
    torch.manual_seed(0)
    model: Any = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
        )
    ).eval()
    batch = [[(2,), (5, 6, 7), (8, 9), (3,)], [(2,), (5, 6), (3,)]]
    merges = find_merges([word for text in batch for word in text], 2, size=40)
    table = model.get_input_embeddings().weight.detach()
    cache = RowCache(lambda spellings: torch.stack([table[list(its)].mean(0) for its in spellings]))
    states, mask = encode_merged(model, batch, merges, cache)
    larger = copy.deepcopy(model)
    rows = [table[list(pieces)].mean(0, keepdim=True) for pieces in merges.spellings]
    larger.embeddings.word_embeddings = torch.nn.Embedding.from_pretrained(torch.cat([table, *rows]))
    for text, its, seen in zip(batch, states, mask, strict=True):
        ids = torch.tensor([[symbol for word in merges.apply(text) for symbol in word]])
        with torch.no_grad():
            expected = larger(ids).last_hidden_state[0]
        assert int(seen.sum()) == ids.shape[1] < sum(map(len, text))
        torch.testing.assert_close(its[: ids.shape[1]], expected, rtol=1e-4, atol=1e-5)
    plain, _ = encode_merged(model, batch[:1], Merges(40, (), ()), cache)
    with torch.no_grad():
        torch.testing.assert_close(plain, model(torch.tensor([[2, 5, 6, 7, 8, 9, 3]])).last_hidden_state)


def test_a_cache_makes_each_row_once_and_drops_the_oldest() -> None:
    asked: list[Word] = []

    def make(spellings: Any) -> torch.Tensor:
        asked.extend(spellings)
        return torch.tensor([[float(sum(word)), float(len(word))] for word in spellings])

    cache = RowCache(make, capacity=2)
    assert cache.rows([(1, 2), (3,), (1, 2)]).tolist() == [[3.0, 2.0], [3.0, 1.0], [3.0, 2.0]]
    assert asked == [(1, 2), (3,)] and (cache.made, cache.found) == (2, 1)
    assert cache.rows([(4, 5), (1, 2)]).tolist() == [[9.0, 2.0], [3.0, 2.0]]
    cache.rows([(1, 2)])
    assert asked == [(1, 2), (3,), (4, 5)], "(1, 2) was used last, so it stayed"
    cache.rows([(3,)])
    assert asked[-1] == (3,), "(3,) was dropped"
