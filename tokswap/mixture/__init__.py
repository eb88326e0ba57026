"""What a BPE tokenizer says about its training data: data mixture inference (arXiv:2407.16607)."""
