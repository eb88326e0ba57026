"""A generative probe: what a transplanted model writes, beside what its base writes after the same prompts.

Bits per byte judge a model on texts that people wrote. A model that draws too much probability for a few new tokens
can look tolerable there and still write nothing but those tokens. So both models continue some prompts greedily, and
figures say whether the text is of new tokens only, goes in circles, reads to the base like a text, or holds tokens
that come whatever was asked.
"""

from __future__ import annotations

import codecs
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.evaluation.arm import Arm, document_windows
from tokswap.evaluation.sample import continue_greedily
from tokswap.evaluation.score import score_documents
from tokswap.evaluation.texts import default_texts
from tokswap.report import Figure

if TYPE_CHECKING:
    from tokswap.evaluation.language_model import LanguageModel

MOST_TOKENS = 64
"""Tokens of a continuation: enough to fall into a loop, and 16 prompts take a CPU well under a minute."""

MOST_BYTES = 160
"""Bytes of a continuation that are compared: both models write that much in 64 tokens of most languages."""

LOOP_BYTES = 16
"""Bytes of a run that counts as repeated when it stood in the text before: about four tokens, as in seq-rep-4."""

ALWAYS_SHARE, RARELY_SHARE = 0.5, 0.125
"""Shares of the continuations: a token is always emitted when it stands in that many, and in the base's hardly."""

MOST_NAMED = 20
"""Always-emitted tokens that are named."""


@dataclass(frozen=True)
class Written:
    """What one model wrote after each prompt, as far as it is compared: ids and text."""

    prompts: tuple[str, ...]
    ids: tuple[list[int], ...]
    texts: tuple[str, ...]


def default_prompts() -> tuple[str, ...]:
    """Return the prompts that come with tokswap: prose, code and numbers in several languages."""
    return tuple(d.rstrip("\n") for text in default_texts("prompts").values() for d in text.documents)


def write_on(lm: LanguageModel, arm: Arm, prompts: Sequence[str], *, tokens: int = MOST_TOKENS) -> Written:
    """Let a model continue prompts greedily."""
    ids = [_first(arm, its) for its in continue_greedily(lm, arm, prompts, tokens=tokens)]
    return Written(tuple(prompts), tuple(ids), tuple(_text(arm, its) for its in ids))


def bits_of(
    lm: LanguageModel, arm: Arm, written: Written, window_bytes: int, stride_bytes: int
) -> float | None:
    """Return a model's bits per byte of what was written, each text after its prompt; None where nothing was."""
    pairs = [(p, t) for p, t in zip(written.prompts, written.texts, strict=True) if t]
    if not pairs:
        return None
    documents = [arm.tokenize(prompt + text) for prompt, text in pairs]
    windows = [document_windows(document, window_bytes, stride_bytes) for document in documents]
    scored = score_documents(lm, documents, windows, start_id=arm.start_id)
    nats = [s.byte_nll[len(p.encode()) :].sum() for s, (p, _) in zip(scored, pairs, strict=True)]
    return float(sum(nats)) / (sum(len(text.encode()) for _, text in pairs) * math.log(2))


def probe_figures(
    arm: Arm,
    model: Written,
    base: Written | None,
    new_ids: NDArray[np.int64] | None,
    bits: tuple[float | None, float | None] = (None, None),
) -> dict[str, Figure]:
    """Return the figures of a probe; `arm` is the model's, `bits` the base's bits per byte of both its texts."""
    written = [model] if base is None else [model, base]
    out = {
        f"{who}greedy_text_repetition": Figure(repetition(its.texts), "share", note=_LOOP_NOTE)
        for who, its in zip(("", "base_"), written, strict=False)
    }
    for who, value in zip(("", "base_"), bits, strict=True):
        if value is not None:
            out[f"{who}greedy_text_bits"] = Figure(value, "bits/byte", note="the base's, of this text")
    if base is None or new_ids is None:
        return out
    others = _as_ids(arm, base.texts)
    out["greedy_text_new_share"] = Figure(_share(model.ids, new_ids), "share", note="of the tokens written")
    out["base_greedy_text_new_share"] = Figure(
        _share(others, new_ids), "share", note="of the base's text in the new tokens"
    )
    out["always_emitted_tokens"] = Figure(len(always_emitted(model.ids, others)), "tokens", note=_ALWAYS_NOTE)
    return out


def probe_facts(arm: Arm, model: Written, base: Written | None) -> dict[str, Any]:
    """Return the texts, and the tokens that are always emitted, as far as they are named."""
    texts = [{"prompt": p, "model": t} for p, t in zip(model.prompts, model.texts, strict=True)]
    if base is None:
        return {"continuations": texts}
    found = always_emitted(model.ids, _as_ids(arm, base.texts))[:MOST_NAMED]
    return {
        "continuations": [one | {"base": t} for one, t in zip(texts, base.texts, strict=True)],
        "always_emitted": [arm.vocab.bytes_of(i).decode("utf-8", "replace") for i in found],
    }


def repetition(texts: Iterable[str]) -> float:
    """Return the share of 16-byte runs that stood before in the same text (Welleck et al. 2019, over bytes).

    >>> repetition(["abcdefghijklmnop" * 3])
    0.5151515151515151
    """
    repeated = total = 0
    for text in texts:
        content = text.encode()
        runs = [content[i : i + LOOP_BYTES] for i in range(len(content) - LOOP_BYTES + 1)]
        repeated += len(runs) - len(set(runs))
        total += len(runs)
    return repeated / total if total else 0.0


def always_emitted(model: Sequence[Sequence[int]], base: Sequence[Sequence[int]]) -> list[int]:
    """Return the ids that stand in at least half of the model's texts, and in an eighth at most of the base's.

    Both in the model's ids; the most frequent first.
    """
    mine, others = (Counter(i for ids in its for i in set(ids)) for its in (model, base))
    return [
        i
        for i, count in mine.most_common()
        if count >= ALWAYS_SHARE * len(model) and others[i] <= RARELY_SHARE * len(base)
    ]


def _first(arm: Arm, ids: Sequence[int]) -> list[int]:
    """Return the ids within the bytes that are compared."""
    ends = accumulate(len(arm.vocab.bytes_of(i)) for i in ids)
    return [i for i, end in zip(ids, ends, strict=True) if end <= MOST_BYTES]


def _text(arm: Arm, ids: Sequence[int]) -> str:
    """Return exact text (a decoder may drop a first space), without a last character that is not complete."""
    content = b"".join(map(arm.vocab.bytes_of, ids))
    return codecs.getincrementaldecoder("utf-8")("replace").decode(content)


def _as_ids(arm: Arm, texts: Iterable[str]) -> list[list[int]]:
    return [arm.tokenize(text).ids.tolist() if text else [] for text in texts]


def _share(ids: Sequence[Sequence[int]], new_ids: NDArray[np.int64]) -> float:
    flat = np.asarray([i for its in ids for i in its], dtype=np.int64)
    return float(np.isin(flat, new_ids).mean()) if len(flat) else 0.0


_LOOP_NOTE = f"of runs of {LOOP_BYTES} bytes"
_ALWAYS_NOTE = "in half of the texts and hardly in the base's"
