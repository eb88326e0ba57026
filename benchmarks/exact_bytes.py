"""What exact byte probabilities cost beside plain scoring: bits per byte and CPU seconds of both, in one process.

python benchmarks/exact_bytes.py --model smollm2 --text english --bytes 1000
"""

from __future__ import annotations

import argparse
import math
import time

from tokswap.bytewise.codec import make_codec
from tokswap.bytewise.score import score_bytes
from tokswap.evaluation.arm import document_windows, open_arm
from tokswap.evaluation.language_model import load_language_model
from tokswap.evaluation.score import score_documents
from tokswap.evaluation.texts import default_texts
from tokswap.sources import open_source

WINDOW_BYTES = 2048


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--text", default="english", choices=default_texts())
    parser.add_argument("--bytes", type=int, default=1000)
    given = parser.parse_args()
    checkpoint = open_source(given.model)
    arm = open_arm(checkpoint)
    codec = make_codec(checkpoint.tokenizer, arm.vocab)
    lm = load_language_model(arm.folder, known_ids=arm.vocab.ids, device="cpu", dtype="float32")
    documents = [arm.tokenize(text) for text in default_texts()[given.text].first(given.bytes).documents]
    windows = [document_windows(document, WINDOW_BYTES, WINDOW_BYTES // 2) for document in documents]
    score_documents(lm, documents, windows, start_id=arm.start_id)  # the first pass through a model is slower
    start = time.process_time()
    plain = sum(float(s.nll.sum()) for s in score_documents(lm, documents, windows, start_id=arm.start_id))
    middle = time.process_time()
    exact = sum(float(nll.sum()) for nll in score_bytes(lm, codec, documents, windows, start_id=arm.start_id))
    end = time.process_time()
    bits = given.bytes * math.log(2)
    print(f"{given.bytes} bytes, {sum(len(d.ids) for d in documents)} tokens")
    print(f"plain: {plain / bits:.4f} bits per byte, {middle - start:.2f} CPU s")
    print(f"exact: {exact / bits:.4f} bits per byte, {end - middle:.2f} CPU s")


if __name__ == "__main__":
    main()
