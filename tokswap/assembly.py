"""From a plan and its rows to what a checkpoint holds: tensors, configurations, tokenizer files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from tokswap import graft
from tokswap.checkpoint import Checkpoint, read_json
from tokswap.draft import draft_files
from tokswap.initialise import Embeddings, initialise
from tokswap.pieces import spell
from tokswap.plan import Plan, dropped, head_name
from tokswap.reload import check_ids, settled_tokenizer_config
from tokswap.verification.checks import require_passed

if TYPE_CHECKING:
    from torch import Tensor

# How a wrapped model takes images and sounds: the base's, with ids that moved.
PROCESSOR_FILES = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors")


def check_staged(staged: Checkpoint, plan: Plan) -> None:
    """Refuse a staged folder that would fail its own verification of sizes, flags or ids."""
    check_ids(staged.tokenizer, plan.alignment.rows)
    require_passed(staged, ("rows", "tied"))


def new_tensors(plan: Plan, rows: Embeddings) -> dict[str, Tensor]:
    """Name the new tables as the base's checkpoint does, its further copies of them too."""
    base = plan.base
    out: dict[str, Tensor] = {base.input_name: _with_extra_rows(base, rows.input)}
    if rows.output is not None:
        out[base.output_name or head_name(base)] = rows.output
    if base.bias_name and rows.bias is not None:
        out[base.bias_name] = rows.bias
    for name in base.per_layer_names:
        out[name] = _per_layer(plan, name)
    gone = dropped(plan)
    copies = {n: original for n, original in base.roles.copies.items() if n not in gone and n not in out}
    return out | {name: out[original] for name, original in copies.items()}


def new_files(plan: Plan, tokenizer: Mapping[str, Any]) -> tuple[dict[str, bytes], list[str]]:
    """Return configurations and tokenizer files, and what could not be carried over; `tokenizer` is tokenizer.json."""
    base, new = plan.base, plan.new_vocab
    tied = not plan.untied
    config, lost = graft.new_config(
        base.config, plan.alignment, new, plan.start_id, tied=tied, extra_rows=base.extra_rows
    )
    generation, stale = graft.new_generation_config(base.generation_config, new, plan.start_id)
    tokenizer_config = graft.new_tokenizer_config(
        plan.tokenizer, base.config, plan.base_vocab, new, plan.start_id
    )
    files = {
        "config.json": graft.as_json(config),
        "generation_config.json": graft.as_json(generation),
        "tokenizer.json": graft.as_json(tokenizer),
        "tokenizer_config.json": graft.as_json(tokenizer_config),
    }
    for name in PROCESSOR_FILES:
        if (base.folder / name).is_file():
            processor = read_json(base.folder / name)
            processor, gone = graft.new_processor(processor, plan.alignment, extra_rows=base.extra_rows)
            files[name] = graft.as_json(processor)
            lost += gone
    if plan.recipe.draft:
        files = draft_files(files, plan.donor, new)
    files["tokenizer_config.json"], doubts = settled_tokenizer_config(files)
    return files, [*lost, *stale, *doubts]


def libraries() -> dict[str, str]:
    """Return the versions of the libraries whose change could change an output."""
    return {name: _version(name) for name in LIBRARIES}


def _with_extra_rows(base: Checkpoint, rows: Tensor) -> Tensor:
    """Put the rows that only the base's input has (Mllama's, for images) behind the new ones."""
    import torch

    if not base.extra_rows:
        return rows
    return torch.cat([rows, base.read_rows(base.input_name, base.rows, base.rows + base.extra_rows)])


def _per_layer(plan: Plan, name: str) -> Tensor:
    """Give a per-layer table (Gemma 3n and 4) the order and size of the embedding; its new rows by sub-words.

    The donor has no such space to reason in, so these rows are means of the base's pieces.
    """
    from tokswap.methods import get_method

    table = plan.base.read(name)
    if plan.alignment.unchanged:
        return table
    tokens = [plan.new_vocab.bytes_of(int(i)) for i in plan.alignment.new_ids]
    made = initialise(
        plan.alignment,
        Embeddings(_as_long(table, plan.base_vocab.rows)),
        None,
        plan.base_vocab,
        spell(plan.base.tokenizer, plan.base_vocab, tokens),
        get_method("subword"),
        {},
        seed=plan.recipe.seed,
    )
    return made.rows.input


def _as_long(table: Tensor, rows: int) -> Tensor:
    """Give a per-layer table (Float[n w]) as many rows as the embedding: ids beyond it read its row 0 (Gemma 3n)."""
    import torch

    missing = rows - len(table)
    return torch.cat([table, table[:1].expand(missing, -1)]) if missing > 0 else table[:rows]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
