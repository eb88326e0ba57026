"""Does a written folder hold what was planned? Everything is read back before the folder is moved into place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit_files import Advance, hash_span
from tokswap.commit_plan import Plan, PlannedTensor
from tokswap.embedding_roles import tie_flag
from tokswap.errors import TokswapError


def verify_written(
    folder: Path, plan: Plan, digests: Mapping[str, str], base: Checkpoint, advance: Advance = lambda _: None
) -> None:
    """Reopen a written folder, read every tensor back, and raise TokswapError at the first thing that differs.

    `digests` are the sha256 that each tensor had at its source. Also checks the index's total, and that the
    configuration's tie flag is true to the tensors.
    """
    written = open_checkpoint(folder)
    _require_table(written, plan)
    for shard in plan.shards:
        with (folder / shard.name).open("rb", buffering=0) as file:
            for tensor in shard.tensors:
                if hash_span(file, tensor.start, tensor.end, advance) != digests[tensor.name]:
                    raise _unlike(f"{tensor.name} in {shard.name} reads back with other bytes")
    _require_true_tie(written, base)


def _require_table(written: Checkpoint, plan: Plan) -> None:
    planned = {tensor.name: _facts(tensor) for tensor in plan.tensors}
    found = {name: (info.dtype, info.shape, info.start, info.end) for name, info in written.tensors.items()}
    if found != planned:
        name = next(name for name in {**planned, **found} if planned.get(name) != found.get(name))
        raise _unlike(f"{name} is stored as {found.get(name)}, not as {planned.get(name)}")
    total = sum(tensor.end - tensor.start for tensor in plan.tensors)
    if written.index is not None and written.index.get("total_size") != total:
        raise _unlike(f"the index gives {written.index.get('total_size')} bytes, not {total}")


def _facts(tensor: PlannedTensor) -> tuple[str, tuple[int, ...], int, int]:
    return tensor.dtype, tensor.shape, tensor.start, tensor.end


def _require_true_tie(written: Checkpoint, base: Checkpoint) -> None:
    try:
        before, now = base.roles, written.roles
    except TokswapError:
        return  # no embeddings to be tied: nothing to compare
    flag = tie_flag(written.config)
    if flag is True and now.output is not None and tie_flag(base.config) is not True:
        raise _unlike(f"the configuration says tied, but {now.output} is stored with other values")
    if (
        flag is False
        and now.output is None
        and not (tie_flag(base.config) is False and before.output is None)
    ):
        raise _unlike("the configuration says untied, but no output embedding is stored")


def _unlike(what: str) -> TokswapError:
    return TokswapError(
        f"the written checkpoint is not what was planned: {what}",
        "nothing was put in place; check the disk, run again",
    )
