"""Opening checkpoints: roles of real (tiny) models, exact reads, and one small generator per abuse."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from tiny_checkpoints import SMALL, llama_model, store, table

from tokswap import embedding_roles
from tokswap.checkpoint import open_checkpoint, read_embeddings
from tokswap.errors import TokswapError
from tokswap.safetensors_header import build_header, read_shard

torch.set_num_threads(1)


def gpt2() -> tf.PreTrainedModel:
    return tf.GPT2LMHeadModel(
        tf.GPT2Config(vocab_size=97, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    )


def gemma3() -> tf.PreTrainedModel:
    text = tf.Gemma3TextConfig(**SMALL, head_dim=8, num_key_value_heads=1)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = tf.Gemma3Config(text_config=text.to_dict(), vision_config=vision)
    return tf.Gemma3ForConditionalGeneration(config)


def gemma3n() -> tf.PreTrainedModel:
    config = tf.Gemma3nTextConfig(
        **SMALL,
        head_dim=8,
        num_key_value_heads=1,
        vocab_size_per_layer_input=97,
        hidden_size_per_layer_input=4,
        num_kv_shared_layers=0,
        laurel_rank=4,
        layer_types=["full_attention"] * 2,
        activation_sparsity_pattern=None,
    )
    return tf.Gemma3nForCausalLM(config)


# model → input, output, bias, per-layer table
MODELS: dict[str, tuple[Callable[[], tf.PreTrainedModel], str, str | None, str | None, tuple[str, ...]]] = {
    "tied llama": (
        lambda: llama_model(tie_word_embeddings=True),
        "model.embed_tokens.weight",
        None,
        None,
        (),
    ),
    "llama": (
        lambda: llama_model(tie_word_embeddings=False),
        "model.embed_tokens.weight",
        "lm_head.weight",
        None,
        (),
    ),
    "gpt2": (gpt2, "transformer.wte.weight", None, None, ()),
    "neox": (
        lambda: tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**SMALL)),
        "gpt_neox.embed_in.weight",
        "embed_out.weight",
        None,
        (),
    ),
    "bert": (
        lambda: tf.BertForMaskedLM(tf.BertConfig(**SMALL)),
        "bert.embeddings.word_embeddings.weight",
        None,
        "cls.predictions.bias",
        (),
    ),
    "roberta": (
        lambda: tf.RobertaForMaskedLM(tf.RobertaConfig(**SMALL)),
        "roberta.embeddings.word_embeddings.weight",
        None,
        "lm_head.bias",
        (),
    ),
    "phi": (
        lambda: tf.PhiForCausalLM(tf.PhiConfig(**SMALL)),
        "model.embed_tokens.weight",
        "lm_head.weight",
        "lm_head.bias",
        (),
    ),
    "t5": (
        lambda: tf.T5ForConditionalGeneration(
            tf.T5Config(vocab_size=97, d_model=16, d_ff=32, num_layers=1, num_heads=2)
        ),
        "shared.weight",
        None,
        None,
        (),
    ),
    "gemma3": (gemma3, "language_model.model.embed_tokens.weight", None, None, ()),
    "gemma3n": (
        gemma3n,
        "model.embed_tokens.weight",
        None,
        None,
        ("model.embed_tokens_per_layer.weight",),
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("models")

    def save(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            MODELS[name][0]().save_pretrained(folder)
        return folder

    return save


# --- roles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_roles_are_those_of_the_model(name: str, saved: Callable[[str], Path]) -> None:
    _, source, head, bias, per_layer = MODELS[name]
    base = open_checkpoint(saved(name))
    assert (base.input_name, base.output_name, base.bias_name) == (source, head, bias)
    assert base.per_layer_names == per_layer
    assert (base.rows, base.hidden_size, base.tied) == (97, 16, head is None)
    rows, out, offsets = read_embeddings(base)
    assert rows.shape == (97, 16)
    assert (out is None) == (head is None)
    assert (offsets is None) == (bias is None)


@pytest.mark.parametrize("name", ["llama", "bert", "gemma3", "phi"])
def test_the_rows_are_those_that_transformers_looks_up(name: str, saved: Callable[[str], Path]) -> None:
    base = open_checkpoint(saved(name))
    model = type(MODELS[name][0]()).from_pretrained(saved(name))
    rows, out, _ = read_embeddings(base)
    assert torch.equal(rows, model.get_input_embeddings().weight)
    assert torch.equal(rows if out is None else out, model.get_output_embeddings().weight)


def test_a_tied_head_that_is_stored_all_the_same_is_a_copy(tmp_path: Path) -> None:
    rows = table()
    tensors = {"model.embed_tokens.weight": rows, "lm_head.weight": rows.clone()}
    base = open_checkpoint(store(tmp_path, tensors, {"tie_word_embeddings": True}))
    assert base.tied
    assert base.roles.copies == {"lm_head.weight": "model.embed_tokens.weight"}


def test_a_head_with_other_bytes_is_untied_whatever_the_configuration_says(tmp_path: Path) -> None:
    tensors = {"model.embed_tokens.weight": table(), "lm_head.weight": table(seed=1)}
    base = open_checkpoint(store(tmp_path, tensors, {"text_config": {"tie_word_embeddings": True}}))
    assert base.output_name == "lm_head.weight"
    assert "taken as untied" in base.roles.notes[0]


@pytest.mark.parametrize("config", [{}, {"tie_word_embeddings": False}])
def test_without_a_flag_the_stored_tensors_decide(tmp_path: Path, config: dict[str, Any]) -> None:
    untied = {"model.embed_tokens.weight": table(), "lm_head.weight": table(seed=1)}
    assert not open_checkpoint(store(tmp_path / "a", untied, config)).tied
    alone = {"model.embed_tokens.weight": table()}
    assert open_checkpoint(store(tmp_path / "b", alone, config)).tied


def test_repeated_tables_are_listed_as_copies_and_differing_ones_refused(tmp_path: Path) -> None:
    rows = table()
    tensors = {"model.embed_tokens.weight": rows, "model.layers.61.embed_tokens.weight": rows.clone()}
    base = open_checkpoint(store(tmp_path / "a", tensors))
    assert base.roles.copies == {"model.layers.61.embed_tokens.weight": "model.embed_tokens.weight"}
    two = {"encoder.embed_tokens.weight": rows, "decoder.embed_tokens.weight": table(seed=1)}
    with pytest.raises(TokswapError, match="different values for the same role"):
        _ = open_checkpoint(store(tmp_path / "b", two)).roles


def test_the_candidate_with_the_declared_rows_wins(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": table(9),
        "model.other.embed_tokens.weight": table(30),
        "vision_tower.embeddings.word_embeddings.weight": table(40),
    }
    base = open_checkpoint(store(tmp_path, tensors, {"text_config": {"vocab_size": 9}}))
    assert base.input_name == "model.embed_tokens.weight"
    assert base.vocab_size == 9


def test_extra_input_rows_are_counted_where_they_are_stored(tmp_path: Path) -> None:
    # Mllama: eight more rows in the input table than the configuration and the head have.
    tensors = {"model.embed_tokens.weight": table(17), "lm_head.weight": table(9)}
    base = open_checkpoint(store(tmp_path, tensors, {"vocab_size": 9}))
    assert (base.rows, base.extra_rows, base.vocab_size, base.output_name) == (9, 8, 9, "lm_head.weight")


def test_no_input_embedding_names_the_largest_tables(tmp_path: Path) -> None:
    base = open_checkpoint(store(tmp_path, {"strange.table": table(), "b": torch.ones(3)}))
    with pytest.raises(TokswapError, match="no input embedding") as caught:
        _ = base.input_name
    assert "strange.table [9, 4]" in caught.value.hint


@pytest.mark.parametrize(
    "tensors",
    [
        {"model.embed_tokens.weight": torch.ones(9, 4, dtype=torch.int8)},
        {"model.embed_tokens.weight": torch.ones(9, 4).to(torch.float8_e4m3fn)},
        {"model.embed_tokens.weight": table(), "model.embed_tokens.weight_scale": torch.ones(9)},
        {"model.embed_tokens.qweight": torch.ones(9, 4, dtype=torch.int32)},
        {
            "model.embed_tokens.weight": table(),
            "lm_head.qweight": torch.ones(2, 9, dtype=torch.int32),
            "lm_head.scales": torch.ones(2, 9),
        },
        {
            "model.embed_tokens.weight": table(),
            "lm_head.weight": torch.ones(18, 1, dtype=torch.uint8),
            "lm_head.weight.absmax": torch.ones(1),
        },
    ],
)
def test_a_quantised_embedding_or_head_is_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    base = open_checkpoint(store(tmp_path, tensors, {"vocab_size": 9}))
    with pytest.raises(TokswapError, match="quantised embedding"):
        read_embeddings(base)


def test_a_quantised_body_is_fine(tmp_path: Path) -> None:
    tensors = {
        "model.embed_tokens.weight": table(),
        "model.layers.0.mlp.output.qweight": torch.ones(4, 4, dtype=torch.int32),
        "model.layers.0.mlp.output.scales": torch.ones(4),
    }
    assert open_checkpoint(store(tmp_path, tensors)).tied


def test_a_tokenizer_folder_has_no_tensors(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    donor = open_checkpoint(tmp_path, source="me", notes=["from GGUF"])
    assert (donor.tensors, donor.config, donor.tokenizer) == ({}, {}, {"model": {}})
    assert (donor.source, donor.notes) == ("me", ("from GGUF",))
    with pytest.raises(TokswapError, match="no weights"):
        _ = donor.rows


def test_sub_configurations_are_found() -> None:
    nested = {"thinker_config": {"text_config": {"vocab_size": 7}}, "vocab_size": 3}
    assert embedding_roles.vocab_size(nested) == 7
    assert embedding_roles.vocab_size({"vocab_size": True}) is None
    assert (
        embedding_roles.tie_flag({"tie_word_embeddings": False, "text_config": {"tie_word_embeddings": True}})
        is False
    )


# --- reading -------------------------------------------------------------------------------------------------

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3)), min_size=1, max_size=6
    ),
    st.integers(0, 2**32),
)
def test_reading_agrees_with_the_safetensors_library(
    layout: list[tuple[torch.dtype, list[int]]], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for i, (dtype, shape) in enumerate(layout):
        bits = torch.randint(0, 100, shape, generator=random)
        tensors[f"t{i}"] = bits.to(dtype)
    with tempfile.TemporaryDirectory() as folder:
        base = open_checkpoint(store(Path(folder), tensors))
        with safe_open(Path(folder) / "model.safetensors", "pt") as oracle:
            for name in tensors:
                mine, theirs = base.read(name), oracle.get_tensor(name)
                assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
                assert (
                    mine.view(torch.uint8).tolist() == theirs.view(torch.uint8).tolist()
                    if mine.dim()
                    else True
                )
                assert torch.equal(mine.double(), theirs.double())


def test_rows_are_read_without_the_others(tmp_path: Path) -> None:
    rows = table(9)
    base = open_checkpoint(store(tmp_path, {"a": torch.ones(3), "t": rows}))
    assert torch.equal(base.read_rows("t", 2, 5), rows[2:5])
    assert torch.equal(base.read_rows("t", 7, 99), rows[7:])
    assert base.read_rows("t", 5, 2).shape == (0, 4)
    with pytest.raises(TokswapError, match="no tensor"):
        base.read("nothing")


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("Cs",)), max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(["F32", "BF16", "U8"]), st.lists(st.integers(0, 4), max_size=3).map(tuple)),
        max_size=5,
    )
)
def test_a_built_header_is_read_back(layout: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    header, spans = build_header([(name, *rest) for name, rest in layout.items()], {"format": "pt"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(header + bytes(spans[-1][1] - spans[0][0] if spans else 0))
        shard = read_shard(path)
    found = {name: (info.dtype, info.shape) for name, info in shard.tensors.items()}
    assert found == layout
    assert len(header) % 8 == 0
    assert [(info.start, info.end) for info in shard.tensors.values()] == sorted(spans)


def test_sharded_checkpoints_are_read_across_files(tmp_path: Path) -> None:
    model = llama_model(tie_word_embeddings=False).bfloat16()
    model.save_pretrained(tmp_path, max_shard_size="5KB")
    base = open_checkpoint(tmp_path)
    assert len(base.shards) > 2
    state = model.state_dict()
    assert set(base.tensors) == set(state)
    assert all(torch.equal(base.read(name), state[name]) for name in state)


def test_an_index_without_metadata_is_fine(tmp_path: Path) -> None:
    llama_model().save_pretrained(tmp_path, max_shard_size="5KB")
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    del index["metadata"]
    path.write_text(json.dumps(index))
    assert open_checkpoint(tmp_path).index == {}


def test_linked_files_are_followed_as_in_a_hub_cache(tmp_path: Path) -> None:
    real = store(tmp_path / "blobs", {"embed_tokens.weight": table()})
    links = tmp_path / "snapshot"
    links.mkdir()
    for file in real.iterdir():
        (links / file.name).symlink_to(file)
    assert open_checkpoint(links).rows == 9
