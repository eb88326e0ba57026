"""Exact probabilities of bytes from models over tokens (Phan et al. 2024, arXiv:2410.09303).

    model = byte_model(open_source("smollm2"))
    model.next_byte(b"The harb").probabilities[ord("o")]
    continue_bytes(model, b"The harb", most_bytes=20, temperature=0)
    Ensemble([model, byte_model(open_source("gemma3"))]).next_byte(b"The harb")

Importing this imports neither torch nor transformers.
"""

from tokswap.bytewise.predict import END, ByteModel, NextByte, PredictsBytes, byte_model
from tokswap.bytewise.sample import Ensemble, continue_bytes

__all__ = ["END", "ByteModel", "Ensemble", "NextByte", "PredictsBytes", "byte_model", "continue_bytes"]
