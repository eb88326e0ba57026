"""tokswap: move a language model onto another tokenizer, and say honestly what it cost."""

__version__ = "0.1.0"
