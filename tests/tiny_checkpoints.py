"""Tiny checkpoints, real ones and made-up ones, and the shortest way to write one from another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from safetensors.torch import save_file

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit import System, write

torch.set_num_threads(1)

SMALL: dict[str, Any] = {
    "vocab_size": 97, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def llama_model(**more: Any) -> tf.PreTrainedModel:
    return tf.LlamaForCausalLM(tf.LlamaConfig(**(SMALL | more)))


def llama(
    folder: Path, *, tied: bool = False, shards: str = "50GB", dtype: torch.dtype = torch.float32
) -> Checkpoint:
    torch.manual_seed(0)
    model = llama_model(tie_word_embeddings=tied).to(dtype)
    model.save_pretrained(folder, max_shard_size=shards)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer.model").write_bytes(b"stale")
    return open_checkpoint(folder)


def stored(folder: Path, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text("{}")
    return open_checkpoint(folder)


class Unsynced(System):
    """The real system without the waits for the disk."""

    def fsync(self, fd: int) -> None:
        pass

    def fsync_folder(self, path: Path) -> None:
        pass


def put(base: Checkpoint, out: Path, tensors: dict[str, torch.Tensor], **more: Any) -> dict[str, Any]:
    config = dict(base.config) | more.pop("config", {})
    files = {"config.json": json.dumps(config).encode()} | more.pop("files", {})
    more = {"recipe_id": "r1", "manifest": {"made_by": "a test"}, "system": Unsynced()} | more
    return write(base, out, tensors=tensors, files=files, **more)


def rows(count: int, width: int = 16, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).to(dtype)


def data_of(checkpoint: Checkpoint, name: str) -> bytes:
    info = checkpoint.tensors[name]
    return (checkpoint.folder / info.shard).read_bytes()[info.start : info.end]


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if ".tokswap-" in path.name)


def store(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


def table(rows: int = 9, width: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


class Counted(Unsynced):
    """A system with a made-up amount of free disk."""

    free: int | None = None

    def free_bytes(self, path: Path) -> int:
        return super().free_bytes(path) if self.free is None else self.free
