"""A tiny base, one that knows its text if it is taught, and its body under another tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tiny_models import byte_level, checkpoint
from tokenizers import Tokenizer

import tokswap

# Byte-level like the base's, with other merges: much of it is new, and all texts come back.
MERGES = [
    "the harbour wall was built the boats were tied up to the wall\n",
    "    return values[len(values) // 2]\n",
]


def lines() -> str:
    return "".join(
        f"The wall of harbour {i} was built by {i * 7} people; the boats were tied up to it.\n"
        f"def values_{i}(n):\n    return n[len(n) // {i + 2}]\n"
        for i in range(60)
    )


def made(root: Path, *, taught: bool = False, **how: Any) -> tuple[Path, Path]:
    """A base, one that knows the text if it is `taught`, and its body under another tokenizer."""
    base = checkpoint(root / "base", byte_level(merges=40), **how)
    if taught:
        teach(base.folder)
    checkpoint(root / "donor", byte_level(merges=47, corpus=MERGES * 9), seed=1)
    options: dict[str, Any] = {"method": "subword", "calibrate": "none", "evaluate": False}
    tokswap.transplant(base.folder, root / "donor", out=root / "moved", **options)
    return base.folder, root / "moved"


def teach(folder: Path) -> None:
    torch.set_num_threads(1)  # a fixture of a session is made before that of each test
    model = tf.AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(lines()).ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        starts = torch.randint(0, len(ids) - 64, (8,), generator=generator)
        batch = torch.stack([ids[i : i + 64] for i in starts])
        model(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
