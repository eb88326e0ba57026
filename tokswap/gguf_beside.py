"""The GGUF of a transplant: asked for before the work, written into the staged folder after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokswap.assembly import new_files
from tokswap.checkpoint import open_checkpoint
from tokswap.commit import Built
from tokswap.gguf_export import STORED_TYPES, GgufPlan, plan_gguf, plan_parts, write_gguf
from tokswap.plan import Plan, dropped, head_name
from tokswap.sources import public_name
from tokswap.vocab import read_vocab

FILE = "model.gguf"


def plan_beside(plan: Plan, tokenizer: Mapping[str, Any]) -> GgufPlan:
    """Look whether the checkpoint that is planned can be a GGUF; `tokenizer` is its tokenizer.json.

    Raises TokswapError as `plan_gguf` does, before any row is made.
    """
    base, rows = plan.base, plan.alignment.rows
    files, _ = new_files(plan, tokenizer)
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    config, generation, parsed, tokenizer_config = (json.loads(files[name]) for name in names)
    gone = {*dropped(plan), *base.roles.copies}
    shapes = {name: tuple(info.shape) for name, info in base.tensors.items() if name not in gone}
    tables = [base.input_name] + [base.output_name or head_name(base)] * plan.untied
    shapes |= dict.fromkeys(tables, (rows, base.hidden_size))
    vocab = read_vocab(parsed, tokenizer_config, config, generation, rows=rows)
    kind = STORED_TYPES.get(base.tensors[base.input_name].dtype, "f32")
    return plan_parts(config, generation, parsed, tokenizer_config, vocab, shapes, kind)


def built_beside(plan: Plan, planned: GgufPlan) -> Built:
    """Return the file that the commit has made from the staged checkpoint."""

    def make(stage: Path, path: Path) -> None:
        staged = open_checkpoint(stage)
        write_gguf(plan_gguf(staged, planned.kind), staged, path, public_name(plan.base.source))

    return Built(FILE, planned.size, make)
