"""The trim as one line: count the text's tokens → keep what they need → plan → copy rows → write → measure → Report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap import __version__
from tokswap.assembly import PROCESSOR_FILES, check_staged, libraries, new_files, new_tensors
from tokswap.checkpoint import Checkpoint, open_checkpoint, read_embeddings, read_json
from tokswap.commit import check_output, write
from tokswap.corpora import Corpus
from tokswap.errors import TokswapError
from tokswap.evaluation.attach import with_evaluation
from tokswap.initialise import Embeddings, initialise
from tokswap.pieces import spell
from tokswap.plan import Plan, dropped
from tokswap.provenance import input_hashes
from tokswap.report import Report
from tokswap.sources import public_name
from tokswap.tokenization import load_tokenizer
from tokswap.trimming.card import trim_card
from tokswap.trimming.counting import Counted, count_tokens
from tokswap.trimming.keep import Kept, choose_kept
from tokswap.trimming.needs import needs_of
from tokswap.trimming.plan import new_ids, trim_plan
from tokswap.trimming.protected import groups_of, protected_ids
from tokswap.trimming.report import trim_report
from tokswap.vocab import Vocab, vocab_of

if TYPE_CHECKING:
    from tokswap.evaluation.texts import Text

# Of each text, where no others are named for it: a first look in a minute or two, as after a transplant.
EVALUATED_BYTES = 4000
DEFAULT_COVERAGE = 0.9999
MOST_ROWS = 1_000_000  # that a table is rounded up to a multiple of
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Size:
    """How much is to stay: `keep` tokens, or else `coverage` of the text's; rows are rounded up to a `multiple`."""

    keep: int | None = None
    coverage: float | None = None
    keep_ids: bool = False
    multiple: int | None = None

    def __post_init__(self) -> None:
        if self.keep is not None and self.coverage is not None:
            raise TokswapError("--keep and --coverage both say how much is to stay", "give one of them")
        if self.coverage is not None and not 0 < self.coverage <= 1:
            raise TokswapError(
                f"a coverage of {self.coverage} is no share of a text", "give one above 0 and up to 1"
            )
        if self.multiple is not None and not 1 <= self.multiple <= MOST_ROWS:
            raise TokswapError(
                f"rows can't be a multiple of {self.multiple}", f"give a number from 1 to {MOST_ROWS:,}"
            )
        if self.keep is not None and self.keep < 1:
            raise TokswapError(f"{self.keep} tokens can't be kept", "give a number above 0")


def trim_checkpoint(
    base: Checkpoint,
    corpora: Sequence[Corpus],
    size: Size,
    *,
    out: Path | None,
    evaluation_texts: Mapping[str, Text] | None = None,
    evaluate: bool = True,
    dry_run: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Write `base` without the tokens that the `corpora` don't need to `out`, and return what was done.

    Bits per byte are measured on `evaluation_texts`, None standing for the beginnings of the corpora. With `dry_run`
    nothing is written or measured. Raises TokswapError for tokenizers that can't be trimmed, too small a size, texts
    that can't be read, and an output that may not be written.
    """
    if out is None and not dry_run:
        raise TokswapError("no output folder was given", "name one with --out, or look first with --dry-run")
    if out is not None and not dry_run:
        check_output(base, out, overwrite=overwrite)
    texts = evaluation_texts or {corpus.name: corpus.beginning(EVALUATED_BYTES) for corpus in corpora}
    vocab = vocab_of(base)
    if size.keep is not None and size.keep > len(vocab):
        raise TokswapError(
            f"{size.keep:,} tokens can't be kept: the vocabulary has {len(vocab):,}",
            "give a smaller --keep, or leave it out to keep what the text needs",
        )
    before = count_corpora(base.tokenizer, corpora, vocab.max_id + 1, "count", on_progress)
    kept = _choose(base, vocab, before, size)
    ids = new_ids(kept.ids, base, keep_ids=size.keep_ids, multiple=size.multiple)
    plan = trim_plan(base, vocab, ids, out=None if out is None else str(out), device=device)
    after = count_corpora(
        plan.tokenizer.tokenizer, corpora, plan.new_vocab.max_id + 1, "count again", on_progress
    )
    report = trim_report(plan, kept, before, after)
    if dry_run or out is None:
        return report
    written = _write(plan, kept, corpora, size, out, overwrite=overwrite, on_progress=on_progress)
    report = replace(report, warnings=tuple(written["warnings"]))
    return _measure(report, base, out, texts, device, on_progress) if evaluate else report


def count_corpora(
    tokenizer: Mapping[str, Any],
    corpora: Sequence[Corpus],
    size: int,
    stage: str,
    on_progress: Progress | None,
) -> dict[str, Counted]:
    """Count the tokens of each corpus by id (below `size`); raises TokswapError for one without text."""
    engine = load_tokenizer(tokenizer)
    total = sum(corpus.size for corpus in corpora)
    out: dict[str, Counted] = {}
    done = 0

    def say(stored: int) -> None:
        if on_progress is not None:
            on_progress(stage, done + stored, total)

    for corpus in corpora:
        counted = count_tokens(engine, corpus.blocks(say), size)
        if not counted.tokens:
            raise TokswapError(f"{corpus.name} holds no text", "give a file of a few kilobytes or more")
        out[corpus.name] = counted
        done += corpus.size
    return out


def _choose(base: Checkpoint, vocab: Vocab, before: Mapping[str, Counted], size: Size) -> Kept:
    counts = np.sum([counted.counts for counted in before.values()], axis=0)
    coverage = DEFAULT_COVERAGE if size.coverage is None else size.coverage
    return choose_kept(
        counts,
        protected_in(base, vocab),
        needs_of(base.tokenizer),
        groups_of(vocab),
        coverage=coverage,
        keep=size.keep,
        candidates=[i for i in vocab.ids.tolist() if not vocab.is_special(i)],
    )


def protected_in(base: Checkpoint, vocab: Vocab) -> set[int]:
    """Return the ids of a checkpoint that always stay, by its tokenizer and all its configurations."""
    processors = [read_json(path) for name in PROCESSOR_FILES if (path := base.folder / name).is_file()]
    mentioned = json.dumps(
        [base.tokenizer_config.get(key) for key in ("chat_template", "additional_special_tokens")],
        ensure_ascii=False,
    )
    configs = (base.config, base.generation_config, *processors)
    return protected_ids(vocab, base.tokenizer, configs, mentioned)


def _write(
    plan: Plan,
    kept: Kept,
    corpora: Sequence[Corpus],
    size: Size,
    out: Path,
    *,
    overwrite: bool,
    on_progress: Progress | None,
) -> dict[str, Any]:
    base = plan.base
    made = initialise(
        plan.alignment,
        Embeddings(*read_embeddings(base)),
        None,
        plan.base_vocab,
        spell(base.tokenizer, plan.base_vocab, []),
        plan.method,
        {},
    )
    files, warnings = new_files(plan, plan.tokenizer.tokenizer)
    files["README.md"] = trim_card(plan, kept).encode()
    names = [public_name(corpus.name) for corpus in corpora]
    manifest = {
        "tokswap": __version__,
        "libraries": libraries(),
        "base": public_name(base.source),
        "inputs": {"base": input_hashes(base)},
        "trim": asdict(size) | {"texts": names, "covered": kept.coverage},
        "rows": {"base": plan.base_vocab.rows, "new": plan.alignment.rows},
        "warnings": [*plan.warnings, *warnings],
    }
    return write(
        base,
        out,
        tensors=new_tensors(plan, made.rows),
        drop=dropped(plan),
        files=files,
        recipe_id=_recipe_id(plan, kept),
        manifest=manifest,
        overwrite=overwrite,
        check=lambda staged: check_staged(open_checkpoint(staged), plan),
        on_progress=None if on_progress is None else partial(on_progress, "write"),
    )


def _recipe_id(plan: Plan, kept: Kept) -> str:
    text = json.dumps(["trim", plan.base.identity(), plan.alignment.rows, kept.ids.tolist(), __version__])
    return hashlib.sha256(text.encode()).hexdigest()


def _measure(
    report: Report,
    base: Checkpoint,
    out: Path,
    texts: Mapping[str, Text],
    device: str,
    on_progress: Progress | None,
) -> Report:
    from tokswap.evaluation.evaluate import evaluate

    return with_evaluation(
        report,
        lambda: evaluate(open_checkpoint(out), texts, against=base, device=device, on_progress=on_progress),
    )
