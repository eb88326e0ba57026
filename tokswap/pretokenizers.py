"""Pre-tokenizers of byte-level BPE by the names that GGUF files and model families use.

A byte-level BPE is more than its merges: how text is cut before merging decides which merges can ever
happen. GGUF files store only a name for it (`tokenizer.ggml.pre`), tiktoken files nothing at all. The
patterns here are those of the families' published tokenizer.json files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def _cased(end: str) -> str:
    """Words cut where the case changes: capitals then small letters, or capitals alone, then `end`."""
    lead = r"[^\r\n\p{L}\p{N}]?"
    return f"{lead}{_UPPER}*{_LOWER}+{end}|{lead}{_UPPER}+{_LOWER}*{end}"


QWEN2_PATTERN = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}|{_SIGNS}[\r\n]*|{_TAIL}"
QWEN35_PATTERN = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_TAIL}"
)
LLAMA3_PATTERN = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_SIGNS}[\r\n]*|{_TAIL}"
O200K_PATTERN = rf"{_cased(_CONTRACTIONS + '?')}|\p{{N}}{{1,3}}|{_SIGNS}[\r\n/]*|{_TAIL}"
TEKKEN_PATTERN = rf"{_cased('')}|\p{{N}}|{_SIGNS}[\r\n/]*|{_TAIL}"
_DEEPSEEK3_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_TAIL}"
)


@dataclass(frozen=True)
class PreTokenizer:
    """How a byte-level BPE prepares text: normaliser, splits in order, then bytes.

    `gpt2` says that the byte step itself splits by GPT-2's pattern; `whole_first` is `ignore_merges`:
    a piece that is a token as a whole is taken without merging.
    """

    splits: tuple[Json, ...] = ()
    gpt2: bool = False
    nfc: bool = False
    whole_first: bool = False

    def normalizer(self) -> Json | None:
        """Return the `normalizer` entry of tokenizer.json."""
        return {"type": "NFC"} if self.nfc else None

    def pre_tokenizer(self) -> Json:
        """Return the `pre_tokenizer` entry of tokenizer.json."""
        byte_step = byte_level(use_regex=self.gpt2)
        return {"type": "Sequence", "pretokenizers": [*self.splits, byte_step]} if self.splits else byte_step


def byte_level(*, use_regex: bool) -> Json:
    """Return the step that writes bytes as the 256 printable characters of GPT-2's alphabet."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split(pattern: str) -> Json:
    """Return a step that cuts text into the matches of a regular expression and what lies between."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_EVERY_DIGIT: Json = {"type": "Digits", "individual_digits": True}

GPT2 = PreTokenizer(gpt2=True)
DIGITS_GPT2 = PreTokenizer(splits=(_EVERY_DIGIT,), gpt2=True)
QWEN2 = PreTokenizer(splits=(split(QWEN2_PATTERN),), nfc=True)
QWEN35 = PreTokenizer(splits=(split(QWEN35_PATTERN),), nfc=True)
CL100K = PreTokenizer(splits=(split(LLAMA3_PATTERN),))
LLAMA3 = PreTokenizer(splits=(split(LLAMA3_PATTERN),), whole_first=True)
O200K = PreTokenizer(splits=(split(O200K_PATTERN),))
TEKKEN = PreTokenizer(splits=(split(TEKKEN_PATTERN),), whole_first=True)
DEEPSEEK3 = PreTokenizer(splits=(split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(_DEEPSEEK3_WORDS)))

# What `tokenizer.ggml.pre` says, for the families whose tokenizer.json is known. A name that is not here
# gets GPT-2's pattern and a warning.
BY_GGUF_NAME: dict[str, PreTokenizer] = {
    "gpt-2": GPT2,
    "phi-2": GPT2,
    "mpt": GPT2,
    "olmo": GPT2,
    "roberta-bpe": GPT2,
    "jais": GPT2,
    "smollm": DIGITS_GPT2,
    "starcoder": DIGITS_GPT2,
    "refact": DIGITS_GPT2,
    "command-r": DIGITS_GPT2,
    "codeshell": DIGITS_GPT2,
    "qwen2": QWEN2,
    "deepseek-r1-qwen": QWEN2,
    "qwen35": QWEN35,
    "llama-bpe": LLAMA3,
    "llama3": LLAMA3,
    "llama-v3": LLAMA3,
    "dbrx": CL100K,
    "smaug-bpe": LLAMA3,
    "gpt-4o": O200K,
    "llama4": O200K,
    "tekken": TEKKEN,
    "deepseek-v3": DEEPSEEK3,
}


def gguf_name(pre_tokenizer: Any) -> str | None:
    """Return a name under which GGUF knows a `pre_tokenizer` entry of tokenizer.json, None where it knows none."""
    given = _steps(pre_tokenizer)
    return next(
        (name for name, known in BY_GGUF_NAME.items() if _steps(known.pre_tokenizer()) == given), None
    )


def _steps(pre_tokenizer: Any) -> list[tuple[Any, ...]]:
    """Return what decides where text is cut, step by step; a byte step that cuts nothing is left out."""
    if not isinstance(pre_tokenizer, dict):
        return []
    if pre_tokenizer.get("type") == "Sequence":
        return [step for part in pre_tokenizer.get("pretokenizers") or [] for step in _steps(part)]
    if pre_tokenizer.get("type") == "ByteLevel":
        return [("ByteLevel",)] if pre_tokenizer.get("use_regex", True) else []
    if pre_tokenizer.get("type") == "Split":
        pattern = pre_tokenizer.get("pattern") or {}
        return [
            ("Split", pattern.get("Regex"), pre_tokenizer.get("behavior"), bool(pre_tokenizer.get("invert")))
        ]
    return [(pre_tokenizer.get("type"), pre_tokenizer.get("individual_digits"))]
