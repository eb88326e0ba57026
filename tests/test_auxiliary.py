"""Auxiliary spaces: the vectors against plain computations, and what methods make of them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import save_file
from test_initialise import ALIGNMENT, BASE, FRESH, base_rows, spelling
from test_pipeline import llama, moved, saved, table_of, with_tokenizer
from tokenizer_families import byte_level, sentencepiece, wordpiece
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cosine_similarity

import tokswap
from tokswap.auxiliary import auxiliary_vectors
from tokswap.auxiliary.cost import auxiliary_cost
from tokswap.auxiliary.ngrams import DIMENSIONS, ngram_vectors
from tokswap.errors import TokswapError
from tokswap.initialise import Initialised, initialise
from tokswap.methods import get_method

WORDS = [b" walk", b" walked", b" walking", b"walk", b" stroll", b"\xe6\xb0", b"\xff\xfe", b"    "]


def encoder(folder: Path) -> Path:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    tokenizer = wordpiece()
    size = max(tokenizer["model"]["vocab"].values()) + 1
    tf.BertModel(tf.BertConfig(vocab_size=size, **shape)).eval().save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[CLS]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def table(folder: Path, rows: int = 400) -> Path:
    folder.mkdir()
    vectors = torch.randn(rows, 12, generator=torch.Generator().manual_seed(1))
    save_file({"embeddings": vectors.half(), "weights": torch.ones(rows)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(json.dumps(byte_level(400)))
    return folder


def test_spellings_that_share_rare_parts_are_alike() -> None:
    vectors = auxiliary_vectors("ngrams", WORDS)
    alike = cosine_similarity(vectors[1:2], vectors, dim=1)
    assert alike[0] > alike[2] > alike[3] > alike[4] and alike[4] < 0.2
    assert bool((vectors.norm(dim=1) > 0).all())  # parts of characters are spelt too


def test_equal_tokens_have_equal_vectors_and_empty_ones_none() -> None:
    vectors = auxiliary_vectors("ngrams", [b"ab", b"", b"abc", b"ab"])
    assert torch.equal(vectors[0], vectors[3]) and not vectors[1].any()
    assert not auxiliary_vectors("ngrams", [b"", b""]).any()


def test_few_features_are_kept_as_they_are_and_many_are_reduced_to_the_best_plane() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    g = torch.Generator().manual_seed(0)
    tokens = list({bytes(torch.randint(97, 105, (6,), generator=g).tolist()) for _ in range(400)})
    texts = [f"\u0100{t.decode()}\u0101" for t in tokens]
    exact = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), lowercase=False, sublinear_tf=True)
    full = torch.from_numpy(exact.fit_transform(texts).toarray())
    singular = torch.linalg.svdvals(full)
    vectors = ngram_vectors(tokens, seed=3).double()
    assert vectors.shape == (len(tokens), DIMENSIONS)
    # The best that any plane of that dimension can hold, to within what the randomised method loses.
    assert float(vectors.square().sum()) > 0.97 * float(singular[:DIMENSIONS].square().sum())
    assert torch.equal(ngram_vectors(tokens, seed=3).double(), vectors)
    few = ngram_vectors(tokens[:20])
    torch.testing.assert_close(few.norm(dim=1), torch.ones(20))


def test_an_encoders_vectors_are_means_over_each_text_alone(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "encoder")
    tokens = [b" harbour", b"people", b"\xff", b"  ", b" the harbour wall and the people", b"people"]
    vectors = auxiliary_vectors(str(folder), tokens)
    model = tf.AutoModel.from_pretrained(folder).eval()
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    for token, vector in zip(tokens, vectors, strict=True):
        if token in (b"\xff", b"  "):
            assert not vector.any()
            continue
        with torch.inference_mode():
            states = model(**tokenizer(token.decode().strip(), return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(vector, states[0].mean(0), rtol=1e-4, atol=1e-5)


def test_a_tables_vectors_are_means_over_each_texts_tokens(tmp_path: Path) -> None:
    folder = table(tmp_path / "table")
    vectors = auxiliary_vectors(str(folder), [b" harbour", b"\xff", b"the wall"])
    engine = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = _rows(folder)
    assert not vectors[1].any()
    for text, vector in (("harbour", vectors[0]), ("the wall", vectors[2])):
        torch.testing.assert_close(vector, rows[engine.encode(text).ids].mean(0))


def _rows(folder: Path) -> Tensor:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")["embeddings"].float()


def test_a_plans_bounds_hold(tmp_path: Path) -> None:
    """Spellings: the peak of what Python and numpy allocate; a table and an encoder: their numbers in fp32."""
    g = torch.Generator().manual_seed(0)
    tokens = [bytes(torch.randint(97, 123, (8,), generator=g).tolist()) for _ in range(6000)]
    tokens += [b"", *tokens[:50]]
    ngram_vectors(tokens[:300])  # what importing takes is no part of it
    tracemalloc.start()
    auxiliary_vectors("ngrams", tokens)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < auxiliary_cost("ngrams", tokens).memory < 3 * peak
    folder = table(tmp_path / "table")
    found = auxiliary_cost(str(folder), tokens)
    assert found.width == 12 and found.memory == 4 * 12 * (400 + 3 * len(tokens)) and found.operations == 0
    bert = encoder(tmp_path / "encoder")
    numbers = sum(p.numel() for p in tf.AutoModel.from_pretrained(bert).parameters())
    found = auxiliary_cost(str(bert), tokens)
    assert found.width == 16 and found.memory == 4 * (numbers + 3 * 16 * len(tokens))
    assert found.operations > auxiliary_cost(str(bert), tokens[:3000]).operations > 0


def test_a_dry_run_counts_the_auxiliary_space(tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level(300))
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    spaces = {"ngrams": "ngrams", "table": str(table(tmp_path / "table"))}
    memory, seconds = {}, {}
    for name, space in {**spaces, "none": None}.items():
        how = {"method": "subword"} if space is None else {"method": "hybrid", "auxiliary": space}
        plan = tokswap.transplant(base=base, donor=donor, dry_run=True, **how)
        memory[name] = plan.figures["peak_memory"].value
        seconds[name] = plan.figures["estimated_time"].value
    assert memory["ngrams"] > memory["none"] and memory["table"] > memory["none"]
    rows = plan.figures["base_rows"].value + plan.figures["new"].value
    assert memory["table"] - memory["none"] == 4 * 12 * (400 + 3 * rows)


def test_spaces_that_can_not_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match="no auxiliary space") as caught:
        auxiliary_vectors("ngramms", [b"a"])
    assert "ngrams" in caught.value.hint
    with pytest.raises(TokswapError, match="lacks"):
        auxiliary_vectors(str(with_tokenizer(tmp_path / "bare", byte_level())), [b"a"])
    with pytest.raises(TokswapError, match="400 tokens and 20 vectors"):
        auxiliary_vectors(str(table(tmp_path / "short", rows=20)), [b"a"])
    broken = encoder(tmp_path / "broken")
    (broken / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(TokswapError, match="sentence encoder"):
        auxiliary_vectors(str(broken), [b"a"])


def run(vectors: Tensor, method: str, tied: bool = True, **parameters: Any) -> Initialised:
    chosen = get_method(method)
    base = base_rows(tied=tied)
    return initialise(ALIGNMENT, base, None, BASE, spelling(), chosen, parameters, auxiliary=vectors)


@pytest.mark.parametrize("tied", [True, False])
def test_a_method_takes_its_neighbours_from_the_space(tied: bool) -> None:
    vectors = torch.randn(110 + FRESH, 7, generator=torch.Generator().manual_seed(2))
    twins = torch.arange(FRESH) + 60  # shared tokens and tokens of the base alone
    vectors[110:] = 3 * vectors[twins]
    vectors[110 + 4] = 0
    made = run(vectors, "nearest", tied, k=1)
    assert made.dead_targets == 1 and made.anchors == 100
    base = base_rows(tied=tied)
    new = torch.from_numpy(ALIGNMENT.new_ids)
    spelt = torch.arange(FRESH) != 4
    for rows, old in ((made.rows.input, base.input), (made.rows.output_rows, base.output_rows)):
        assert torch.equal(rows[new][spelt], old[twins][spelt])
        torch.testing.assert_close(rows[new][4], old[4:6].mean(0))


@pytest.mark.parametrize("method", ["hybrid", "focus", "clp", "wechsel", "map"])
def test_base_tokens_without_a_vector_are_no_anchors(method: str) -> None:
    vectors = torch.randn(110 + FRESH, 7, generator=torch.Generator().manual_seed(2))
    vectors[:30] = 0
    made = run(vectors, method)
    assert (made.anchors, made.anchors_dropped) == (70, 30)
    assert bool(made.rows.input.isfinite().all())


def test_a_tokenizer_is_donor_enough_in_an_auxiliary_space(tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level(300))
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    with pytest.raises(TokswapError) as caught:
        moved(base, donor, tmp_path / "refused", method="nearest")
    assert "--auxiliary ngrams" in caught.value.hint
    out = moved(base, donor, tmp_path / "out", method="nearest", parameters={"k": 1}, auxiliary="ngrams")
    before, after = table_of(base, "embed_tokens.weight"), table_of(out, "embed_tokens.weight")
    known = {tuple(row) for row in before.tolist()}
    silent = json.loads((out / "tokswap.json").read_text())["rows"]["by_origin"]
    made = sum(tuple(row) in known for row in after.tolist())
    assert made == len(after) - silent["silent"] - silent["unused"]
    assert "auxiliary: ngrams" in (out / "recipe.yaml").read_text()


def test_a_space_without_effect_is_warned_of_and_a_wrong_one_refused_before_work(tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level(300))
    donor = with_tokenizer(tmp_path / "donor", sentencepiece())
    plan = tokswap.transplant(
        base, donor, dry_run=True, method="omp", parameters={"k": 2}, auxiliary="ngrams"
    )
    assert plan.facts["auxiliary"] == "ngrams" and not any("auxiliary" in w for w in plan.warnings)
    plan = tokswap.transplant(base, donor, dry_run=True, method="subword", auxiliary="ngrams")
    assert any("auxiliary has no effect" in warning for warning in plan.warnings)
    with pytest.raises(TokswapError, match="no auxiliary space"):
        tokswap.transplant(base, donor, dry_run=True, method="hybrid", auxiliary="nowhere")
