"""A vocabulary of the same size with useful tokens in the places of useless ones."""

from tokswap.replacing.replace import Learning, replace_in_checkpoint

__all__ = ["Learning", "replace_in_checkpoint"]
