"""All checks over one folder, as a report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.errors import TokswapError
from tokswap.provenance import manifest_of
from tokswap.report import Figure, Report
from tokswap.verification import body, files, ids, rows, running, texts
from tokswap.verification.check import Check, Finding, Outcome, not_checked, run_check
from tokswap.verification.subject import Subject

CHECKS: tuple[Check, ...] = (
    Check("manifest", files.manifest),
    Check("rows", ids.rows, rows=True),
    Check("ids_have_rows", ids.ids_have_rows, tokenizer=True),
    Check("tied", ids.tied, rows=True),
    Check("special_ids", ids.special_ids, tokenizer=True),
    Check("end_tokens", ids.end_tokens, tokenizer=True),
    Check("no_duplicates", ids.no_duplicates, tokenizer=True),
    Check("merges", files.merges, tokenizer=True),
    Check("stale_files", files.stale_files, tokenizer=True),
    Check("tokenizer_loads", texts.tokenizer_loads),
    Check("round_trip", texts.round_trip, tokenizer=True),
    Check("chat_template", texts.chat_template, tokenizer=True),
    Check("gguf_pattern", texts.gguf_pattern, tokenizer=True),
    Check("finite_rows", rows.finite_rows, rows=True, tokenizer=True),
    Check("zero_rows", rows.zero_rows, rows=True, tokenizer=True),
    Check("outlier_rows", rows.outlier_rows, rows=True, tokenizer=True),
    Check("new_row_norms", rows.new_row_norms, rows=True, tokenizer=True),
    Check("shape_of_base", ids.shape_of_base, rows=True),
    Check("shared_rows", rows.shared_rows, rows=True, tokenizer=True),
    Check("untouched_tensors", body.untouched_tensors, rows=True),
    Check("loads", running.loads, runs_model=True),
    Check("padded_rows", running.padded_rows, rows=True, tokenizer=True, runs_model=True),
    Check("hidden_states", running.hidden_states, rows=True, tokenizer=True, runs_model=True),
    Check("greedy_sample", running.greedy_sample, tokenizer=True, runs_model=True),
)
NOT_RUN = not_checked("the model was not to be run")

Progress = Callable[[str, int, int], None]


def verify_folder(
    folder: Path,
    *,
    base: Checkpoint | None = None,
    run: bool = True,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Open a folder and verify it; one that can't be opened is a report too: its only check failed.

    Raises TokswapError where there is no folder of that name.
    """
    if not folder.is_dir():
        raise TokswapError(f"{folder} is no folder", "give the folder of a checkpoint")
    try:
        checkpoint = open_checkpoint(folder)
    except TokswapError as error:
        return report_of("verification", str(folder), None, {"opens": files.weights_open(folder, error)})
    return verify(checkpoint, base=base, run=run, device=device, on_progress=on_progress)


def verify(
    checkpoint: Checkpoint,
    *,
    base: Checkpoint | None = None,
    run: bool = True,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Run every check on an open checkpoint; `base` is the model it came from, else the one its manifest names.

    Without `run` the model isn't loaded, and what needs it is not checked. The report's fact `sound` is false when
    a check failed; each check is a section with its outcome and sentence.
    """
    manifest = manifest_of(checkpoint)
    why = ""
    if base is None:
        base, why = base_of(manifest)
    subject = Subject(checkpoint, base, why, manifest, device)
    return report_of(
        "verification", checkpoint.source, base, run_checks(CHECKS, subject, run=run, on_progress=on_progress)
    )


def require_passed(checkpoint: Checkpoint, names: Collection[str]) -> None:
    """Raise TokswapError when one of the named checks fails: before a folder is put in place."""
    subject = Subject(checkpoint)
    for check in CHECKS:
        if check.name in names and (finding := run_check(check, subject)).outcome == Outcome.FAILED:
            raise TokswapError(
                f"the written checkpoint is not sound: {finding.sentence}",
                "nothing was put in place; please report this with the recipe",
            )


def run_checks(
    checks: Sequence[Check], subject: Subject, *, run: bool = True, on_progress: Progress | None = None
) -> dict[str, Finding]:
    """Return what each check found, by its name; without `run` those that load the model are not checked."""
    found: dict[str, Finding] = {}
    for done, check in enumerate(checks):
        if on_progress is not None:
            on_progress(f"check {check.name}", done, len(checks))
        found[check.name] = NOT_RUN if check.runs_model and not run else run_check(check, subject)
    return found


def base_of(manifest: Mapping[str, Any]) -> tuple[Checkpoint | None, str]:
    """Return the base that a manifest names, if it is on this machine under that name, else None and why not.

    Nothing is fetched; a folder's name alone is not followed, because another folder may bear it.
    """
    from tokswap import hub
    from tokswap.sources import list_models, open_source

    named = manifest.get("base")
    if not isinstance(named, str):
        return None, "the base isn't known: give it with --against"
    spec = named.split(" (")[0]
    match = hub.HUB_ID.fullmatch(spec)
    here = any(m.alias == spec and m.available for m in list_models()) or (
        match and hub.cached(match["repo"])
    )
    if not here:
        return None, f"the base {spec!r} isn't on this machine under that name: give it with --against"
    try:
        return open_source(spec), ""
    except TokswapError as error:
        return None, f"the base {spec!r} can't be opened: {error.what}"


def open_with_base(
    folder: str, base: str | None, on_progress: Progress | None = None
) -> tuple[Checkpoint, Checkpoint]:
    """Open a transplanted folder and its base: the one that is named, else the one in its tokswap.json.

    Raises TokswapError where the latter isn't known or isn't on this machine.
    """
    from tokswap.sources import open_source

    moved = open_source(folder, on_progress=on_progress)
    if base is not None:
        return moved, open_source(base, on_progress=on_progress)
    found, why = base_of(manifest_of(moved))
    if found is None:
        named = manifest_of(moved).get("base")
        what = why.split(":")[0] if named else f"{moved.source} has no tokswap.json that names its base"
        raise TokswapError(what, "name the model that it was made from with --base")
    return moved, found


def report_of(kind: str, source: str, base: Checkpoint | None, found: Mapping[str, Finding]) -> Report:
    """Return findings as a report: counts by outcome, one section a check, and whether none failed."""
    counts = {o: sum(f.outcome == o for f in found.values()) for o in Outcome}
    sections = {
        name: Report("check", {"outcome": str(f.outcome), "sentence": f.sentence}, f.figures)
        for name, f in found.items()
    }
    facts = {
        "source": source,
        "against": base.source if base is not None else None,
        "sound": not counts[Outcome.FAILED],
    }
    figures = {str(o).replace(" ", "_"): Figure(count, "checks") for o, count in counts.items()}
    return Report(kind, facts, figures, sections)
