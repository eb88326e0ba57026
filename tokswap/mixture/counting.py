"""Count the words of each category's texts: spans of files on many processes, tables merged, categories cached.

The same map and reduce runs on any engine with a `concurrent.futures` executor, such as Dask's
(docs/examples/count_with_dask.py): tasks name files and return the path of a table.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokswap.cache import Origin, build_once, cache_folder
from tokswap.errors import TokswapError
from tokswap.mixture.corpus import Span, category_files, content_hash, read_texts, spans_of
from tokswap.mixture.tables import assemble, merge_counts, polars, write_table
from tokswap.mixture.types import MergeList, WordCounts
from tokswap.mixture.words import WordSpec, inner_splitter, word_spec, word_splitter

Progress = Callable[[str, int, int], None]
Task = tuple[Path, int]

MOST_WORDS = 5_000_000  # kept over all categories: about a gigabyte with their counts and their replay
WORDS_IN_MEMORY = 1_000_000  # of one process before it writes them out: about 150 MB
FEW_BYTES = 4_000_000  # counted sooner than processes start
_VERSION = 1  # goes up when the same text and tokenizer would give other counts
_KEY_DIGITS = 32


def count_words(
    tokenizer: Mapping[str, Any],
    merges: MergeList,
    categories: Mapping[str, Sequence[str | Path]],
    *,
    field: str = "text",
    processes: int | None = None,
    executor: Executor | None = None,
    most_words: int | None = MOST_WORDS,
    on_progress: Progress | None = None,
) -> WordCounts:
    """Return how often each word stands in each category, as the tokenizer's own rules cut text into words.

    `categories` maps a name to folders, patterns and files; `field` names the text in records of .jsonl and
    .parquet. A category that was counted before, with any tokenizer of the same rules, comes from the cache. `executor`
    runs the tasks where it likes, on files and a cache folder that its workers share; without one `processes`
    (default: one a core) do. `on_progress` gets ("count", bytes of files done, bytes in all). Raises TokswapError for a
    category that has no file or no text, and for files that aren't what they should be.
    """
    polars()
    if not categories:
        raise TokswapError("there is no category to count", "give at least two: --category en=texts/en")
    spec = word_spec(tokenizer, merges)
    files = {name: category_files(name, sources) for name, sources in categories.items()}
    jobs = [_Job(name, spec, found, field) for name, found in files.items()]
    progress = _Counter(sum(job.size for job in jobs), on_progress)
    with _runner(executor, processes, sum(job.size for job in jobs if not job.folder.is_dir())) as run:
        for job in jobs:
            job.count(run, progress)
    tables = {job.name: job.folder / "words.parquet" for job in jobs}
    return assemble(tables, {job.name: job.text_bytes() for job in jobs}, most_words)


def count_spans(spec: WordSpec, spans: Sequence[Span], field: str, folder: Path) -> Task:
    """Count the words of spans of files into a table in `folder`; return its path and the bytes of text read.

    A process holds about `WORDS_IN_MEMORY` distinct words; more are written out and merged.
    """
    split = word_splitter(spec)
    counts: Counter[str] = Counter()
    written: list[Path] = []
    size = 0
    for span in spans:
        for text in read_texts(span, field):
            size += len(text.encode())
            counts.update(split(text))
            if len(counts) > WORDS_IN_MEMORY:
                written.append(_write(spec, counts, folder))
                counts.clear()
    written.append(_write(spec, counts, folder))
    table = written[0] if len(written) == 1 else merge_counts(written, _new_table(folder))
    return table, size


def _write(spec: WordSpec, counts: Counter[str], folder: Path) -> Path:
    inner = inner_splitter(spec)
    if inner is None:
        return write_table(counts, _new_table(folder))
    parts: Counter[str] = Counter()
    for word, count in counts.items():
        for part in inner(word):
            parts[part] += count
    return write_table(parts, _new_table(folder))


def _new_table(folder: Path) -> Path:
    return folder / f"{uuid.uuid4().hex}.parquet"


@dataclass(frozen=True)
class _Job:
    """One category: its files, and the cache folder that holds or will hold its table."""

    name: str
    spec: WordSpec
    files: Sequence[Path]
    field: str

    @cached_property
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def folder(self) -> Path:
        parts = (str(_VERSION), self.spec.key, self.field, content_hash(self.files))
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_KEY_DIGITS]
        return cache_folder() / "word-counts" / key

    def text_bytes(self) -> int:
        return int(json.loads((self.folder / "table.json").read_text(encoding="utf-8"))["text_bytes"])

    def count(self, run: _Run, progress: _Counter) -> None:
        """Count the category unless its table is there; nothing is left of one that fails."""
        if self.folder.is_dir():
            progress.add(self.size)
            return
        build_once(self.folder, lambda work: self._build(work, run, progress))

    def _build(self, work: Path, run: _Run, progress: _Counter) -> Origin:
        tables: list[Path] = []
        text_bytes = 0
        for spans, (table, size) in run(self.spec, spans_of(self.files), self.field, work):
            tables.append(table)
            text_bytes += size
            progress.add(sum(span.stop - span.start for span in spans))
        if not text_bytes:
            raise TokswapError(f"the category {self.name!r} holds no text", "give it a file that isn't empty")
        ready = work / "ready"
        ready.mkdir()
        merge_counts(tables, ready / "words.parquet")
        label = {"text_bytes": text_bytes, "files": len(self.files), "words": self.spec.key}
        (ready / "table.json").write_text(json.dumps(label) + "\n", encoding="utf-8")
        return Origin(self.name)


class _Counter:
    """Bytes of files done, told to whoever wants to know."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self.done, self.total, self.tell = 0, total, on_progress
        self.add(0)

    def add(self, size: int) -> None:
        self.done += size
        if self.tell:
            self.tell("count", self.done, self.total)


_Run = Callable[[WordSpec, list[list[Span]], str, Path], Generator[tuple[list[Span], Task]]]


@contextmanager
def _runner(executor: Executor | None, processes: int | None, size: int) -> Generator[_Run]:
    """Yield the function that runs the tasks of a category, here or on an executor, and yields their results."""
    workers = processes or os.cpu_count() or 1
    if executor is not None:
        yield _on(executor)
    elif workers == 1 or size <= FEW_BYTES:
        yield _here
    else:
        # Spawned, not forked: tokenizers and polars have threads, which don't survive a fork.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield _on(pool)


def _here(
    spec: WordSpec, groups: list[list[Span]], field: str, folder: Path
) -> Generator[tuple[list[Span], Task]]:
    for spans in groups:
        yield spans, count_spans(spec, spans, field, folder)


def _on(executor: Executor) -> _Run:
    def run(
        spec: WordSpec, groups: list[list[Span]], field: str, folder: Path
    ) -> Generator[tuple[list[Span], Task]]:
        tasks: dict[Future[Task], list[Span]] = {
            executor.submit(count_spans, spec, spans, field, folder): spans for spans in groups
        }
        try:
            for task in as_completed(tasks):
                yield tasks[task], task.result()
        finally:
            for task in tasks:
                task.cancel()

    return run
