"""A checkpoint as lm-eval's model: what it asks is answered by the scorer and the generator that everything else uses.

An option's loss is that of its own tokens in the whole text. Tokenizers differ in where that begins: a space may belong
to the first word of an option, and its first letters to a token that began before it. So all options after one context
are scored from the last token border that their texts share with it, and a space at its end needs no care.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Arm, Tokenized, document_windows
from tokswap.evaluation.sample import continue_greedily
from tokswap.evaluation.score import Scored, score_documents
from tokswap.evaluation.spans import Window

if TYPE_CHECKING:
    from tokswap.evaluation.language_model import LanguageModel

PIECE_TOKENS = 32
"""Tokens that are written before a look whether a text that ends the answer is among them."""

MOST_TOKENS = 256
"""Tokens of an answer where the task says nothing, as in lm-eval."""

WINDOW_BYTES = 2048


class TaskModel:
    """The three questions of lm-eval (`lm_eval.api.model.LM`), answered by a language model."""

    def __init__(self, lm: LanguageModel, arm: Arm) -> None:
        self.lm = lm
        self.arm = arm

    def options(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Return log P(option | context) in nats, and whether it is the likeliest text, for (context, option) pairs."""
        documents = [self.arm.tokenize(context + option) for context, option in pairs]
        borders: dict[str, int] = {}
        for (context, _), document in zip(pairs, documents, strict=True):
            own = self.arm.tokenize(context).ids if context else np.zeros(0, dtype=np.int64)
            shared = min(_shared(own, document.ids), len(document.ids) - 1)
            borders[context] = min(borders.get(context, shared), shared)
        windows = [[self._window(len(d.ids), borders[c])] for (c, _), d in zip(pairs, documents, strict=True)]
        scored = self._score(documents, windows)
        return [
            (-float(s.nll[w.start :].sum()), bool(s.top[w.start :].all()))
            for s, (w,) in zip(scored, windows, strict=True)
        ]

    def texts(self, texts: Sequence[str]) -> list[float]:
        """Return the log-probability in nats of whole texts, in windows over their bytes."""
        documents = [self.arm.tokenize(text) for text in texts]
        windows = [document_windows(d, WINDOW_BYTES, WINDOW_BYTES // 2) for d in documents]
        return [-float(s.nll.sum()) for s in self._score(documents, windows)]

    def answer(self, prompt: str, how: Mapping[str, Any]) -> str:
        """Continue a prompt greedily until one of `how["until"]`, or any token that ends a text or a turn."""
        if how.get("do_sample") or float(how.get("temperature") or 0) > 0:
            raise TokswapError(
                "the task draws its answers at random", "take a task that is answered greedily"
            )
        until = how.get("until") or []
        stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
        left = int(how.get("max_gen_toks", how.get("max_new_tokens", MOST_TOKENS)))
        written, out = b"", ""
        while left > 0:
            piece = min(PIECE_TOKENS, left)
            # A character that the last piece cut is left out of the prompt: the model writes it again, whole.
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            whole = decoder.decode(written)
            written = written.removesuffix(decoder.getstate()[0])
            (ids,) = continue_greedily(
                self.lm, self.arm, [self._fitting(prompt + whole, piece)], tokens=piece
            )
            # A decoder may drop a space in front: the tokens' own bytes have it.
            written += b"".join(map(self.arm.vocab.bytes_of, ids))
            out = written.decode(errors="replace")
            found = [out.index(stop) for stop in stops if stop in out]
            if found:
                return out[: min(found)]
            if len(ids) < piece:
                break
            left -= piece
        return out

    def _score(self, documents: Sequence[Tokenized], windows: Sequence[Sequence[Window]]) -> list[Scored]:
        return score_documents(self.lm, documents, windows, start_id=self.arm.start_id)

    def _window(self, tokens: int, start: int) -> Window:
        """Read as much before the option as the model's positions allow."""
        most = self.arm.max_tokens or tokens + 1
        return Window(min(start, max(0, tokens + 1 - most)), start, tokens)

    def _fitting(self, prompt: str, more: int) -> str:
        """Drop the beginning of a prompt that leaves no positions for what is to be written."""
        if self.arm.max_tokens is None or not prompt:
            return prompt
        document = self.arm.tokenize(prompt)
        drop = len(document.ids) + 1 + more - self.arm.max_tokens
        if drop <= 0:
            return prompt
        return prompt.encode()[int(document.spans.ends[drop - 1]) :].decode(errors="ignore")


def _shared(one: Any, other: Any) -> int:
    """Return how many ids both begin with."""
    size = min(len(one), len(other))
    differ = np.flatnonzero(one[:size] != other[:size])
    return int(differ[0]) if len(differ) else size
