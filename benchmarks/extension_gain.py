"""Bytes a token of a tokenizer in use before and after it is extended, within words and across them.

    python benchmarks/extension_gain.py --add 2000 8000 --max-words 1 4

Learnt from every sixth 100 kB of the four English collections of supertokens_gain.py; held out are their ends and the
English prose that comes with tokswap, of which nothing like it is in the training.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supertokens_gain import compression, parted_texts

from tokswap.sources import open_source
from tokswap.supertokens.extend import extend_bpe
from tokswap.vocab import vocab_of

OUT = Path(__file__).parent / "results" / "extension-gain.json"
EVERY = 3
"""Of the parts that parted_texts trains on, which are every other one."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--add", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--max-words", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--texts", type=Path, help="also write what is learnt from to this file")
    given = parser.parse_args()
    blocks, held_out = parted_texts()
    blocks = blocks[::EVERY]
    if given.texts:
        given.texts.write_text("".join(blocks), encoding="utf-8")
    base = open_source(given.base, only_tokenizer=True)
    results: dict[str, Any] = {
        "training_bytes": sum(len(block.encode()) for block in blocks),
        "before": compression(base.tokenizer, held_out),
    }
    for max_words in given.max_words:
        for add in given.add:
            start = time.process_time()
            found = extend_bpe(
                base.tokenizer, vocab_of(base), blocks, add, max_words=max_words, most_bytes=1_000_000_000
            )
            name = f"{add:,} tokens of up to {max_words} words" if max_words > 1 else f"{add:,} within words"
            results[name] = {
                "cpu_seconds": round(time.process_time() - start, 1),
                "saved": round(float(found.saved.sum() / found.tokens), 4),
                **compression(found.tokenizer, held_out),
            }
            given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results, list(held_out)))


def table(results: Mapping[str, Any], texts: list[str]) -> str:
    columns = [name for name in results if "words" in name]
    lines = ["| held out | before | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for text in texts:
        before = results["before"][text]
        cells = [f"{results[name][text]:.2f} ({results[name][text] / before - 1:+.1%})" for name in columns]
        lines.append(f"| {text} | {before:.2f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
