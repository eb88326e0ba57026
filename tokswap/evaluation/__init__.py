"""What a model predicts, in figures that are comparable across tokenizers.

    report = evaluate(model, default_texts(), against=base)
    failed, sentence = gate(report, "bpb>1.10x")

Importing this imports neither torch nor transformers.
"""

from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.gate import gate
from tokswap.evaluation.shared_prefix import shared_prefix_check
from tokswap.evaluation.texts import Text, default_texts, load_texts

__all__ = ["Text", "default_texts", "evaluate", "gate", "load_texts", "shared_prefix_check"]
