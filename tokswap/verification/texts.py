"""Checks of what the tokenizer does: it loads, loses nothing, and its chat template speaks its own tokens."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tokswap.pretokenizers import gguf_name
from tokswap.report import Figure
from tokswap.tokenizer_traits import encode, lost_strings
from tokswap.verification.check import Finding, failed, first_of, not_checked, passed, warned
from tokswap.verification.subject import Subject
from tokswap.vocab import is_byte_level

# What any tokenizer keeps, whatever it does to case, spaces and accents.
PLAIN_TEXTS = (
    "Hello, world!",
    "def f(x): return x[0] + 42",
    "It's 3.14 % of 2024.",
    " ".join(map(str, range(1000))),
)
CHAT = (
    {"role": "user", "content": "What is a harbour?"},
    {"role": "assistant", "content": "A place for boats."},
    {"role": "user", "content": "And a pier?"},
)
# Spellings that only a control token has; `[INST]` and the like are ordinary text in some vocabularies.
CONTROL_TEXT = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|<｜[^<>｜\s]{1,40}｜>|<(?:start|end)_of_turn>|<(?:bos|eos)>|</?s>"
)


MOST_STEPS = 2_000_000
"""Lines of Python that rendering a template may take, compiling it included: real ones take some 100,000."""


def tokenizer_loads(subject: Subject) -> Finding:
    """AutoTokenizer loads the folder and encodes as its tokenizer.json does."""
    from tokswap.reload import disagreement

    if not subject.checkpoint.tokenizer:
        return failed("there is no tokenizer.json: a fast tokenizer can't be loaded without conversion")
    subject.engine  # noqa: B018 - refuses what the library can't load
    wrong = disagreement({name: _content(subject, name) for name in _READ})
    return (
        failed(f"AutoTokenizer doesn't do what tokenizer.json says: {wrong}")
        if wrong
        else passed("it loads as written")
    )


def round_trip(subject: Subject) -> Finding:
    """Texts come back from encoding and decoding; what a normaliser changes on purpose is told and no failure."""
    broken = [text for text in PLAIN_TEXTS if _folded(_back(subject, text)) != _folded(text)]
    lost = lost_strings(subject.engine)
    figure = Figure(len(lost), "strings", note="of those that are hard for tokenizers")
    if broken:
        shown = _back(subject, broken[0])
        return failed(f"{broken[0][:30]!r} comes back as {shown[:40]!r}", lost=figure)
    if lost:
        return warned(
            f"{len(lost)} hard strings don't come back exactly: {first_of(list(map(ascii, lost)))}",
            lost=figure,
        )
    return passed("every string comes back, hard ones too", lost=figure)


def chat_template(subject: Subject) -> Finding:
    """The chat template renders two turns, and the control tokens in it are tokens of this tokenizer."""
    text = rendered(subject)
    if isinstance(text, Finding):
        return text
    vocab = subject.vocab
    said = set(CONTROL_TEXT.findall(text))
    foreign = sorted(
        name
        for name in said
        if name not in vocab.id_of_text or encode(subject.engine, [name])[0] != [vocab.id_of_text[name]]
    )
    if foreign:
        return failed(
            f"the chat template writes {first_of(list(map(repr, foreign)))}, no token of this tokenizer"
        )
    lost = [turn["content"] for turn in CHAT if turn["content"] not in text]
    if lost:
        return failed(f"the chat template leaves out what was said: {first_of(list(map(repr, lost)))}")
    ids = encode(subject.engine, [text])[0]
    if max(ids, default=0) >= vocab.rows:
        return failed(f"a rendered conversation has id {max(ids):,}, and the model {vocab.rows:,} rows")
    return passed(f"two turns are rendered, in {len(ids)} tokens")


def gguf_pattern(subject: Subject) -> Finding:
    """llama.cpp knows how this tokenizer cuts text: it has the pattern only as a name."""
    tokenizer = subject.checkpoint.tokenizer
    if not is_byte_level(tokenizer):
        return passed("no byte-level BPE: nothing is cut by a pattern that llama.cpp would have to know")
    name = gguf_name(tokenizer.get("pre_tokenizer"))
    if name is None:
        return warned("text is cut by a pattern that is none of llama.cpp's: a GGUF would be cut otherwise")
    return passed(f"text is cut as llama.cpp's {name!r}")


def rendered(subject: Subject) -> str | Finding:
    """Return a conversation of two turns as the folder's template writes it, or why there is none."""
    if not subject.checkpoint.tokenizer_config.get("chat_template"):
        return not_checked("there is no chat template")
    import transformers

    try:
        tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            subject.checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
        with limited_steps(MOST_STEPS):
            return str(tokenizer.apply_chat_template(list(CHAT), tokenize=False))
    except Exception as error:  # a template is a program: it may raise anything
        first = next(iter(str(error).splitlines()), "")
        return failed(f"the chat template can't be rendered: {type(error).__name__}: {first}")


@contextmanager
def limited_steps(most: int) -> Generator[None]:
    """Raise TimeoutError in the block once it has run `most` lines of Python: a template is a program."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:  # noqa: ARG001 - what sys.settrace calls
        nonlocal count
        count += 1
        if count > most:
            raise TimeoutError(f"it doesn't end within {most:,} lines")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _back(subject: Subject, text: str) -> str:
    ids = encode(subject.engine, [text])[0]
    return str(subject.engine.decode(ids, skip_special_tokens=False)) if ids else ""


def _folded(text: str) -> str:
    """Return a text without what tokenizers change on purpose: case, spaces, accents, compatibility forms."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in apart if not c.isspace() and not unicodedata.combining(c))


_READ = ("config.json", "tokenizer.json", "tokenizer_config.json")


def _content(subject: Subject, name: str) -> bytes:
    path = subject.checkpoint.folder / name
    return path.read_bytes() if path.is_file() else b"{}"
