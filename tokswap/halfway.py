"""A model's states after some of its layers, without the rest of the way: the output layer is often most of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class _EnoughError(Exception):
    """Raised to leave a forward pass; no failure."""


def states_before(model: Any, layer: int, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the states (B, T, d) that go into layer number `layer`, from ids and mask (B, T).

    Where a model's layers can't be told apart, it is read to its end.
    """
    found = _layers(model)
    if not 0 <= layer < len(found):
        out = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True)
        return out.hidden_states[layer]
    caught: list[Tensor] = []

    def catch(_module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught.append(args[0] if args else named["hidden_states"])
        raise _EnoughError

    handle = found[layer].register_forward_pre_hook(catch, with_kwargs=True)
    try:
        model(input_ids=ids, attention_mask=mask, use_cache=False)
    except _EnoughError:
        pass
    finally:
        handle.remove()
    return caught[0]


def _layers(model: Any) -> list[Any]:
    """Return the body's layers in order, or nothing where there are more or fewer than the model says."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    found = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    return found if len(found) == model.config.get_text_config().num_hidden_layers else []
