"""The replacement as one line: count → learn and choose → plan → rows → calibrate → write → measure → Report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap import __version__
from tokswap.assembly import check_staged, libraries, new_tensors
from tokswap.calibration import Calibrated, calibrate
from tokswap.calibration_kinds import calibration_stages
from tokswap.calibration_report import calibration_facts, calibration_warnings
from tokswap.checkpoint import open_checkpoint
from tokswap.commit import write
from tokswap.corpora import Corpus
from tokswap.errors import TokswapError
from tokswap.evaluation.attach import with_evaluation
from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.texts import Text
from tokswap.pipeline import initialise_plan, out_folder
from tokswap.plan import Plan, dropped
from tokswap.provenance import input_hashes
from tokswap.reading import reader_of
from tokswap.recipe import Recipe
from tokswap.replacing.choose import Replaced, replace_tokens
from tokswap.replacing.files import replacement_card, replacement_files
from tokswap.replacing.plan import replacement_plan
from tokswap.replacing.report import replacement_report, with_outcome
from tokswap.report import Report
from tokswap.sources import public_name
from tokswap.supertokens.donor import calibration_texts
from tokswap.supertokens.extend import MAX_WORDS
from tokswap.supertokens.files import blocks_of, thinned
from tokswap.supertokens.train import MOST_BYTES
from tokswap.trimming.trim import count_corpora, protected_in

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

Progress = Callable[[str, int, int], None]
# Of each text: a first look in a minute or two, as after a transplant. Tokens are counted in all of it.
EVALUATED_BYTES = 4000


@dataclass(frozen=True)
class Learning:
    """What is learnt: `add` tokens of at most `max_words` words, from `most_bytes` bytes of the text."""

    add: int
    max_words: int = MAX_WORDS
    most_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        if self.add < 1:
            raise TokswapError(f"{self.add} tokens can't be replaced", "give a number above 0 with --add")


def replace_in_checkpoint(
    recipe: Recipe,
    base: Checkpoint,
    corpora: Sequence[Corpus],
    learning: Learning,
    *,
    calibrated_on: Mapping[str, Text],
    held_out: Mapping[str, Text],
    dry_run: bool = False,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Write `base` with tokens that the corpora would use in the places of tokens that they don't, and report on it.

    Of the `recipe` the method, its parameters and calibration decide the new rows, `out` is the folder. Without texts
    in `calibrated_on` the beginnings of the corpora serve; `held_out` texts are what tokens and bits per byte are
    measured on. With `dry_run` nothing is written. Raises TokswapError for tokenizers and texts that can't be used,
    too many tokens, and an output that may not be written.
    """
    out = None if dry_run else out_folder(recipe, base, overwrite=overwrite)
    reader = reader_of(base)
    counted = count_corpora(base.tokenizer, corpora, reader.vocab.max_id + 1, "count", on_progress)
    replaced = replace_tokens(
        base.tokenizer,
        reader.vocab,
        np.sum([one.counts for one in counted.values()], axis=0),
        protected_in(base, reader.vocab),
        thinned(blocks_of(corpora), learning.most_bytes),
        learning.add,
        max_words=learning.max_words,
        most_bytes=learning.most_bytes,
        on_progress=on_progress,
    )
    plan = replacement_plan(recipe, base, reader.vocab, replaced)
    report = replacement_report(plan, reader, replaced, learning.add, held_out)
    if out is None:
        return report
    texts = calibrated_on or calibration_texts(corpora, stages=bool(calibration_stages(recipe.calibrate)))
    made = initialise_plan(plan, None, on_progress)
    calibrated = calibrate(plan, made.rows, texts, replaced.tokenizer, on_progress=on_progress)
    written = _write(plan, replaced, calibrated, corpora, out, overwrite=overwrite, on_progress=on_progress)
    report = with_outcome(report, calibrated, written)
    del made, calibrated  # the tables are on disk now; evaluation needs the room
    return _measure(report, plan, out, held_out, on_progress) if recipe.evaluate else report


def _write(
    plan: Plan,
    replaced: Replaced,
    calibrated: Calibrated,
    corpora: Sequence[Corpus],
    out: Path,
    *,
    overwrite: bool,
    on_progress: Progress | None,
) -> dict[str, Any]:
    base = plan.base
    files, doubts = replacement_files(base, replaced.tokenizer)
    files["README.md"] = replacement_card(plan, replaced, calibration_facts(calibrated)["kind"]).encode()
    manifest = {
        "tokswap": __version__,
        "libraries": libraries(),
        "base": public_name(base.source),
        "inputs": {"base": input_hashes(base)},
        "replacement": {"ids": list(replaced.ids), "texts": [public_name(corpus.name) for corpus in corpora]},
        "method": {"name": plan.method.name, "parameters": dict(plan.parameters)},
        "rows": {"base": plan.base_vocab.rows, "new": plan.alignment.rows},
        "calibration": calibration_facts(calibrated),
        "warnings": [*plan.warnings, *doubts, *calibration_warnings(calibrated)],
    }
    return write(
        base,
        out,
        tensors=new_tensors(plan, calibrated.rows),
        drop=dropped(plan),
        files=files,
        recipe_id=_recipe_id(plan),
        manifest=manifest,
        overwrite=overwrite,
        check=lambda staged: check_staged(open_checkpoint(staged), plan),
        on_progress=None if on_progress is None else partial(on_progress, "write"),
    )


def _recipe_id(plan: Plan) -> str:
    inputs = {"base": plan.base.identity(), "donor": plan.donor.identity(), "tokswap": __version__}
    text = json.dumps(["replace", plan.recipe.identity(inputs)])
    return hashlib.sha256(text.encode()).hexdigest()


def _measure(
    report: Report, plan: Plan, out: Path, texts: Mapping[str, Text], on_progress: Progress | None
) -> Report:
    beginnings = {name: text.first(EVALUATED_BYTES) for name, text in texts.items()}
    return with_evaluation(
        report,
        lambda: evaluate(
            open_checkpoint(out),
            beginnings,
            against=plan.base,
            device=plan.recipe.device,
            on_progress=on_progress,
        ),
    )
