"""What a model predicts, in figures that are comparable across tokenizers."""
