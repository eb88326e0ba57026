"""A smaller vocabulary for the same model: what a text does not need is dropped, every row that stays is copied."""

from tokswap.trimming.corpus import Corpus, open_corpora
from tokswap.trimming.trim import Size, trim_checkpoint

__all__ = ["Corpus", "Size", "open_corpora", "trim_checkpoint"]
