"""A15 to A17, A24 and A25: shards, dtypes, quantised bodies, and memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as tf
from architectures import MODELS, fp8_body, gptq_body
from limits import run
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_a_rows import token_id
from test_verification import outcome
from tiny_models import byte_level, sentencepiece
from transplants import llama, moved, saved, table_of, with_tokenizer

import tokswap
from tokswap.checkpoint import open_checkpoint
from tokswap.tokenization import load_tokenizer

EMBED = "model.embed_tokens.weight"


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    return with_tokenizer(tmp_path / "donor", sentencepiece())


def test_a15_the_tokenizer_config_is_one_that_transformers_4_reads_too(tmp_path: Path, donor: Path) -> None:
    """tests/read_by_other_transformers.py tries it; this keeps the one thing that failed there from coming back."""
    base = saved(MODELS["qwen2"](), tmp_path / "base", byte_level())
    out = moved(base, donor, tmp_path / "out")
    config = json.loads((out / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    # Whether an entry is needed depends on the transformers at hand; what it may hold and what it is for do not.
    assert all(isinstance(name, str) for name in config.get("auto_map", {}).get("AutoTokenizer", []))
    text = "the wall, 12 walls\n"
    expected = load_tokenizer(json.loads((out / "tokenizer.json").read_text())).encode(text).ids
    assert tf.AutoTokenizer.from_pretrained(out)(text).input_ids == expected


def test_a16_three_shards_of_four_dtypes(tmp_path: Path, donor: Path) -> None:
    base = saved(llama(tied=False), tmp_path / "base", byte_level())
    state = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    dtypes = (torch.bfloat16, torch.float16, torch.float32, torch.float8_e4m3fn)
    parts: list[dict[str, torch.Tensor]] = [{}, {}, {}]
    for i, (name, tensor) in enumerate(sorted(state.items())):
        of_rows = name in (EMBED, "lm_head.weight")
        parts[0 if of_rows else 1 + i % 2][name] = tensor if of_rows else tensor.to(dtypes[i % 4])
    names = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, base / name, metadata={"format": "pt"})
    places = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    (base / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    out = moved(base, donor, tmp_path / "out")
    for name in names[1:]:
        assert (out / name).read_bytes() == (base / name).read_bytes()
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == places
    old, new = open_checkpoint(base), open_checkpoint(out)
    assert index["metadata"]["total_size"] == sum(info.nbytes for info in new.tensors.values())
    assert {n: i.dtype for n, i in new.tensors.items()} == {n: i.dtype for n, i in old.tensors.items()}
    assert len({info.dtype for info in new.tensors.values()}) == 4
    for name in names:
        with safe_open(out / name, "pt") as file:
            assert file.metadata()["format"] == "pt"


@pytest.mark.parametrize("quantise", [fp8_body, gptq_body])
def test_a17_a_quantised_body_passes_through(
    quantise: Callable[[Path], None], tmp_path: Path, donor: Path
) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    quantise(base)
    out = moved(base, donor, tmp_path / "out")
    old, new = open_checkpoint(base), open_checkpoint(out)
    assert set(old.tensors) == set(new.tensors) and len(old.tensors) > 20
    report = tokswap.verify(out, against=base, run=False)
    assert outcome(report, "untouched_tensors") == outcome(report, "shared_rows") == "passed"


@pytest.mark.parametrize("name", [EMBED, "lm_head.weight"])
@pytest.mark.parametrize("kind", ["fp8", "gptq"])
def test_a17_a_quantised_table_is_refused(kind: str, name: str, tmp_path: Path, donor: Path) -> None:
    base = saved(llama(tied=False), tmp_path / "base", byte_level())
    state = load_file(base / "model.safetensors")
    if kind == "fp8":
        state[name] = state[name].to(torch.float8_e4m3fn)
    else:
        del state[name]
        state[name.replace("weight", "qweight")] = torch.ones(4, 304, dtype=torch.int32)
        state[name.replace("weight", "scales")] = torch.ones(1, 304)
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(tokswap.TokswapError, match="can't be rewritten"):
        moved(base, donor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a24_half_precision_rows_are_computed_in_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    def tables(folder: Path, like: torch.dtype) -> Path:
        torch.manual_seed(0)
        base = saved(llama().to(dtype).to(like), folder / "base", byte_level())
        torch.manual_seed(1)
        donor = saved(llama().to(dtype).to(like), folder / "donor", sentencepiece())
        return moved(base, donor, folder / "out", method="omp", parameters={"k": 4})

    for name in ("half", "full"):
        (tmp_path / name).mkdir()
    half, full = tables(tmp_path / "half", dtype), tables(tmp_path / "full", torch.float32)
    new = [token_id(half, text) for text in ("th", "al", "▁wal")]
    rows, exact = table_of(half, "embed_tokens.weight"), table_of(full, "embed_tokens.weight")
    assert rows.dtype == dtype and exact.dtype == torch.float32
    assert torch.equal(rows[new], exact[new].to(dtype))


TABLE_ROWS, WIDTH = 32_768, 1024  # 134 MB in fp32: a twentieth of Gemma 3 27B's; benchmarks/ has it in full


def test_a25_a_large_table_takes_less_than_three_times_its_size(tmp_path: Path) -> None:
    base = saved(llama(), tmp_path / "base", byte_level())
    state = load_file(base / "model.safetensors")
    for name in [name for name in state if state[name].shape[-1] == 32]:
        state[name] = torch.zeros(*state[name].shape[:-1], WIDTH)
    state[EMBED] = torch.randn(TABLE_ROWS, WIDTH)
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text()) | {"vocab_size": TABLE_ROWS, "hidden_size": WIDTH}
    (base / "config.json").write_text(json.dumps(config))
    del state
    donor = saved(llama(), tmp_path / "donor", sentencepiece())
    for method in ("subword", "omp"):
        out, how = tmp_path / method, ("--method", method, "--calibrate", "none", "--no-evaluate", "--quiet")
        moved(donor, donor, tmp_path / f"small {method}", method=method)  # what it imports is no part of it
        size = ("--pad-vocab-to", str(TABLE_ROWS))
        ended = run(["transplant", "--base", base, "--donor", donor, "--out", out, *how, *size], tmp_path)
        assert ended.code == 0, ended.err
        assert ended.megabytes < 3 * 4 * TABLE_ROWS * WIDTH / 2**20
        assert table_of(out, "embed_tokens.weight").shape == (TABLE_ROWS, WIDTH)
