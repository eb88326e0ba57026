"""What holds for every model: A → A is the identity, donors' ids are only names, and A → B → A is A again."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transplants import moved, with_tokenizer

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.methods import methods
from tokswap.vocab import vocab_of

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

from tiny_models import byte_level, sentencepiece

FEW = settings(max_examples=12, deadline=None)
DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])
PADDING = st.integers(0, 9)
TOKENS = 297  # of the byte-level tokenizer


def model(folder: Path, seed: int, rows: int, dtype: torch.dtype, *, tied: bool, shards: int) -> Path:
    """Write a checkpoint of a few random tensors: nothing here runs it, so any numbers will do."""
    generator = torch.Generator().manual_seed(seed)

    def table(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    tensors = {
        "model.embed_tokens.weight": table(rows, 8),
        "model.norm.weight": table(8),
        "model.a.weight": table(3, 8),
    }
    if not tied:
        tensors["lm_head.weight"] = table(rows, 8)
    folder.mkdir(parents=True)
    names = [f"model-0000{i}-of-0000{shards}.safetensors" for i in range(1, shards + 1)] if shards > 1 else []
    parts: list[dict[str, torch.Tensor]] = [{} for _ in names]
    for i, (name, tensor) in enumerate(tensors.items()):
        if parts:
            parts[i % shards][name] = tensor
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name, metadata={"format": "pt"})
    if names:
        places = {key: name for name, part in zip(names, parts, strict=True) for key in part}
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": places})
        )
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"model_type": "llama", "vocab_size": rows, "hidden_size": 8, "tie_word_embeddings": tied}
    (folder / "config.json").write_text(json.dumps(config))
    return with_tokenizer(folder, byte_level())


def bits(folder: Path) -> dict[str, bytes]:
    checkpoint = open_checkpoint(folder)
    return {
        name: bytes(checkpoint.read(name).reshape(-1).view(torch.uint8).numpy())
        for name in checkpoint.tensors
    }


@FEW
@given(
    method=st.sampled_from(
        ["auto", *(name for name, found in methods().items() if not (found.parallel or found.network))]
    ),
    seed=st.integers(0, 99),
    padding=PADDING,
    dtype=DTYPES,
    tied=st.booleans(),
    shards=st.sampled_from([1, 2]),
)
def test_on_its_own_tokenizer_a_model_stays_what_it_is(
    method: str,
    seed: int,
    padding: int,
    dtype: torch.dtype,
    tied: bool,
    shards: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("same")
    base = model(root / "base", seed, TOKENS + padding, dtype, tied=tied, shards=shards)
    out = moved(base, base, root / "out", method=method)
    assert bits(out) == bits(base)
    for path in base.glob("*.safetensors"):
        assert (out / path.name).read_bytes() == path.read_bytes()


@FEW
@given(
    seed=st.integers(0, 99),
    padding=PADDING,
    dtype=DTYPES,
    tied=st.booleans(),
    untie=st.booleans(),
    shards=st.sampled_from([1, 2]),
)
def test_there_and_back_is_the_model_bit_for_bit(
    seed: int, padding: int, dtype: torch.dtype, tied: bool, untie: bool, shards: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    root = tmp_path_factory.mktemp("back")
    base = model(root / "base", seed, TOKENS + padding, dtype, tied=tied, shards=shards)
    donor = with_tokenizer(root / "donor", sentencepiece())
    out = moved(base, donor, root / "out", untie=untie)
    assert bits(out) != bits(base)
    tokswap.restore(out, base=base, out=root / "again")
    assert bits(root / "again") == bits(base)
    assert (root / "again" / "config.json").read_bytes() == (base / "config.json").read_bytes()


@FEW
@given(order=st.randoms(use_true_random=False), seed=st.integers(0, 99), tied=st.booleans())
def test_permuting_the_donors_ids_permutes_the_rows(
    order: random.Random, seed: int, tied: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("order")
    base = model(root / "base", seed, TOKENS, torch.float32, tied=tied, shards=1)
    plain = sentencepiece()
    ids = list(plain["model"]["vocab"].values())
    order.shuffle(ids)
    to = dict(zip(plain["model"]["vocab"].values(), ids, strict=True))
    other = renumbered(plain, to)
    one = moved(base, with_tokenizer(root / "one", plain), root / "out one")
    two = moved(base, with_tokenizer(root / "two", other), root / "out two")
    left, right = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    moved_to = torch.tensor([to[i] for i in range(len(to))])
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        if name in left:
            torch.testing.assert_close(right[name][moved_to], left[name], rtol=1e-6, atol=1e-6)
    shared = [i for i in vocab_of(open_checkpoint(one)).ids.tolist() if i in to]
    assert len(shared) == len(to)


def renumbered(tokenizer: dict[str, Any], to: dict[int, int]) -> dict[str, Any]:
    out = json.loads(json.dumps(tokenizer))
    out["model"]["vocab"] = {text: to[i] for text, i in tokenizer["model"]["vocab"].items()}
    for entry in out["added_tokens"]:
        entry["id"] = to[entry["id"]]
    return out
