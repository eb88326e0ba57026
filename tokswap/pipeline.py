"""The straight line: recipe → open → align → initialise → calibrate → graft → write and verify → measure → Report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap import __version__, graft
from tokswap.assembly import check_staged, libraries, new_files, new_tensors
from tokswap.auxiliary import DONOR, auxiliary_vectors
from tokswap.calibration import Calibrated, calibrate
from tokswap.calibration_kinds import calibration_stages
from tokswap.calibration_report import calibration_facts, calibration_figures, calibration_warnings
from tokswap.card import model_card
from tokswap.checkpoint import Checkpoint, open_checkpoint, read_embeddings
from tokswap.commit import check_output, write
from tokswap.corpora import Corpus, open_corpora
from tokswap.device import choose_device
from tokswap.errors import TokswapError
from tokswap.evaluation.attach import with_evaluation
from tokswap.evaluation.evaluate import evaluate
from tokswap.evaluation.texts import Text, default_texts, load_texts
from tokswap.gguf_beside import built_beside, plan_beside
from tokswap.gguf_export import GgufPlan
from tokswap.hypernet.use import open_predictor, weights_digest
from tokswap.initialise import Embeddings, Initialised, initialise
from tokswap.parallel_texts import Lines, links_of, read_parallel
from tokswap.pieces import spell
from tokswap.plan import (
    BUDGET,
    Plan,
    alignment_figures,
    dropped,
    make_plan,
    needs_auxiliary,
    needs_donor,
    plan_report,
)
from tokswap.plan_auxiliary import auxiliary_tokens
from tokswap.provenance import input_hashes
from tokswap.recipe import Recipe
from tokswap.report import Figure, Report
from tokswap.sources import open_source, public_name
from tokswap.supertokens.donor import calibration_texts, learnt_donor

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[str, int, int], None]

# Bytes read of each text that comes with tokswap. Three numbers are calibrated, for which some 3,000 states are plenty;
# the figures after a transplant are a first look in a minute or two, and `tokswap evaluate` reads all.
DEFAULT_TEXT_BYTES = {"calibration": 1800, "evaluation": 4000}
TEXT_FIELDS = ("calibration_texts", "evaluation_texts", "parallel_texts", "supertoken_texts")


def run_recipe(
    recipe: Recipe,
    *,
    dry_run: bool = False,
    overwrite: bool = False,
    on_plan: Callable[[Report], None] | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Carry out a recipe and return its report; with `dry_run` only the plan.

    `on_plan` gets the plan before any row is made. Raises TokswapError for whatever a person can mend; the output
    folder is then absent or as it was.
    """
    # A text that can't be read is found now, not after the checkpoint is written.
    corpora = open_corpora(recipe.supertoken_texts)
    calibrated_on = _calibration_texts(recipe, corpora)
    parallel = read_parallel([Path(p).expanduser() for p in recipe.parallel_texts])
    evaluation_texts = _texts(recipe.evaluation_texts, "evaluation")
    base = open_source(recipe.base, only_headers=dry_run, on_progress=on_progress)
    donor = _donor(recipe, base, corpora, only_headers=dry_run, on_progress=on_progress)
    plan = make_plan(recipe, base, donor, evaluation_texts)
    gguf = plan_beside(plan, _new_tokenizer(plan)) if recipe.gguf else None
    if gguf is not None:
        plan = replace(plan, warnings=(*plan.warnings, *gguf.notes))
    if dry_run:
        planned = plan_report(plan)
        return replace(planned, warnings=(*planned.warnings, *_refusal(recipe, base, overwrite=overwrite)))
    out = out_folder(recipe, base, overwrite=overwrite)
    if on_plan is not None:
        on_plan(plan_report(plan))
    made = initialise_plan(plan, parallel, on_progress)
    calibrated = calibrate(plan, made.rows, calibrated_on, _new_tokenizer(plan), on_progress=on_progress)
    written = _write(plan, made, calibrated, gguf, out, overwrite=overwrite, on_progress=on_progress)
    report = _report(plan, made, calibrated, written, out)
    del made, calibrated  # the tables are on disk now; evaluation needs the room
    if not recipe.evaluate:
        return report
    return _measure(report, base, out, evaluation_texts, recipe.device, on_progress)


def _donor(
    recipe: Recipe,
    base: Checkpoint,
    corpora: Sequence[Corpus],
    *,
    only_headers: bool,
    on_progress: Progress | None,
) -> Checkpoint:
    """Return the donor: the one that is named, or the base's own tokenizer with what it learns from the corpora."""
    if recipe.supertokens is None:
        return open_source(recipe.donor, weights=False, only_headers=only_headers, on_progress=on_progress)
    return learnt_donor(
        base, corpora, recipe.supertokens, max_words=recipe.max_words, on_progress=on_progress
    )


def _calibration_texts(recipe: Recipe, corpora: Sequence[Corpus]) -> Mapping[str, Text]:
    """Return the person's own texts, or what tokens were learnt from, or the texts that come with tokswap."""
    stages = bool(calibration_stages(recipe.calibrate))
    if corpora and not recipe.calibration_texts:
        return calibration_texts(corpora, stages=stages)
    return _texts(recipe.calibration_texts, "calibration", all_of_it=stages)


def out_folder(recipe: Recipe, base: Checkpoint, *, overwrite: bool) -> Path:
    """Return where to write, refusing early what the commit would refuse after minutes of work."""
    if not recipe.out:
        raise TokswapError("no output folder was given", "name one with --out, or look first with --dry-run")
    out = Path(recipe.out).expanduser()
    check_output(base, out, overwrite=overwrite)
    return out


def _refusal(recipe: Recipe, base: Checkpoint, *, overwrite: bool) -> tuple[str, ...]:
    """Return what would be said against the output folder, were this no dry run."""
    try:
        if recipe.out:
            out_folder(recipe, base, overwrite=overwrite)
    except TokswapError as error:
        return (f"without --dry-run this is refused: {error.what} ({error.hint})",)
    return ()


def initialise_plan(plan: Plan, parallel: Lines | None, on_progress: Progress | None) -> Initialised:
    """Make the rows of a plan by its method; `parallel` are the lines for a method that uses parallel text."""
    base = plan.base
    tokens = [plan.new_vocab.bytes_of(int(i)) for i in plan.alignment.new_ids]
    pieces = spell(base.tokenizer, plan.base_vocab, tokens)
    donor = Embeddings(*read_embeddings(plan.donor)[:2]) if needs_donor(plan) else None
    auxiliary = _auxiliary(plan, on_progress) if needs_auxiliary(plan) else None
    network = None
    if plan.hypernet is not None:
        network = open_predictor(plan.hypernet, base, plan.base_vocab, tokens, pieces)
    made = initialise(
        plan.alignment,
        Embeddings(*read_embeddings(base)),
        donor,
        plan.base_vocab,
        pieces,
        plan.method,
        plan.parameters,
        auxiliary=auxiliary,
        network=network,
        links=None if parallel is None else links_of(parallel, base.tokenizer, plan.tokenizer.tokenizer),
        device=str(choose_device(plan.recipe.device)),
        seed=plan.recipe.seed,
        budget=BUDGET,
        on_progress=None if on_progress is None else partial(on_progress, f"initialise ({plan.method.name})"),
    )
    if plan.recipe.untie and made.rows.tied:
        rows = replace(made.rows, output=made.rows.input.clone())
        made = replace(made, rows=rows)
    return made


def _auxiliary(plan: Plan, on_progress: Progress | None) -> Tensor:
    """Return the vectors of the base's rows, none for special tokens and holes, and then of the new tokens."""
    return auxiliary_vectors(
        plan.recipe.auxiliary,
        auxiliary_tokens(plan),
        device=str(choose_device(plan.recipe.device)),
        seed=plan.recipe.seed,
        on_progress=None if on_progress is None else partial(on_progress, "auxiliary vectors"),
    )


def _texts(paths: list[str], kind: Any, *, all_of_it: bool = False) -> Mapping[str, Text]:
    """Return the person's own texts in full, or the beginnings (or all) of those that come with tokswap."""
    if paths:
        return load_texts([Path(p).expanduser() for p in paths])
    if all_of_it:
        return default_texts(kind)
    return {name: text.first(DEFAULT_TEXT_BYTES[kind]) for name, text in default_texts(kind).items()}


def _new_tokenizer(plan: Plan) -> dict[str, Any]:
    if plan.recipe.draft:
        return dict(plan.donor.tokenizer)
    files = graft.with_input_tokens(plan.tokenizer, plan.base_vocab, plan.new_vocab, plan.alignment.rows)
    return graft.new_tokenizer(files, plan.base_vocab, plan.new_vocab, plan.start_id)


def _write(
    plan: Plan,
    made: Initialised,
    calibrated: Calibrated,
    gguf: GgufPlan | None,
    out: Path,
    *,
    overwrite: bool,
    on_progress: Progress | None,
) -> dict[str, Any]:
    files, warnings = new_files(plan, _new_tokenizer(plan))
    card = model_card(plan, calibration_facts(calibrated)["kind"])
    files |= {"README.md": card.encode(), "recipe.yaml": _recipe_yaml(plan)}
    manifest = {
        "tokswap": __version__,
        "libraries": libraries(),
        "base": public_name(plan.base.source),
        "donor": public_name(plan.donor.source),
        "inputs": {"base": input_hashes(plan.base), "donor": input_hashes(plan.donor)},
        **({} if plan.hypernet is None else {"hypernet": {"sha256": weights_digest(plan.hypernet)}}),
        "recipe": _resolved(plan),
        "rows": {
            "base": plan.base_vocab.rows,
            "new": plan.alignment.rows,
            "by_origin": plan.alignment.counts(),
            "anchors": made.anchors,
        },
        "calibration": calibration_facts(calibrated),
        "warnings": [*plan.warnings, *warnings, *calibration_warnings(calibrated)],
    }
    return write(
        plan.base,
        out,
        tensors=new_tensors(plan, calibrated.rows),
        drop=dropped(plan),
        files=files,
        built=[] if gguf is None else [built_beside(plan, gguf)],
        recipe_id=plan.recipe.identity(_inputs(plan)),
        manifest=manifest,
        overwrite=overwrite,
        check=lambda staged: check_staged(open_checkpoint(staged), plan),
        on_progress=None if on_progress is None else partial(on_progress, "write"),
    )


def _recipe_yaml(plan: Plan) -> bytes:
    import yaml

    return yaml.safe_dump(_resolved(plan), sort_keys=False, allow_unicode=True).encode()


def _resolved(plan: Plan) -> dict[str, Any]:
    """Return the recipe with what was chosen, fit to be published: of absolute paths only the last part."""
    recipe = plan.recipe
    named = ("base", "donor", "auxiliary", *["hypernet"] * (recipe.hypernet is not None))
    sources = {name: _portable(getattr(recipe, name)) for name in named}
    texts = {name: [_portable(p) for p in getattr(recipe, name)] for name in TEXT_FIELDS}
    chosen = {"method": plan.method.name, "parameters": dict(plan.parameters)}
    # A donor that was learnt has no name of its own: a recipe that is repeated on another base learns another.
    left_out = {"out"} if recipe.supertokens is None else {"out", "donor"}
    return recipe.model_copy(update={**sources, **texts, **chosen}).model_dump(exclude=left_out)


def _portable(path: str) -> str:
    return public_name(path) if Path(path).is_absolute() or path.startswith("~") else path


def _inputs(plan: Plan) -> dict[str, str]:
    """Return what identifies the inputs for resuming: the bytes of configs and headers, sizes and times of shards."""
    network = {} if plan.hypernet is None else {"hypernet": weights_digest(plan.hypernet)}
    return {"base": plan.base.identity(), "donor": plan.donor.identity(), "tokswap": __version__, **network}


def _report(
    plan: Plan, made: Initialised, calibrated: Calibrated, written: Mapping[str, Any], out: Path
) -> Report:
    planned = plan_report(plan)
    figures = {
        **alignment_figures(plan),
        "anchors": Figure(made.anchors, "tokens"),
        **_set_aside(plan, made),
        "base_parameters": planned.figures["base_parameters"],
        "new_parameters": planned.figures["new_parameters"],
        "tensors_copied_and_proved_equal": Figure(written["untouched"]["tensors"], "tensors"),
    }
    figures |= calibration_figures(calibrated)
    facts = {**planned.facts, "out": str(out), "calibration": calibration_facts(calibrated)}
    return Report("transplant", facts, figures, {}, tuple(written.get("warnings", plan.warnings)))


def _set_aside(plan: Plan, made: Initialised) -> dict[str, Figure]:
    """Return the anchors and new tokens that the method could not use, and what became of the latter."""
    dropped = made.anchors_dropped
    if plan.recipe.auxiliary == DONOR:
        unfit = Figure(dropped, "tokens", note="rows that are not finite, zero or untrained")
        dead = Figure(made.dead_targets, "tokens", note="made the mean row")
        return {"anchors_dropped": unfit, "untrained_donor_rows": dead}
    unfit = Figure(dropped, "tokens", note="rows that are untrained, or tokens without a vector")
    dead = Figure(made.dead_targets, "tokens", note="made the mean of their pieces")
    return {"anchors_dropped": unfit, "without_vector": dead}


def _measure(
    report: Report,
    base: Checkpoint,
    out: Path,
    texts: Mapping[str, Text],
    device: str,
    on_progress: Progress | None,
) -> Report:
    return with_evaluation(
        report,
        lambda: evaluate(open_checkpoint(out), texts, against=base, device=device, on_progress=on_progress),
    )
