"""What is trained beside a frozen model: steps of some embedding rows, and low-rank steps of the body's linear layers.

Everything is added by hooks, so that the model's own tensors and names stay as they are and one switch gives the
model back untouched. LoRA is arXiv 2106.09685; a row's step is the same idea for a table of which few rows are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Parameter

INPUT, OUTPUT = "rows.input", "rows.output"
DOWN, UP = ".down", ".up"


class Adapters:
    """The trained parameters by name, in fp32, and the switch `on` that decides whether the model feels them.

    `rows.input` and `rows.output` are Float[m d], steps of the rows `ids` Int[m] (one parameter where the model is
    tied, or where it has one table to train); `NAME.down` Float[r in] and `NAME.up` Float[out r] belong to the linear
    layer NAME. All steps are 0 at the start.
    """

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids
        self.on = True
        self.parameters: dict[str, Parameter] = {}
        self.output_places: Tensor | None = None
        """Where the rows are while the output layer has only some rows of its table."""

    def add_rows(self, model: Any) -> None:
        """Train the rows `ids` of the model's input and output embedding."""
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        weight = embedding.weight
        embedding.padding_idx = (
            None  # it would keep one row's step at 0, whichever has that place in the small table
        )
        place = _places(self.ids, len(weight)).to(weight.device)
        ids = self.ids.to(weight.device)
        step = _zeros(len(ids), weight.shape[1], weight.device)
        self.parameters[INPUT] = step
        if head.weight is not weight:
            step = _zeros(len(ids), weight.shape[1], head.weight.device)
            self.parameters[OUTPUT] = step
        embedding.register_forward_hook(self._input_hook(place))
        head.register_forward_hook(self._output_hook(ids.to(head.weight.device), step))

    def add_body(self, layers: Mapping[str, Any], rank: int, seed: int) -> None:
        """Train low-rank steps of linear layers, by the name of each."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        for name, layer in layers.items():
            wide, tall = shape_of(layer)
            r = min(rank, wide, tall)
            down = torch.randn(r, wide, generator=generator) / wide**0.5
            self.parameters[name + DOWN] = torch.nn.Parameter(down.to(layer.weight.device))
            self.parameters[name + UP] = _zeros(tall, r, layer.weight.device)
            layer.register_forward_hook(self._body_hook(name))

    def row_step(self, output: bool) -> Tensor:
        """Return Float[m d]: what is added to the rows `ids` of the output or the input table."""
        return self.parameters.get(OUTPUT if output else INPUT, self.parameters[INPUT]).detach()

    def body_step(self, name: str) -> Tensor:
        """Return Float[out in]: what is added to a linear layer's weight."""
        return (self.parameters[name + UP] @ self.parameters[name + DOWN]).detach()

    @property
    def body_names(self) -> tuple[str, ...]:
        """Names of the linear layers that are trained."""
        return tuple(name.removesuffix(UP) for name in self.parameters if name.endswith(UP))

    def _input_hook(self, place: Tensor) -> Callable[..., Tensor | None]:
        import torch
        from torch.func import functional_call

        busy = False

        def hook(module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
            nonlocal busy
            if busy or not self.on:
                return None
            step = self.parameters[INPUT]
            table = torch.cat([step.new_zeros(1, step.shape[1]), step])
            busy = True  # the module is called once more, by its own class: Gemma's scales what it looks up
            try:
                return out + functional_call(module, {"weight": table}, (place[args[0]],)).to(out.dtype)
            finally:
                busy = False

        return hook

    def _output_hook(self, ids: Tensor, step: Tensor) -> Callable[..., Tensor | None]:
        def hook(_module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
            if not self.on:
                return None
            places = ids if self.output_places is None else self.output_places
            added = (args[0] @ step.to(args[0].dtype).T).to(out.dtype)
            # Without gradients nothing else holds these logits, and a copy of them is what takes the time.
            return (
                out.index_add(-1, places, added)
                if out.requires_grad or added.requires_grad
                else out.index_add_(-1, places, added)
            )

        return hook

    def _body_hook(self, name: str) -> Callable[..., Tensor | None]:
        def hook(_module: Any, args: tuple[Any, ...], out: Tensor) -> Tensor | None:
            if not self.on:
                return None
            x = args[0]
            down, up = (self.parameters[name + end].to(x.dtype) for end in (DOWN, UP))
            return out + (x @ down.T) @ up.T

        return hook


def linear_layers(model: Any) -> dict[str, Any]:
    """Return the linear layers of a model's body by name: all but the output layer."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    kinds = (torch.nn.Linear, Conv1D)
    return {n: m for n, m in model.named_modules() if isinstance(m, kinds) and m is not head}


def shape_of(layer: Any) -> tuple[int, int]:
    """Return (in, out) of a linear layer; GPT-2's stores its weight the other way round."""
    a, b = layer.weight.shape
    return (a, b) if is_transposed(layer) else (b, a)


def is_transposed(layer: Any) -> bool:
    """Whether a layer stores its weight as (in, out)."""
    import torch

    return not isinstance(layer, torch.nn.Linear)


def _zeros(rows: int, width: int, device: torch.device) -> Parameter:
    import torch

    return torch.nn.Parameter(torch.zeros(rows, width, device=device))


def _places(ids: Tensor, rows: int) -> Tensor:
    """Return Int[rows]: 1 + the place of each of `ids`, 0 for all other rows."""
    import torch

    out = torch.zeros(rows, dtype=torch.long)
    out[ids] = torch.arange(1, len(ids) + 1)
    return out
