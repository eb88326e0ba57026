"""A vocabulary of the same size with useful tokens in the places of useless ones."""

from tokswap.replacing.plan import check_fields
from tokswap.replacing.replace import Learning, replace_in_checkpoint

__all__ = ["Learning", "check_fields", "replace_in_checkpoint"]
