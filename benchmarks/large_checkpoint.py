"""A checkpoint of a 70B model's shape, transplanted: peak memory against its embedding tables, speed against `cp`.

    python benchmarks/large_checkpoint.py --layers 80              # 146 GB, the body as sparse files
    python benchmarks/large_checkpoint.py --layers 4 --dense       # 15 GB of real bytes, beside `cp` and `sync`
    python benchmarks/large_checkpoint.py --layers 1 --dense --width 5376 --tied    # 4 GB: Gemma 3 27B's table

The embeddings (262,144 x 8,192, untied, bf16, where nothing else is said) are real numbers under Gemma 3's tokenizer;
the donor is SmolLM2. Every byte is hashed while it is written and read once more to be proved equal, which `cp` does
not do.
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
from dataclasses import dataclass
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
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--method", default="subword")
    parser.add_argument("--work", help="a folder on the disk to measure (a temporary one)")
    arguments = parser.parse_args()
    work = Path(arguments.work or tempfile.mkdtemp(prefix="tokswap-large-"))
    source = work / "base"
    shape = Shape(arguments.layers, arguments.width, arguments.tied)
    size = make_base(source, shape, dense=arguments.dense)
    command = [sys.executable, "-m", "tokswap_cli", "transplant", "--base", str(source), "--donor", "smollm2"]
    command += ["--method", arguments.method, "--calibrate", "none", "--no-evaluate", "--quiet"]
    command += ["--out", str(work / "out")]
    wall, cpu, peak = _run(command)
    table = 2 * shape.width * ROWS
    tables = (1 if shape.tied else 2) * 2 * shape.width * (ROWS + 49_152)
    result = {
        "checkpoint_gb": size / 1e9,
        "table_gb": table / 1e9,
        "tables_gb": tables / 1e9,
        "peak_gb": peak / 1e9,
        "peak_over_table": peak / table,
        "peak_over_tables": peak / tables,
        "cpu_s": cpu,
        "wall_s": wall,
        "gb_per_s": size / 1e9 / wall,
    }
    if arguments.dense:
        shutil.rmtree(work / "out")
        cp, cp_cpu, _ = _run(["sh", "-c", f"cp -r --reflink=never {source} {work / 'copy'} && sync"])
        result |= {"cp_cpu_s": cp_cpu, "cp_and_sync_s": cp, "transplant_over_cp": wall / cp}
    print(json.dumps(result, indent=1))
    shutil.rmtree(work)


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int
    tied: bool


def make_base(folder: Path, shape: Shape, *, dense: bool) -> int:
    """Write a sharded Llama-shaped checkpoint; returns its bytes. Bodies are holes unless `dense`."""
    layers, width = shape.layers, shape.width
    folder.mkdir(parents=True)
    gemma = open_source("gemma3")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(gemma.folder / name, folder / name)
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": width, "intermediate_size": INNER,
        "num_hidden_layers": layers, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": ROWS,
        "max_position_embeddings": 131_072, "tie_word_embeddings": shape.tied, "bos_token_id": 2, "eos_token_id": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    groups = [list(range(i, min(i + SHARD_LAYERS, layers))) for i in range(0, layers, SHARD_LAYERS)]
    shapes: list[dict[str, tuple[int, ...]]] = [{"model.embed_tokens.weight": (ROWS, width)}]
    shapes += [_layers(numbers, width) for numbers in groups]
    shapes += [{"model.norm.weight": (width,)} | ({} if shape.tied else {"lm_head.weight": (ROWS, width)})]
    weight_map: dict[str, str] = {}
    for number, tensors in enumerate(shapes, 1):
        name = f"model-{number:05d}-of-{len(shapes):05d}.safetensors"
        weight_map |= dict.fromkeys(tensors, name)
        _shard(folder / name, tensors, real=dense or number in (1, len(shapes)))
    total = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return total


def _layers(numbers: list[int], width: int) -> dict[str, tuple[int, ...]]:
    out: dict[str, tuple[int, ...]] = {}
    for i in numbers:
        at = f"model.layers.{i}."
        attention = {"q": (width, width), "k": (1024, width), "v": (1024, width), "o": (width, width)}
        inner = {"gate": (INNER, width), "up": (INNER, width), "down": (width, INNER)}
        out |= {f"{at}self_attn.{n}_proj.weight": shape for n, shape in attention.items()}
        out |= {f"{at}mlp.{n}_proj.weight": shape for n, shape in inner.items()}
        out |= {f"{at}{n}_layernorm.weight": (width,) for n in ("input", "post_attention")}
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


def _run(command: list[str]) -> tuple[float, float, int]:
    """Return wall and CPU seconds of a process, and its peak memory in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
