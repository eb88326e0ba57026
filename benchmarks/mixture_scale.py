"""Time and memory of the linear program at sizes for which texts are hard to come by: made-up languages.

    python benchmarks/mixture_scale.py --categories 116 --merges 30000 --words 20000 --tokens 1000000

Each language has letters of one of some scripts, words by its own rule of letters, and Zipf's law; related languages
share words. The tokenizer is trained on one draw from the languages and the counts are of another.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokswap.mixture.program import solve
from tokswap.mixture.replay import replay
from tokswap.mixture.types import MergeList, WordCounts

LETTERS = 30
LONGEST = 12
LINE = 2000  # words


def words_of(draw: np.random.Generator, alphabet: np.ndarray, count: int) -> list[str]:
    """Words of a Markov chain of letters with a sparse rule of its own."""
    rule = draw.dirichlet(np.full(LETTERS, 0.12), LETTERS).cumsum(1)
    lengths = draw.integers(1, LONGEST + 1, count)
    letters = np.zeros((count, LONGEST), dtype=np.int64)
    letters[:, 0] = draw.integers(LETTERS, size=count)
    for i in range(1, LONGEST):
        letters[:, i] = np.minimum(
            (draw.random(count)[:, None] > rule[letters[:, i - 1]]).sum(1), LETTERS - 1
        )
    return ["".join(row[:length]) for row, length in zip(alphabet[letters].tolist(), lengths, strict=True)]


def languages(draw: np.random.Generator, n: int, words: int) -> list[list[str]]:
    """Word lists: a third of a script's alphabet differs between its languages' rules, a tenth of words is borrowed."""
    out: list[list[str]] = []
    for i in range(n):
        script = i % max(1, n // 4)
        alphabet = np.array([chr(0x4E00 + script * LETTERS + k) for k in range(LETTERS)])
        mine = words_of(draw, alphabet, words)
        if out:
            lender = out[int(draw.integers(len(out)))]
            for at in draw.integers(words, size=words // 10):
                mine[at] = lender[int(draw.integers(words))]
        out.append(mine)
    return out


def table(
    lists: list[list[str]], tokens: list[int], draw: np.random.Generator
) -> tuple[list[str], sp.csr_array]:
    """Word counts (W, n) of texts of so many tokens."""
    number: dict[str, int] = {}
    rows, columns, data = [], [], []
    for i, (words, size) in enumerate(zip(lists, tokens, strict=True)):
        rates = 1 / np.arange(3, len(words) + 3)
        counts = draw.multinomial(size, rates / rates.sum())
        for at in np.flatnonzero(counts):
            rows.append(number.setdefault(words[at], len(number)))
            columns.append(i)
            data.append(int(counts[at]))
    counts = sp.coo_array((data, (rows, columns)), shape=(len(number), len(lists)), dtype=np.int64).tocsr()
    return list(number), counts


def lines(words: list[str], counts: np.ndarray) -> Iterator[str]:
    for word, count in zip(words, counts.tolist(), strict=True):
        for start in range(0, count, LINE):
            yield " ".join([word] * min(LINE, count - start))


def trained(words: list[str], counts: np.ndarray, merges: int) -> MergeList:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = sorted({letter for word in words for letter in word})
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines(words, counts), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    pairs = np.array([[vocab[left], vocab[right]] for left, right in model["merges"]], dtype=np.int32)
    results = np.array([vocab[left + right] for left, right in model["merges"]], dtype=np.int32)
    texts = tuple(sorted(vocab, key=vocab.__getitem__))
    return MergeList(
        tuple(t.encode() for t in texts),
        texts,
        {a: vocab[a] for a in alphabet},
        pairs,
        results,
        False,
        (),
        0,
        None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--categories", type=int, default=20)
    parser.add_argument("--merges", type=int, default=5000)
    parser.add_argument("--words", type=int, default=20_000)
    parser.add_argument("--tokens", type=int, default=300_000, help="counted, in each category")
    parser.add_argument("--trained", type=int, default=3_000_000, help="tokens of the training text")
    parser.add_argument("--gap", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = np.random.default_rng(given.seed)
    lists = languages(draw, given.categories, given.words)
    shares = draw.dirichlet(np.ones(given.categories))
    words, counts = table(lists, (shares * given.trained).astype(int).tolist(), draw)
    pairs = np.array([len(w) - 1 for w in words]) @ counts.toarray()
    merges = trained(words, counts.sum(1), given.merges)
    words, counts = table(lists, [given.tokens] * given.categories, draw)
    counted = WordCounts(
        tuple(map(str, range(given.categories))), tuple(words), counts, np.ones(given.categories)
    )
    start = time.process_time()
    events = replay(merges, counted, steps=min(given.merges, len(merges.pairs)))
    replayed = time.process_time()
    print(
        f"{len(words):,} words, {len(events.pairs):,} pairs, {len(events.pair):,} events, "
        f"{len(events.change):,} entries: replay {replayed - start:.1f} CPU s, {memory():.2f} GB",
        flush=True,
    )
    found = solve(
        events,
        gap=given.gap,
        on_progress=lambda *a: print(f"{time.process_time() - replayed:8.1f} s", *a, flush=True),
    )
    truth = pairs / pairs.sum()
    error = np.log10(((found.alpha - truth) ** 2).mean())
    print(
        f"solve {time.process_time() - replayed:.1f} CPU s, gap {found.gap:.4f}, {found.rounds} rounds, "
        f"{found.rows:,} rows, log10 MSE {error:.2f}, {memory():.2f} GB"
    )


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
