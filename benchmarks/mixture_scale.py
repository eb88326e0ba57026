"""Time and memory of the linear program at sizes for which texts are hard to come by: made-up languages.

    python benchmarks/mixture_scale.py --categories 116 --merges 30000 --words 15000 --tokens 200000 --trained 6000000
    python benchmarks/mixture_scale.py … --out benchmarks/results/mixture-scale.json   # keeps the case as well
    python benchmarks/mixture_scale.py --plot benchmarks/results/mixture-scale.json    # draws it, as .svg beside it

Each language has letters of one of some scripts, words by its own rule of letters, and Zipf's law; related languages
share words. The tokenizer is trained on one draw from the languages and the counts are of another. All of that is
made in a process of its own: peak memory is that of the replay and the program.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from log_plot import Line, Panel, svg
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokswap.mixture.folds import solve_folds
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


def made(given: argparse.Namespace) -> tuple[MergeList, WordCounts, np.ndarray]:
    """A tokenizer's merges, words counted, and the shares of pairs that it was trained on."""
    draw = np.random.default_rng(given.seed)
    lists = languages(draw, given.categories, given.words)
    shares = draw.dirichlet(np.ones(given.categories))
    words, counts = table(lists, (shares * given.trained).astype(int).tolist(), draw)
    pairs = np.array([len(w) - 1 for w in words]) @ counts.toarray()
    merges = trained(words, counts.sum(1), given.merges)
    words, counts = table(lists, [given.tokens] * given.categories, draw)
    letters = np.array([len(w) for w in words])
    names = tuple(map(str, range(given.categories)))
    return merges, WordCounts(names, tuple(words), counts, 3 * (letters @ counts)), pairs / pairs.sum()


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Make a case, solve it, and tell what it took."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        merges, counted, truth = apart.submit(made, given).result()
    clock = [time.process_time()]
    events = replay(merges, counted, steps=min(given.merges, len(merges.pairs)))
    clock.append(time.process_time())
    print(f"replayed, {clock[1] - clock[0]:.1f} CPU s", flush=True)

    def show(_: str, done: int, __: int) -> None:
        print(f"{time.process_time() - clock[1]:8.1f} CPU s, {done / 10:5.1f} %", flush=True)

    found = solve(events, gap=given.gap, seconds=60 * given.time_limit, on_progress=show)
    clock.append(time.process_time())
    if given.folds:
        solve_folds(found.known)
    clock.append(time.process_time())
    seconds = np.diff(clock).round(2).tolist()
    return {
        "command": shlex.join(["python", *sys.argv]),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, one thread",
        "categories": given.categories,
        "merges": events.steps,
        "text_bytes": int(counted.text_bytes.sum()),
        "distinct_words": len(counted.words),
        "pairs": len(events.pairs),
        "changes": len(events.change),
        "cpu_seconds": {
            "replay": seconds[0],
            "program": seconds[1],
            "folds": seconds[2] if given.folds else None,
        },
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "rows": found.rows,
        "mixtures_tried": found.rounds,
        "gap_wanted": given.gap,
        "gap": round(found.gap, 5),
        "objective": round(found.objective, 2),
        "lower_bound": round(found.lower_bound, 2),
        "log10_mse": round(float(np.log10(((found.alpha - truth) ** 2).mean())), 2),
    }


def plotted(cases: list[dict[str, Any]]) -> str:
    """CPU seconds and memory against merges, and those of the replay against text, a line a number of categories.

    Of cases with as many categories and merges the one with the least text stands against merges.
    """
    by: dict[int, list[dict[str, Any]]] = {}
    for case in sorted(cases, key=lambda case: (case["categories"], case["text_bytes"])):
        by.setdefault(case["categories"], []).append(case)
    least = {n: list({case["merges"]: case for case in reversed(some)}.values()) for n, some in by.items()}
    panels = [
        _panel("program, CPU seconds", "merges", least, _merges, lambda case: case["cpu_seconds"]["program"]),
        _panel("peak GB", "merges", least, _merges, lambda case: case["peak_gb"]),
        _panel("replay, CPU seconds", "MB of text", by, _text, lambda case: case["cpu_seconds"]["replay"]),
    ]
    return svg(panels)


def _merges(case: dict[str, Any]) -> float:
    return case["merges"]


def _text(case: dict[str, Any]) -> float:
    return case["text_bytes"] / 1e6


Value = Callable[[dict[str, Any]], float]


def _panel(
    title: str,
    below: str,
    by: dict[int, list[dict[str, Any]]],
    across: Value,
    up: Value,
) -> Panel:
    lines = {n: sorted((across(case), up(case)) for case in some) for n, some in by.items()}
    return Panel(title, below, [Line(f"n = {n}", points) for n, points in lines.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--categories", type=int, default=20)
    parser.add_argument("--merges", type=int, default=5000)
    parser.add_argument("--words", type=int, default=20_000)
    parser.add_argument("--tokens", type=int, default=300_000, help="counted, in each category")
    parser.add_argument("--trained", type=int, default=3_000_000, help="tokens of the training text")
    parser.add_argument("--gap", type=float, default=0.01)
    parser.add_argument("--time-limit", type=float, default=np.inf, help="minutes")
    parser.add_argument("--folds", action="store_true", help="solve the folds for intervals as well")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file that the case is added to")
    parser.add_argument("--plot", type=Path, help="draw this JSON file, and nothing else")
    given = parser.parse_args()
    if given.plot is not None:
        given.plot.with_suffix(".svg").write_text(plotted(json.loads(given.plot.read_text())))
        return
    case = measured(given)
    print(json.dumps(case, indent=1))
    if given.out is not None:
        cases = json.loads(given.out.read_text()) if given.out.exists() else []
        given.out.write_text(json.dumps([*cases, case], indent=1) + "\n")


if __name__ == "__main__":
    main()
