"""The tokens that a plan needs vectors of in an auxiliary space, and what those cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokswap.auxiliary.cost import Cost, auxiliary_cost

if TYPE_CHECKING:
    from tokswap.plan import Plan


def auxiliary_tokens(plan: Plan) -> list[bytes]:
    """Return the bytes of the base's rows, b"" for special tokens and holes, and then those of the new tokens."""
    vocab = plan.base_vocab
    ordinary = [b"" if vocab.is_special(row) else vocab.bytes_of(row) for row in range(vocab.rows)]
    return ordinary + [plan.new_vocab.bytes_of(int(i)) for i in plan.alignment.new_ids]


def planned_auxiliary(plan: Plan) -> Cost:
    """Return at most what the vectors of a plan's auxiliary space take."""
    return auxiliary_cost(plan.recipe.auxiliary, auxiliary_tokens(plan))
