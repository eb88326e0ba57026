"""The healed folder: what was trained, merged into the weights tensor by tensor, written by the commit protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap import __version__
from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit import write
from tokswap.errors import TokswapError
from tokswap.healing.adapters import Adapters, is_transposed
from tokswap.provenance import TRAINED_SINCE, row_tensors, tensor_hash
from tokswap.restoring import files_of
from tokswap.verification.checks import require_passed

if TYPE_CHECKING:
    from torch import Tensor

OWN_KEYS = frozenset({"schema_version", "recipe_id", "files", "untouched"})
"""Keys of a manifest that belong to the folder it was written with."""
CARD_LINE = "\nHealed by tokswap {version} afterwards: {what}.\n"


class Merged(Mapping[str, "Tensor"]):
    """The changed tensors of a checkpoint by stored name, each made when it is asked for and not kept.

    `bodies` gives the trained linear layer of each stored weight, and whether it is stored as (in, out).
    """

    def __init__(self, moved: Checkpoint, adapters: Adapters, bodies: Mapping[str, tuple[str, bool]]) -> None:
        self._moved, self._adapters, self._bodies = moved, adapters, bodies
        roles = moved.roles
        tables = {roles.input: False} | ({roles.output: True} if roles.output else {})
        self._tables = tables | {n: tables[o] for n, o in roles.copies.items() if o in tables}

    def __getitem__(self, name: str) -> Tensor:
        stored = self._moved.read(name)
        if name in self._tables:
            step = self._adapters.row_step(self._tables[name]).cpu()
            stored[self._adapters.ids] = (stored[self._adapters.ids].float() + step).to(stored.dtype)
            return stored
        layer, transposed = self._bodies[name]
        step = self._adapters.body_step(layer).cpu()
        return (stored.float() + (step.T if transposed else step)).to(stored.dtype)

    def __iter__(self) -> Iterator[str]:
        yield from self._tables
        yield from self._bodies

    def __len__(self) -> int:
        return len(self._tables) + len(self._bodies)


def stored_names(moved: Checkpoint, layers: Mapping[str, Any]) -> dict[str, str]:
    """Return stored name → layer for the linear layers of a loaded model whose weight is one stored tensor.

    A wrapped model's names may begin otherwise in memory; what decides is that the numbers are the same. Layers
    without such a tensor (experts that are stored together) are left out.
    """
    out: dict[str, str] = {}
    for name, layer in layers.items():
        wanted = f"{name}.weight"
        named = [wanted] if wanted in moved.tensors else _ending(moved, wanted)
        found = [stored for stored in named if _holds(moved, stored, layer.weight)]
        if len(found) == 1 and found[0] not in out:
            out[found[0]] = name
    return out


def write_healed(
    moved: Checkpoint,
    out: Path,
    adapters: Adapters,
    layers: Mapping[str, Any],
    *,
    noted: Mapping[str, Any],
    healing: Mapping[str, Any],
    trained: Mapping[str, str],
    recipe_id: str,
    overwrite: bool,
    on_progress: Callable[[str, int, int], None] | None,
) -> dict[str, Any]:
    """Write `moved` with what was trained to `out`, and return the manifest.

    `noted` is the manifest of `moved`, `healing` what is told of the training, `trained` stored name → layer.
    Raises TokswapError for what `write` refuses, and where a written folder would not verify.
    """
    # What an earlier healing trained stays trained, also where this one kept its start.
    moved_before = noted.get(TRAINED_SINCE)
    since = {*trained, *(moved_before if isinstance(moved_before, list) else ())}
    bodies = {name: (layer, is_transposed(layers[layer])) for name, layer in trained.items()}
    kept = {key: value for key, value in noted.items() if key not in OWN_KEYS}
    return write(
        moved,
        out,
        tensors=Merged(moved, adapters, bodies),
        files=_files(moved, healing),
        recipe_id=recipe_id,
        manifest={**kept, "tokswap": __version__, "healing": dict(healing), TRAINED_SINCE: sorted(since)},
        overwrite=overwrite,
        check=lambda staged: require_passed(open_checkpoint(staged), ("rows", "tied", "finite_rows")),
        on_progress=None if on_progress is None else partial(on_progress, "write"),
    )


def require_same_body(moved: Checkpoint, base: Checkpoint) -> None:
    """Raise TokswapError where the body isn't the base's: the base can't teach from it then."""
    rows = {*row_tensors(moved), *row_tensors(base)}
    names = sorted(set(base.tensors) - rows)
    other = [n for n in names if n not in moved.tensors or tensor_hash(moved, n) != tensor_hash(base, n)]
    if other:
        raise TokswapError(
            f"the body of {moved.source} is not that of {base.source} ({len(other):,} tensors differ, as {other[0]}), "
            "so the base can't be run in it as a teacher",
            "heal the folder that `transplant` wrote, or go on training with --rung lm",
        )


def _files(moved: Checkpoint, healing: Mapping[str, Any]) -> dict[str, bytes]:
    files = files_of(moved)
    for name in ("README.md", "recipe.yaml"):
        path = moved.folder / name
        if path.is_file():
            files[name] = path.read_bytes()
    if "README.md" in files:
        what = (
            f"rung `{healing['rung']}`, {healing['best_step']} steps of {healing['step_bytes']} bytes of text"
        )
        files["README.md"] += CARD_LINE.format(version=__version__, what=what).encode()
    return files


def _ending(moved: Checkpoint, name: str) -> list[str]:
    """Return the stored names that end as a name does, from its layer's number on."""
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), 1)
    tail = "." + ".".join(parts[max(at - 1, 0) :])
    return [stored for stored in moved.tensors if f".{stored}".endswith(tail)]


def _holds(moved: Checkpoint, stored: str, weight: Tensor) -> bool:
    import torch

    if tuple(weight.shape) != moved.tensors[stored].shape:
        return False
    return torch.equal(moved.read(stored).to(weight.dtype), weight.detach().cpu())
