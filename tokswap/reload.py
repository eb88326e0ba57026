"""Does the new tokenizer do in transformers what its tokenizer.json says? Asked before anything is put in place.

For some model types (qwen2 in transformers 5) AutoTokenizer builds a class of its own from parts of tokenizer.json,
with its own pattern and normaliser, whatever tokenizer_config.json says: a checkpoint that loads and is silently
wrong. An `auto_map` entry without classes makes it read the file as it is.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokswap.errors import TokswapError
from tokswap.graft import as_json
from tokswap.tokenization import load_tokenizer

# Where patterns, normalisers and special handling of tokenizers differ from one another.
PROBES = (
    "Hello, world! It's 2024-11-05, isn't it?",
    "  indented\n\n\n\tby tabs   and    spaces \r\n",
    "def f(x):\n    return x[0:10] + 1234567890  # œuvre naïve café",
    "日本語のテキストと한국어, русский текст, ελληνικά, العربية, हिन्दी",
    "e\u0301 ﬁ ½ Ⅳ “quotes” — … \u00a0nbsp\u200bzero",
    "🙂👩‍👩‍👧‍👦 <|im_start|>user </s> <bos> [INST]",
)
SPACE = re.compile("[Ġ▁]")  # as byte-level and SentencePiece tokenizers spell it
INNER_SPACE = re.compile("[A-Za-z,.][Ġ▁][A-Za-z]")
MOST_SUPERWORDS = 50
READS_THE_FILE: Mapping[str, Any] = {
    "AutoTokenizer": ["", ""]
}  # no names; None is what transformers 4 chokes on


def settled_tokenizer_config(files: Mapping[str, bytes]) -> tuple[bytes, list[str]]:
    """Return the tokenizer_config.json with which transformers encodes as tokenizer.json does, and warnings.

    `files` are a checkpoint's config.json, tokenizer.json and tokenizer_config.json.
    """
    given = files["tokenizer_config.json"]
    wrong = disagreement(files)
    if not wrong:
        return given, []
    mapped = as_json({**json.loads(given), "auto_map": READS_THE_FILE})
    if not disagreement({**files, "tokenizer_config.json": mapped}):
        return mapped, []
    return given, [
        f"AutoTokenizer does not follow tokenizer.json ({wrong}): load it with PreTrainedTokenizerFast"
    ]


def disagreement(files: Mapping[str, bytes]) -> str:
    """Say on which text AutoTokenizer differs from tokenizer.json, or fails; "" where they agree on all probes."""
    from transformers import AutoTokenizer

    expected = load_tokenizer(json.loads(files["tokenizer.json"]), "the new tokenizer")
    with tempfile.TemporaryDirectory(prefix="tokswap-") as folder:
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            (Path(folder) / name).write_bytes(files[name])
        try:
            loaded: Any = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            for probe in (*PROBES, *superwords(expected.get_vocab())):
                if list(loaded(probe).input_ids) != expected.encode(probe).ids:
                    return f"it reads {probe[:20]!r} otherwise"
        except Exception as error:  # whatever transformers raises, the answer is the same
            return f"it fails with {type(error).__name__}"
    return ""


def superwords(vocab: Mapping[str, int], most: int = MOST_SUPERWORDS) -> list[str]:
    """Return texts of tokens that hold a space between words, the last ones of a vocabulary (spelling → id).

    Whoever cuts at words before merging never yields them, which no other probe shows.
    """
    found = [(i, SPACE.sub(" ", text)) for text, i in vocab.items() if INNER_SPACE.search(text)]
    return [text for _, text in sorted(found)[-most:]]


def check_ids(tokenizer: Mapping[str, Any], rows: int) -> None:
    """Encode the probes and raise TokswapError for an id that the matrix has no row for."""
    engine = load_tokenizer(tokenizer, "the new tokenizer")
    highest = max((i for probe in PROBES for i in engine.encode(probe).ids), default=0)
    if highest >= rows:
        raise TokswapError(
            f"the new tokenizer emits id {highest:,}, and the model has {rows:,} rows",
            "give more rows with --pad-vocab-to",
        )
