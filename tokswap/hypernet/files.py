"""Folders of hypernetworks: config.json beside model.safetensors or flax_model.msgpack."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap.checkpoint import SINGLE_NAME, read_json
from tokswap.errors import TokswapError
from tokswap.hypernet.config import HypernetConfig, make_config
from tokswap.hypernet.flax_files import FLAX_NAME, flax_bytes, read_flax
from tokswap.safetensors_header import read_shard
from tokswap.whole_file import write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from tokswap.hypernet.network import ZettNetwork
    from tokswap.hypernet.residual import ResidualNetwork

# Of RoBERTa: a buffer of older releases, and a table that nobody reads, which Flax files may leave out.
BUFFERS = ("model.embeddings.position_ids", "model.embeddings.token_type_ids")
UNREAD = "model.embeddings.word_embeddings.weight"
_ANOTHER = "download the hypernetwork again, or train one with `tokswap hypernet train`"


@dataclass(frozen=True)
class Hypernet:
    """A hypernetwork as it lies in a folder: the network in fp32 on the CPU, and its configuration."""

    config: HypernetConfig
    network: ZettNetwork | ResidualNetwork
    source: str = ""

    @property
    def parameters(self) -> int:
        """Numbers that it holds."""
        return sum(p.numel() for p in self.network.parameters())


def build_network(config: HypernetConfig) -> ZettNetwork | ResidualNetwork:
    """Return the network of a configuration with fresh weights."""
    from tokswap.hypernet.network import ZettNetwork
    from tokswap.hypernet.residual import ResidualNetwork

    return ResidualNetwork(config) if config.residual else ZettNetwork(config)


def shapes_of(config: HypernetConfig) -> dict[str, tuple[int, ...]]:
    """Return tensor name → shape of a configuration's checkpoint, without making a tensor."""
    import torch

    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_network(config).state_dict().items()}


def load_hypernet(folder: Path) -> Hypernet:
    """Read a hypernetwork.

    Raises TokswapError where a tensor is missing, has another shape than the configuration says or isn't finite, and
    for pickle weights, which are never opened.
    """
    import torch

    config = make_config(read_json(folder / "config.json"), f"{folder}/config.json")
    tensors = _checked(folder, config, _read(folder, config))
    with torch.device("meta"):
        network = build_network(config)
    network.load_state_dict(tensors, assign=True)
    return Hypernet(config, network.eval().requires_grad_(False), str(folder))


def write_hypernet(
    folder: Path, hypernet: Hypernet, *, flax: bool = False, state: Mapping[str, Tensor] | None = None
) -> None:
    """Write a hypernetwork: each file is the old one or the new one at every instant, the weights come last.

    Tensors of `state` stand in for the network's own of the same names.
    """
    from safetensors.torch import save

    held = {**hypernet.network.state_dict(), **(state or {})}
    tensors = {n: t.detach().float().cpu().contiguous() for n, t in held.items()}
    content = flax_bytes(tensors) if flax else save(tensors, metadata={"format": "pt"})
    config = json.dumps(hypernet.config.to_dict(), indent=2, ensure_ascii=False).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.json", config)
        write_whole(folder / (FLAX_NAME if flax else SINGLE_NAME), content)
    except OSError as error:
        raise TokswapError(
            f"{folder} can't be written: {error.strerror or error}", "make room, or choose another --out"
        ) from error


def _read(folder: Path, config: HypernetConfig) -> dict[str, Tensor]:
    if (folder / SINGLE_NAME).exists():
        return _read_safetensors(folder / SINGLE_NAME)
    if (folder / FLAX_NAME).exists():
        found = read_flax(folder / FLAX_NAME)
        if UNREAD not in found:
            import torch

            found[UNREAD] = torch.zeros(config.pad_token_id + 1, config.hn_hidden_size)
        return found
    pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickles:
        raise TokswapError(
            f"{folder} holds pickle weights only ({pickles[0]}), which can run code when they are loaded",
            f"take {SINGLE_NAME} or {FLAX_NAME} of the same hypernetwork",
        )
    raise TokswapError(f"{folder} has neither {SINGLE_NAME} nor {FLAX_NAME}", _ANOTHER)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    read_shard(path)  # says what is wrong with a damaged file; the library's own messages don't
    return load_file(path)


def _checked(folder: Path, config: HypernetConfig, found: dict[str, Tensor]) -> dict[str, Tensor]:
    wanted = shapes_of(config)
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise TokswapError(f"{folder} lacks {_some(missing)}", _ANOTHER)
    extra = sorted(set(found) - set(wanted) - set(BUFFERS))
    if extra:
        raise TokswapError(
            f"{folder} holds {_some(extra)}, which its config.json says nothing of",
            "take the config.json that belongs to these weights",
        )
    for name, shape in wanted.items():
        if tuple(found[name].shape) != shape:
            raise TokswapError(
                f"{folder} stores {name} as {list(found[name].shape)}, and its config.json asks for {list(shape)}",
                "take the config.json that belongs to these weights",
            )
        if not bool(found[name].isfinite().all()):
            raise TokswapError(f"{folder}: {name} holds numbers that are not finite", _ANOTHER)
    return {name: found[name].float() for name in wanted}


def _some(names: list[str]) -> str:
    return f"{len(names)} tensors, as {names[0]}" if len(names) > 1 else f"the tensor {names[0]}"


def described(hypernet: Hypernet) -> Mapping[str, Any]:
    """Return what a report says of a hypernetwork."""
    config = hypernet.config
    return {
        "hypernet": hypernet.source,
        "architecture": "residual" if config.residual else "zett",
        "start": config.start.method if config.residual else None,
        "parameters": hypernet.parameters,
        "longest_spelling": config.hn_surface_maxlen,
    }
