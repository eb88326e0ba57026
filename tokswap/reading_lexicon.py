"""The inner lexicon as a stage: new tokens of the texts get input rows from how the base reads their pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tokswap.initialise import Embeddings
from tokswap.inner_states import InnerReading
from tokswap.judging import Judge, Judged, best_of
from tokswap.lexicon import fit_lexicon
from tokswap.refit import Evidence

# How much of a row is the lexicon's, from the least on; the rest is what the method made.
SHARES = (0.25, 0.5, 1.0)
# Fewer known tokens than this are no sample to fit a map to.
FEWEST_KNOWN = 50


def read_lexicon(
    judge: Judge,
    made: Embeddings,
    start: Embeddings,
    reading: InnerReading,
    finished: Callable[[Embeddings], Embeddings],
) -> Judged:
    """Mix the lexicon's rows into the input rows `made`; kept where held-out text gains over `start`.

    `finished` does to output rows what was done to those of `start`: in a tied matrix they have changed too.
    """
    if len(reading.misses) < FEWEST_KNOWN:
        return Judged(
            start, f"no inner lexicon: the text has {len(reading.misses)} known tokens to learn from"
        )

    def mixed(_evidence: Evidence) -> Iterator[tuple[float, Embeddings]]:
        lexicon = fit_lexicon(reading.known, reading.misses)
        rows = reading.means + lexicon(reading.new[lexicon.layer])
        for share in SHARES:
            table = made.input.clone()
            old = table[reading.ids].float()
            table[reading.ids] = (old + share * (rows - old)).to(table.dtype)
            yield share, finished(replace(made, input=table))

    return best_of(judge, start, mixed, "no inner lexicon", "the inner lexicon")
