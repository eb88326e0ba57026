"""A smaller vocabulary for the same model: what a text does not need is dropped, every row that stays is copied."""

from tokswap.trimming.trim import Size, trim_checkpoint

__all__ = ["Size", "trim_checkpoint"]
