"""How accurate inferred mixtures are: tokenizers trained on known mixtures, beside three simpler guesses.

    python benchmarks/mixture_experiments.py --texts TEXTS --categories 5 --trials 20 --merges 300,1000,3000 \
        --train-bytes 5000000 --count-bytes 1000000 --out results.json

TEXTS is a folder of NAME.txt or NAME/text.txt, one a category, documents parted by lines of `%%` or else cut by size
(benchmarks/mixture_texts.py fetches some). Each trial draws categories and
shares (uniform on the simplex, as in arXiv:2407.16607), trains GPT-2's kind of tokenizer on that mixture, counts other
documents of the same categories (or, with --overlap, the same ones, as the authors did) and infers the shares.
Printed: log10 of the mean squared error of shares of bytes, mean and standard deviation over trials, and how often
the printed intervals hold the truth.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokswap.evaluation.texts import split_documents
from tokswap.mixture.infer import infer
from tokswap.mixture.merges import merge_list
from tokswap.mixture.types import WordCounts

ESTIMATES = ("byte_share", "efficiency_share", "classification_share", "uniform_share")
BLOCK_BYTES = 4000  # of a document where the text has no marks between them: about a page
SMALLEST_ERROR = 1e-16  # of a mean square: what rounding leaves of an exact answer


@dataclass(frozen=True)
class Category:
    """A category's documents, their sizes in bytes, and how often each holds each word (documents, words)."""

    name: str
    documents: list[str]
    sizes: np.ndarray
    words: sp.csr_array


def files(folder: Path) -> dict[str, Path]:
    """Return name → text: NAME.txt and NAME/text.txt."""
    plain = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    return plain | {path.parent.name: path for path in sorted(folder.glob("*/text.txt"))}


def cut_documents(content: str) -> list[str]:
    """Return documents that lines of `%%` part, or else blocks of lines that stand together."""
    documents = list(split_documents(content))
    if len(documents) > 1:
        return documents
    blocks, size = [[""]], 0
    for line in content.splitlines(keepends=True):
        if size > BLOCK_BYTES:
            blocks.append([])
            size = 0
        blocks[-1].append(line)
        size += len(line.encode())
    return ["".join(block) for block in blocks]


def read(folder: Path) -> tuple[list[Category], list[str]]:
    """Return the categories of a folder, and the words that their columns stand for."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    number: dict[str, int] = {}
    tables: list[tuple[str, list[str], list[dict[int, int]]]] = []
    for name, path in files(folder).items():
        documents = cut_documents(path.read_text(encoding="utf-8"))
        rows: list[dict[int, int]] = []
        for document in documents:
            words = Counter(word for word, _ in cut.pre_tokenize_str(document))
            rows.append({number.setdefault(word, len(number)): count for word, count in words.items()})
        tables.append((name, documents, rows))
    out: list[Category] = []
    for name, documents, rows in tables:
        columns = np.array([word for row in rows for word in row], dtype=np.int64)
        counts = np.array([count for row in rows for count in row.values()], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        table = sp.csr_array((counts, columns, starts), shape=(len(rows), len(number)))
        sizes = np.array([len(document.encode()) for document in documents])
        out.append(Category(name, documents, sizes, table))
    return out, list(number)


def first(sizes: np.ndarray, order: np.ndarray, most: float) -> np.ndarray:
    """Return the documents, in their order, that are nearest to `most` bytes in all."""
    total = np.cumsum(sizes[order])
    return order[: int(np.searchsorted(total, most)) + 1] if most > 0 else order[:0]


def train(texts: list[str], merges: int) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + merges, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())


def trial(
    categories: list[Category], words: list[str], given: argparse.Namespace, seed: int
) -> dict[str, Any]:
    """Train on one mixture, infer it from several numbers of merges, and return errors and intervals."""
    draw = np.random.default_rng(seed)
    chosen = [categories[i] for i in draw.choice(len(categories), given.categories, replace=False)]
    shares = draw.dirichlet(np.ones(given.categories))
    texts: list[str] = []
    trained = np.zeros(given.categories)
    columns: list[np.ndarray] = []
    text_bytes: list[int] = []
    for i, category in enumerate(chosen):
        order = draw.permutation(len(category.documents))
        half = len(order) // 2
        there = order if given.overlap else order[:half]
        other = order if given.overlap else order[half:]
        seen = first(category.sizes, there, shares[i] * given.train_bytes)
        held = first(category.sizes, other, given.count_bytes)
        texts += [category.documents[at] for at in seen]
        trained[i] = category.sizes[seen].sum()
        text_bytes.append(int(category.sizes[held].sum()))
        columns.append(np.asarray(category.words[held].sum(0)))
    truth = trained / trained.sum()
    table = np.stack(columns, axis=1)
    there = np.flatnonzero(table.any(1))
    names = tuple(category.name for category in chosen)
    counted = WordCounts(
        names, tuple(words[at] for at in there), sp.csr_array(table[there]), np.array(text_bytes)
    )
    merges = merge_list(train(texts, max(given.merges)), skip=0, known=())
    out: dict[str, Any] = {"seed": seed, "categories": names, "truth": truth.tolist(), "by_merges": {}}
    for steps in given.merges:
        start = time.process_time()
        report = infer("trained", merges, counted, steps=steps)
        found = [section.figures for section in report.sections.values()]
        out["by_merges"][steps] = {
            "cpu_seconds": time.process_time() - start,
            "gap": report.figures["gap"].value,
            "low": [f["byte_share"].low for f in found],
            "high": [f["byte_share"].high for f in found],
            **{name: [f[name].value for f in found] for name in ESTIMATES},
        }
    return out


def log_error(truth: list[float], found: list[float]) -> float:
    return float(np.log10(max(((np.array(truth) - np.array(found)) ** 2).mean(), SMALLEST_ERROR)))


def summary(trials: list[dict[str, Any]], steps: int) -> str:
    """Return one line: errors of each estimate, and the coverage of the intervals."""
    runs = [(one["truth"], one["by_merges"][steps]) for one in trials]
    parts: list[str] = []
    for name in ESTIMATES:
        errors = np.array([log_error(truth, run[name]) for truth, run in runs])
        parts.append(f"{errors.mean():6.2f} ± {errors.std(ddof=1) if len(errors) > 1 else 0.0:.2f}")
    inside = [
        low <= share <= high
        for truth, run in runs
        for low, share, high in zip(run["low"], truth, run["high"], strict=True)
    ]
    seconds = np.mean([run["cpu_seconds"] for _, run in runs])
    return f"{steps:7,} | " + " | ".join(parts) + f" | {100 * np.mean(inside):3.0f} % | {seconds:5.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--categories", type=int, default=5)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--merges", type=lambda s: [int(n) for n in s.split(",")], default=[300, 1000, 3000])
    parser.add_argument("--train-bytes", type=float, default=5e6)
    parser.add_argument("--count-bytes", type=float, default=1e6, help="of each category")
    parser.add_argument("--overlap", action="store_true", help="count the documents that were trained on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    categories, words = read(given.texts)
    print(
        f"{len(categories)} categories, {sum(int(c.sizes.sum()) for c in categories) / 1e6:.0f} MB",
        flush=True,
    )
    trials: list[dict[str, Any]] = []
    for i in range(given.trials):
        trials.append(trial(categories, words, given, given.seed + i))
        if given.out:
            given.out.write_text(json.dumps({"given": vars(given), "trials": trials}, default=str, indent=1))
    print(" merges | program | efficiency | classification | uniform | in interval | CPU s")
    for steps in given.merges:
        print(summary(trials, steps), flush=True)


if __name__ == "__main__":
    main()
