"""Controlled experiments: how well mixtures are inferred that are known, as a recipe of kind `mixture-experiment`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tokswap.data_files import data_folder
from tokswap.errors import InvalidFieldsError, TokswapError
from tokswap.report import Figure, Report
from tokswap.schema_errors import error_sentences

KIND = "mixture-experiment"
MOST_TRAINED = (
    1_000_000  # merges of a tokenizer that is trained: room is made for all of them before it begins
)
"""The value of the field `kind` that tells this kind of recipe."""

TEXTS = {
    "english": "english.txt", "code": "code.py.txt", "french": "french.txt", "german": "german.txt",
    "spanish": "spanish.txt", "russian": "russian.txt", "chinese": "chinese.txt",
}  # fmt: skip
"""Categories of a recipe without any: texts that come with tokswap, a few kilobytes each."""

Paths = str | list[str]
Progress = Callable[[str, int, int], None]


class Experiment(BaseModel):
    """Trials of one setting: `categories` name → path or paths, `draw` how many of them a trial mixes.

    A trial's tokenizer is trained on `train_bytes` in all and inferred from `count_bytes` of each category, from other
    documents unless `overlap`; `counted` names texts of another source to count. `merges` are tried with one tokenizer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["mixture-experiment"]
    categories: dict[str, Paths] = Field(default_factory=dict)
    counted: dict[str, Paths] = Field(default_factory=dict)
    draw: int = Field(default=5, ge=2)
    trials: int = Field(default=20, ge=1)
    merges: list[int] = Field(default=[100, 300, 1000], min_length=1)
    train_bytes: float = Field(default=1e6, gt=0, description="in all")
    count_bytes: float = Field(default=2e5, gt=0, description="of each category")
    page_bytes: int = Field(default=4000, ge=100, description="of a document: what is drawn is whole ones")
    overlap: bool = False
    seed: int = Field(default=0, ge=0)

    @property
    def paths(self) -> dict[str, list[Path]]:
        """The categories' texts; those that come with tokswap where the recipe names none."""
        shipped = data_folder("data") / "texts" / "evaluation"
        return _listed(self.categories) or {name: [shipped / file] for name, file in TEXTS.items()}


def make_experiment(fields: Mapping[str, Any]) -> Experiment:
    """Check the fields of an experiment, all errors at once. Raises TokswapError that lists them."""
    try:
        config = Experiment.model_validate(dict(fields))
    except ValidationError as error:
        raise _not_right(error_sentences(error, list(Experiment.model_fields), fields)) from None
    if wrong := _wrong(config):
        raise _not_right(wrong)
    return config


def _not_right(sentences: Sequence[str]) -> TokswapError:
    names = ", ".join(Experiment.model_fields)
    return InvalidFieldsError("the experiment is not right", sentences, f"its fields are {names}")


def _wrong(config: Experiment) -> list[str]:
    out: list[str] = []
    if config.draw > len(config.paths):
        out.append(f"draw: {config.draw} of {len(config.paths)} categories can't be drawn")
    if not 1 <= min(config.merges) <= max(config.merges) <= MOST_TRAINED:
        out.append(f"merges: each must be from 1 to {MOST_TRAINED:,}")
    if config.counted and config.overlap:
        out.append("overlap: the texts of `counted` are others than those trained on")
    if config.counted and set(config.counted) != set(config.categories):
        out.append("counted: its names must be those of categories")
    return out


def _listed(paths: Mapping[str, Paths]) -> dict[str, list[Path]]:
    several = {name: [entry] if isinstance(entry, str) else entry for name, entry in paths.items()}
    return {name: [Path(one).expanduser() for one in entry] for name, entry in several.items()}


def run_experiment(config: Experiment, *, on_progress: Progress | None = None) -> Report:
    """Run all trials, and return errors and coverage by number of merges; every trial is in `facts["trials"]`.

    `on_progress` gets ("trials", done, all). Raises TokswapError for texts that can't be used. Needs the extra
    `mixture`.
    """
    from tokswap.mixture.needs import require_mixture

    require_mixture()
    from tokswap.mixture.documents import read_documents
    from tokswap.mixture.trial import Setting, Trial, run_trial

    # A share may be nearly 1, and half of a category's documents are kept for the other side.
    most = (1 if config.overlap or config.counted else 2) * max(config.train_bytes, config.count_bytes)
    number: dict[str, int] = {}
    read = partial(read_documents, page_bytes=config.page_bytes, most_bytes=most)
    trained_on = counted_on = read(config.paths)
    if config.counted:
        counted_on = read(_listed(config.counted))
    setting = Setting(
        config.draw, tuple(config.merges), config.train_bytes, config.count_bytes, config.overlap
    )
    trials: list[Trial] = []
    for seed in range(config.seed, config.seed + config.trials):
        trials.append(run_trial(trained_on, counted_on, number, setting, seed))
        if on_progress is not None:
            on_progress("trials", len(trials), config.trials)
    return summarise_trials(trials, config.model_dump())


def summarise_trials(trials: Sequence[Any], setting: Mapping[str, Any]) -> Report:
    """Return a report with a section for each number of merges that every trial's tokenizer had."""
    steps = sorted(set[int].intersection(*(set(trial.found) for trial in trials)))
    shortest = min(trial.merges for trial in trials)
    warnings: list[str] = []
    if shortest < max(setting["merges"]):
        warnings.append(
            f"the text gave some tokenizers {shortest:,} merges: larger numbers that some lack are left out"
        )
    facts = {"setting": dict(setting), "trials": [trial.to_dict() for trial in trials]}
    sections = {str(n): Report("experiment", figures=_figures(trials, n)) for n in steps}
    return Report(KIND, facts, {"trials": Figure(len(trials), "trials")}, sections, tuple(warnings))


def _figures(trials: Sequence[Any], steps: int) -> dict[str, Figure]:
    from tokswap.mixture.trial import ESTIMATES

    out: dict[str, Figure] = {}
    for name in ESTIMATES:
        errors = np.array([trial.found[steps].log_error(trial.truth, name) for trial in trials])
        spread = float(errors.std(ddof=1)) if len(errors) > 1 else 0.0
        note = f"± {spread:.2f} over trials: log10 of the mean squared error of shares of bytes"
        out[f"{name}_error"] = Figure(float(errors.mean()), "log10", note=note)
        out[f"{name}_spread"] = Figure(spread, "log10", note="standard deviation over trials")
    inside = [held for trial in trials for held in trial.found[steps].inside(trial.truth)]
    seconds = [trial.found[steps].cpu_seconds for trial in trials]
    return out | {
        "coverage": Figure(float(np.mean(inside)), "share", note="of true shares inside their interval"),
        "shares": Figure(len(inside), "shares"),
        "cpu_seconds": Figure(float(np.mean(seconds)), "s", note="CPU of one inference, without counting"),
        "gap": Figure(max(trial.found[steps].gap for trial in trials), "share", note="the largest"),
    }
