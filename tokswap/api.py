"""The library's front door for models: sources by name or path in, a `Report` out.

transplant("gemma3", "smollm2", out="gemma3-smollm2", method="omp", parameters={"k": 64})
evaluate("gemma3-smollm2", against="gemma3", texts=["french.txt"])
acceptance("smollm2-for-gemma3", "gemma3", against="smollm2")
heal("gemma3-smollm2", out="gemma3-smollm2-healed", base="gemma3", budget="30m")
leaderboard("leaderboard.yaml", out="leaderboard")
trim("gemma3", ["texts/en/"], out="gemma3-english")
replace_tokens("smollm2", ["texts/medicine/"], add=1000, out="smollm2-medicine")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokswap.evaluation.texts import Text
    from tokswap.report import Report

Source = str | PathLike[str]
"""A folder, a file, an alias or a Hub id, as `tokswap.sources.open_source` takes it."""

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done and how much there is."""


def transplant(
    base: Source,
    donor: Source | None = None,
    *,
    out: Source | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    on_plan: Callable[[Report], None] | None = None,
    on_progress: Progress | None = None,
    **recipe_fields: Any,
) -> Report:
    """Move `base` onto the tokenizer of `donor`, write the new checkpoint to `out` and return what was done.

    Without a donor `supertokens` more tokens are learnt from `supertoken_texts`, for the base's own tokenizer.
    `recipe_fields` are the other fields of a recipe: method, parameters, map, calibrate, untie, evaluate, seed, ….
    With `dry_run` nothing is written, and the report is the plan; `on_plan` gets the plan before the work begins.
    Raises TokswapError for whatever a person can mend; `out` is then absent or as it was.
    """
    from tokswap.pipeline import run_recipe
    from tokswap.recipe import make_recipe

    named = {} if donor is None else {"donor": fspath(donor)}
    fields = {"base": fspath(base), **named, **recipe_fields}
    if out is not None:
        fields["out"] = fspath(out)
    return run_recipe(
        make_recipe(fields), dry_run=dry_run, overwrite=overwrite, on_plan=on_plan, on_progress=on_progress
    )


def evaluate(
    model: Source,
    *,
    against: Source | None = None,
    texts: Sequence[Source] | None = None,
    on_progress: Progress | None = None,
    **how: Any,
) -> Report:
    """Score `model`, and the base it came from beside it, in bits per byte.

    `texts` are files or folders of plain text, None standing for those that come with tokswap. `how` is passed on
    to `tokswap.evaluation.evaluate`: device, dtype, window_bytes, stride_bytes, max_bytes, sample_prompt,
    segmentation, probe, exact_bytes, seed, keep.
    Raises TokswapError for models, texts and settings that can't be used.
    """
    from tokswap.evaluation.evaluate import evaluate as score
    from tokswap.sources import open_source

    chosen = texts_of(texts)
    checkpoint = open_source(fspath(model), on_progress=on_progress)
    base = None if against is None else open_source(fspath(against), on_progress=on_progress)
    return score(checkpoint, chosen, against=base, on_progress=on_progress, **how)


def evaluate_tasks(
    model: Source,
    tasks: Sequence[str],
    *,
    against: Source | None = None,
    limit: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Run lm-eval's tasks on a model: names that it knows, or paths of a task's .yaml.

    `against` is the model that it came from: the same tasks run on it, and the difference stands beside each figure.
    `limit` takes only so many examples of each. Raises TokswapError without the extra `eval` and for tasks that can't
    be run.
    """
    from tokswap.evaluation.tasks import evaluate_tasks as run
    from tokswap.evaluation.tasks_compared import tasks_compared
    from tokswap.sources import open_source

    names = [model] if against is None else [model, against]
    opened = [open_source(fspath(name), on_progress=on_progress) for name in names]
    found = [
        run(checkpoint, tasks, limit=limit, device=device, dtype=dtype, on_progress=on_progress)
        for checkpoint in opened
    ]
    return found[0] if against is None else tasks_compared(*found)


def acceptance(
    draft: Source,
    target: Source,
    *,
    against: Source | None = None,
    texts: Sequence[Source] | None = None,
    on_progress: Progress | None = None,
    **how: Any,
) -> Report:
    """Measure how many of a draft's tokens `target` keeps, greedy and sampled, and the speed that follows.

    `against` is the model that the draft came from, asked under its own tokenizer. `how` is passed on to
    `tokswap.evaluation.acceptance.measure_acceptance`: tokens, cost, max_bytes, device, dtype, seed. Raises
    TokswapError for a draft of another vocabulary, and for models, texts and numbers that can't be used.
    """
    from tokswap.evaluation.acceptance import measure_acceptance
    from tokswap.sources import open_source

    chosen = texts_of(texts)
    drafting, drafted_for = (
        open_source(fspath(source), on_progress=on_progress) for source in (draft, target)
    )
    base = None if against is None else open_source(fspath(against), on_progress=on_progress)
    return measure_acceptance(drafting, drafted_for, chosen, against=base, on_progress=on_progress, **how)


def leaderboard(
    recipe: Source | Mapping[str, Any],
    *,
    out: Source | None = None,
    dry_run: bool = False,
    fresh: bool = False,
    on_cell: Callable[[Report], None] | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Compare methods on pairs of models and texts: run what has no result yet and write the table.

    `recipe` is a YAML file or its fields, `out` a folder in place of the recipe's. With `dry_run` nothing is run or
    written; with `fresh` everything is measured again. `on_cell` gets each cell's report. A cell that fails is part
    of the report (`figures["failed"]`), with its reason. Raises TokswapError for a recipe that is not right, and for
    texts and folders that can't be used.
    """
    from tokswap.board.config import make_leaderboard
    from tokswap.board.run import run_leaderboard
    from tokswap.recipe import load_recipe

    fields = dict(recipe) if isinstance(recipe, Mapping) else load_recipe(Path(recipe).expanduser())
    if out is not None:
        fields["out"] = fspath(out)
    config = make_leaderboard(fields)
    return run_leaderboard(config, dry_run=dry_run, fresh=fresh, on_cell=on_cell, on_progress=on_progress)


def verify(
    folder: Source,
    *,
    against: Source | None = None,
    run: bool = True,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Verify a checkpoint folder that any tool wrote; the report's fact `sound` is false when a check failed.

    `against` is the model it came from, else the one that its tokswap.json names, if that is on this machine. Without
    `run` only files are looked at. Raises TokswapError where there is no such folder or no such base.
    """
    from tokswap.sources import open_source
    from tokswap.verification import verify_folder

    base = None if against is None else open_source(fspath(against), on_progress=on_progress)
    path = Path(folder).expanduser()
    return verify_folder(path, base=base, run=run, device=device, on_progress=on_progress)


def heal(
    folder: Source,
    *,
    out: Source,
    base: Source | None = None,
    texts: Sequence[Source] | None = None,
    on_plan: Callable[[Report], None] | None = None,
    on_progress: Progress | None = None,
    **how: Any,
) -> Report:
    """Train a transplanted folder towards its base for a while, write it to `out` and return what was done.

    `texts` None are those that tokswap calibrates on; `base` as for `restore`; `on_plan` gets the plan before the first
    step; `how` is passed on to `tokswap.healing.heal.heal_folder`: rung, budget or steps, seed, curve, ….
    Raises TokswapError for models, texts and settings that can't be used.
    """
    from tokswap.healing.heal import heal_folder

    named = None if base is None else fspath(base)
    return heal_folder(
        fspath(folder), named, out, texts or (), on_plan=on_plan, on_progress=on_progress, **how
    )


def restore(
    folder: Source,
    *,
    out: Source,
    base: Source | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Report:
    """Write a transplanted folder with its base's tokenizer and rows to `out`, and return what was done.

    `base` is the model it was made from, else the one that its tokswap.json names, if that is on this machine. Raises
    TokswapError where it isn't that base, or where `out` may not be written.
    """
    from tokswap.restoring import restore_checkpoint
    from tokswap.verification.checks import open_with_base

    moved, found = open_with_base(fspath(folder), None if base is None else fspath(base), on_progress)
    path = Path(out).expanduser()
    return restore_checkpoint(moved, found, path, overwrite=overwrite, on_progress=on_progress)


def trim(
    model: Source,
    texts: Sequence[Source],
    *,
    out: Source | None = None,
    keep: int | None = None,
    coverage: float | None = None,
    keep_ids: bool = False,
    pad_to_multiple_of: int | None = None,
    field: str = "text",
    evaluate: bool = True,
    evaluation_texts: Sequence[Source] | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Write `model` without the tokens that `texts` don't need to `out`, and return what was saved and what it costs.

    `texts` are files, folders or patterns, read as they stream; `field` names the text in records of .jsonl and
    .parquet. `keep` tokens stay, or as many as hold `coverage` of the texts' tokens (None: 0.9999); with `keep_ids`
    under their old ids. Bits per byte are measured on `evaluation_texts`, None standing for the beginnings of `texts`.
    With `dry_run` nothing is written. Raises TokswapError for whatever a person can mend; `out` is then as it was.
    """
    from tokswap.corpora import open_corpora
    from tokswap.evaluation.texts import load_texts
    from tokswap.sources import open_source
    from tokswap.trimming import Size, trim_checkpoint

    size = Size(keep, coverage, keep_ids, pad_to_multiple_of)
    corpora = open_corpora([fspath(text) for text in texts], field)
    measured = load_texts([Path(path).expanduser() for path in evaluation_texts or []])
    return trim_checkpoint(
        open_source(fspath(model), on_progress=on_progress),
        corpora,
        size,
        out=None if out is None else Path(out).expanduser(),
        evaluation_texts=measured or None,
        evaluate=evaluate,
        dry_run=dry_run,
        overwrite=overwrite,
        device=device,
        on_progress=on_progress,
    )


def replace_tokens(
    model: Source,
    texts: Sequence[Source],
    *,
    add: int,
    out: Source | None = None,
    max_words: int = 1,
    field: str = "text",
    most_bytes: int = 100_000_000,
    dry_run: bool = False,
    overwrite: bool = False,
    on_progress: Progress | None = None,
    **recipe_fields: Any,
) -> Report:
    """Write `model` with `add` tokens that `texts` would use in the places of tokens that they don't, to `out`.

    Sizes, and the ids and rows of all other tokens, stay. `texts`, `field`, `most_bytes` and `max_words` as for
    `extend_tokenizer`. `recipe_fields` are those of a recipe that decide the new rows and how they are measured:
    method, parameters, auxiliary, calibrate, calibration_texts (none: the beginnings of `texts`), evaluate,
    evaluation_texts (none: those that come with tokswap), device, seed. With `dry_run` nothing is written. Raises
    TokswapError for whatever a person can mend; `out` is then as it was.
    """
    from tokswap.corpora import open_corpora
    from tokswap.evaluation.texts import load_texts
    from tokswap.recipe import make_recipe
    from tokswap.replacing import Learning, check_fields, replace_in_checkpoint
    from tokswap.sources import open_source

    name = fspath(model)
    check_fields(recipe_fields)
    fields = {"base": name, "donor": name, **recipe_fields}
    recipe = make_recipe(fields if out is None else {**fields, "out": fspath(out)})
    learning = Learning(add, max_words, most_bytes)
    return replace_in_checkpoint(
        recipe,
        open_source(name, on_progress=on_progress),
        open_corpora([fspath(text) for text in texts], field),
        learning,
        calibrated_on=load_texts([Path(path).expanduser() for path in recipe.calibration_texts]),
        held_out=texts_of(recipe.evaluation_texts),
        dry_run=dry_run,
        overwrite=overwrite,
        on_progress=on_progress,
    )


def doctor(source: Source | None = None, *, on_progress: Progress | None = None) -> Report:
    """Look at this machine and, with `source`, at a model or tokenizer before it is used.

    The report's fact `sound` is false when a fault was found. Raises TokswapError for a source that can't be opened.
    """
    from tokswap.diagnosis import diagnose
    from tokswap.sources import open_source

    opened = None if source is None else open_source(fspath(source), weights=False, on_progress=on_progress)
    return diagnose(opened, on_progress=on_progress)


def audit(
    model: Source,
    *,
    against: Source | None = None,
    donor: Source | None = None,
    texts: Sequence[Source] | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Look for rows of `model` that shouldn't be trusted, and for tokens of all three that training never reached.

    With `against`, the base, only rows that it lacks are judged, among those that it has. The report's fact `sound` is
    false when one is suspicious. Raises TokswapError for models and texts that can't be used.
    """
    from tokswap.auditing import audit_checkpoint
    from tokswap.sources import open_source

    chosen = texts_of(texts)
    base = None if against is None else open_source(fspath(against), on_progress=on_progress)
    # A tokenizer alone is a donor too; it has no rows to look at.
    given = None if donor is None else open_source(fspath(donor), weights=False, on_progress=on_progress)
    opened = open_source(fspath(model), on_progress=on_progress)
    return audit_checkpoint(opened, chosen, base=base, donor=given, device=device, on_progress=on_progress)


def texts_of(paths: Sequence[Source] | None) -> Mapping[str, Text]:
    """Return the texts of files and folders by name, or those that come with tokswap for None."""
    from tokswap.evaluation.texts import default_texts, load_texts

    if not paths:
        return default_texts()
    return load_texts([Path(path).expanduser() for path in paths])
