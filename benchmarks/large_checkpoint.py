"""A checkpoint of a 70B model's shape, transplanted: peak memory against its embedding tables, speed against `cp`.

    python benchmarks/large_checkpoint.py --layers 80              # 146 GB, the body as sparse files
    python benchmarks/large_checkpoint.py --layers 4 --dense       # 15 GB of real bytes, beside `cp` and `sync`

The embeddings (262,144 x 8,192, untied, bf16) are real numbers under Gemma 3's tokenizer; the donor is SmolLM2. Every
byte is hashed while it is written and read once more to be proved equal, which `cp` does not do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tokswap.sources import open_source

WIDTH, INNER, ROWS = 8192, 28672, 262_144
SHARD_LAYERS = 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--method", default="subword")
    parser.add_argument("--work", help="a folder on the disk to measure (a temporary one)")
    arguments = parser.parse_args()
    work = Path(arguments.work or tempfile.mkdtemp(prefix="tokswap-large-"))
    source = work / "base"
    size = make_base(source, arguments.layers, dense=arguments.dense)
    command = [sys.executable, "-m", "tokswap_cli", "transplant", "--base", str(source), "--donor", "smollm2"]
    command += ["--method", arguments.method, "--calibrate", "none", "--no-evaluate", "--quiet"]
    command += ["--out", str(work / "out")]
    wall, peak = _run(command)
    tables = 2 * 2 * WIDTH * (ROWS + 49_152)
    result = {
        "checkpoint_gb": size / 1e9,
        "tables_gb": tables / 1e9,
        "peak_gb": peak / 1e9,
        "peak_over_tables": peak / tables,
        "wall_s": wall,
        "gb_per_s": size / 1e9 / wall,
    }
    if arguments.dense:
        shutil.rmtree(work / "out")
        cp, _ = _run(["sh", "-c", f"cp -r --reflink=never {source} {work / 'copy'} && sync"])
        result |= {"cp_and_sync_s": cp, "transplant_over_cp": wall / cp}
    print(json.dumps(result, indent=1))
    shutil.rmtree(work)


def make_base(folder: Path, layers: int, *, dense: bool) -> int:
    """Write a sharded Llama-shaped checkpoint; returns its bytes. Bodies are holes unless `dense`."""
    folder.mkdir(parents=True)
    gemma = open_source("gemma3")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(gemma.folder / name, folder / name)
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": WIDTH, "intermediate_size": INNER,
        "num_hidden_layers": layers, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": ROWS,
        "max_position_embeddings": 131_072, "tie_word_embeddings": False, "bos_token_id": 2, "eos_token_id": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    groups = [list(range(i, min(i + SHARD_LAYERS, layers))) for i in range(0, layers, SHARD_LAYERS)]
    shapes = [{"model.embed_tokens.weight": (ROWS, WIDTH)}, *map(_layers, groups)]
    shapes += [{"model.norm.weight": (WIDTH,), "lm_head.weight": (ROWS, WIDTH)}]
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shapes, 1):
        name = f"model-{number:05d}-of-{len(shapes):05d}.safetensors"
        weight_map |= dict.fromkeys(tensors, name)
        _shard(folder / name, tensors, real=dense or number in (1, len(shapes)))
    total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return total


def _layers(numbers: list[int]) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    for i in numbers:
        at = f"model.layers.{i}."
        attention = {"q": (WIDTH, WIDTH), "k": (1024, WIDTH), "v": (1024, WIDTH), "o": (WIDTH, WIDTH)}
        inner = {"gate": (INNER, WIDTH), "up": (INNER, WIDTH), "down": (WIDTH, INNER)}
        out |= {f"{at}self_attn.{n}_proj.weight": shape for n, shape in attention.items()}
        out |= {f"{at}mlp.{n}_proj.weight": shape for n, shape in inner.items()}
        out |= {f"{at}{n}_layernorm.weight": (WIDTH,) for n in ("input", "post_attention")}
    return out


def _shard(path: Path, tensors: dict[str, tuple[int, ...]], *, real: bool) -> None:
    header: dict[str, object] = {}
    end = 0
    for name, shape in tensors.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    block = torch.randn(4 << 20, generator=torch.Generator().manual_seed(0)).mul(0.02).bfloat16()
    content = block.view(torch.uint8).numpy().tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for at in range(0, end if real else 0, len(content)):
            file.write(content[: end - at])
        file.truncate(8 + len(text) + end)


def _run(command: list[str]) -> tuple[float, int]:
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
