from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from taught_pairs import made

from tokswap.checkpoint import open_checkpoint
from tokswap.healing.adapters import Adapters
from tokswap.healing.writing import Merged, stored_names

LAYERS = ("self_attn.q_proj", "mlp.up_proj")


def layers_of(folder: Path) -> dict[str, torch.nn.Linear]:
    stored = load_file(folder / "model.safetensors")
    out: dict[str, torch.nn.Linear] = {}
    for name in (f"model.layers.{i}.{end}" for i in (0, 1) for end in LAYERS):
        weight = stored[f"{name}.weight"]
        out[name] = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        out[name].weight.data.copy_(weight)
    return out


def test_names_in_memory_are_found_on_disk_by_what_they_hold(tmp_path: Path) -> None:
    _, moved = made(tmp_path)
    layers = layers_of(moved)
    assert stored_names(open_checkpoint(moved), layers) == {f"{name}.weight": name for name in layers}

    # As wrapped models are stored: another beginning, and a tower whose layers have the same ends.
    stored = load_file(moved / "model.safetensors")
    wrapped = {name.replace("model.", "language_model.model.", 1): t for name, t in stored.items()}
    q = wrapped["language_model.model.layers.0.self_attn.q_proj.weight"]
    wrapped["vision.encoder.layers.0.self_attn.q_proj.weight"] = torch.ones_like(q)
    save_file(wrapped, moved / "model.safetensors", metadata={"format": "pt"})
    found = stored_names(open_checkpoint(moved), layers)
    assert found == {f"language_{name.replace('model', 'model.model', 1)}.weight": name for name in layers}

    layers["model.layers.1.mlp.up_proj"].weight.data += 1  # stored in pieces, or elsewhere: not this tensor
    assert "model.layers.1.mlp.up_proj" not in stored_names(open_checkpoint(moved), layers).values()


def test_merged_tensors_are_made_when_asked_for_and_change_only_the_trained_rows(tmp_path: Path) -> None:
    _, folder = made(tmp_path, tie_word_embeddings=False)
    moved = open_checkpoint(folder)
    ids = torch.tensor([5, 90])
    adapters = Adapters(ids)
    adapters.parameters = {
        "rows.input": torch.nn.Parameter(torch.full((2, 32), 0.5)),
        "rows.output": torch.nn.Parameter(torch.full((2, 32), -2.0)),
        "up.down": torch.nn.Parameter(torch.ones(1, 32)),
        "up.up": torch.nn.Parameter(torch.arange(48.0)[:, None]),
    }
    name = "model.layers.0.mlp.up_proj.weight"
    merged = Merged(moved, adapters, {name: ("up", False)})
    assert set(merged) == {moved.input_name, moved.output_name, name} and len(merged) == 3
    for table, step in ((moved.input_name, 0.5), (moved.output_name, -2.0)):
        gap = merged[str(table)] - moved.read(str(table))
        assert torch.allclose(gap[ids], torch.full((2, 32), step), atol=1e-6)
        gap[ids] = 0
        assert not gap.any()
    assert torch.allclose(
        merged[name] - moved.read(name), torch.arange(48.0)[:, None].expand(48, 32), atol=1e-5
    )
    turned = Merged(moved, adapters, {"model.layers.0.mlp.down_proj.weight": ("up", True)})
    gap = turned["model.layers.0.mlp.down_proj.weight"] - moved.read("model.layers.0.mlp.down_proj.weight")
    assert torch.allclose(gap, torch.arange(48.0).expand(32, 48), atol=1e-5)
