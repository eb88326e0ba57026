"""Tokenizers whose tokens are longer than words, trained from text."""
