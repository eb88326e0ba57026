"""Heal a transplanted folder: text → teacher and student → training → a new folder → before and after → Report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap import __version__
from tokswap.checkpoint import Checkpoint, open_checkpoint
from tokswap.commit import check_output
from tokswap.commit_stage import Places
from tokswap.device import choose_device, choose_dtype
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.attach import with_evaluation
from tokswap.evaluation.texts import Text, default_texts, load_texts
from tokswap.healing.measure import AFTER, BASE, BEFORE, before_and_after
from tokswap.healing.memory import require_memory
from tokswap.healing.objective import Rung, rows_to_train
from tokswap.healing.pair import Pair
from tokswap.healing.sampling import kept_sample, sample_files
from tokswap.healing.settings import Settings, length_of, make_settings
from tokswap.healing.snippets import Corpus, make_corpus, text_hashes
from tokswap.healing.state import Point, Progress
from tokswap.healing.training import Trainer
from tokswap.healing.writing import require_same_body, stored_names, write_healed
from tokswap.provenance import manifest_of
from tokswap.report import Figure, Report
from tokswap.sources import public_name
from tokswap.verification.checks import open_with_base
from tokswap.verification.subject import Subject
from tokswap.whole_file import write_whole

if TYPE_CHECKING:
    from tokswap.align import Alignment

Tell = Callable[[str, int, int], None]
Named = str | PathLike[str]

KIND = "heal"
"""What states of these trainings are called."""
SHIPPED = "what tokswap calibrates on: some 25 kB in seven languages, none of it in the evaluation texts"
EVALUATED_BYTES = 4000
"""Bytes scored of each text that comes with tokswap, as after a transplant: a first look in a few minutes."""


@dataclass(frozen=True)
class Task:
    """What is healed, with what, and where it goes; `texts_are` says in words whose text it is."""

    moved: Checkpoint
    base: Checkpoint
    out: Path
    settings: Settings
    texts: Mapping[str, Text] = field(default_factory=dict[str, Text])
    texts_are: str = ""
    device: str = "auto"
    overwrite: bool = False
    curve: Path | None = None

    @property
    def identity(self) -> str:
        """The id of the run: another one doesn't take over its state."""
        inputs = {
            "moved": self.moved.identity(),
            "base": self.base.identity(),
            "texts": text_hashes(self.texts),
            "tokswap": __version__,
        }
        return self.settings.identity(inputs)


def heal_folder(
    folder: str,
    base: str | None,
    out: Named,
    texts: Sequence[Named] = (),
    *,
    rung: str = "lm",
    budget: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    self_generated: int | None = None,
    evaluate: bool = True,
    evaluation_texts: Sequence[Named] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    curve: Named | None = None,
    on_plan: Callable[[Report], None] | None = None,
    on_progress: Tell | None = None,
    **settings: Any,
) -> Report:
    """Heal a folder by its name with the text of files, with bytes that the base writes, or with the shipped ones.

    `rung` is "rows", "alm" or "lm"; its length is `steps`, or else the time `budget`, as "20m" (the default). `curve`
    gets a JSON line at each look at held-out text; `evaluation_texts` without any are the beginnings of those that
    come with tokswap; `settings` are other fields of `Settings`. The rest as for `heal`.
    """
    checked = make_settings(rung, budget=budget, steps=steps, seed=seed, **settings)
    if texts and self_generated:
        raise TokswapError(
            "both text and self-generated text were asked for", "give --text or --self-generated"
        )
    scored = _evaluation_texts(evaluation_texts or ()) if evaluate else None
    moved, found = open_with_base(folder, base, on_progress)
    place = Path(out).expanduser()
    task = Task(moved, found, place, checked, device=device, overwrite=overwrite)
    task = replace(task, curve=None if curve is None else Path(curve).expanduser())
    report = heal(
        _with_text(task, texts, self_generated, on_progress), scored, on_plan=on_plan, on_progress=on_progress
    )
    for left in sample_files(place):
        left.unlink(missing_ok=True)
    return report


def _evaluation_texts(paths: Sequence[Named]) -> Mapping[str, Text]:
    if paths:
        return load_texts([Path(path).expanduser() for path in paths])
    return {name: text.first(EVALUATED_BYTES) for name, text in default_texts().items()}


def _with_text(
    task: Task, paths: Sequence[Named], self_generated: int | None, on_progress: Tell | None
) -> Task:
    if paths:
        texts = load_texts([Path(path).expanduser() for path in paths])
        return replace(task, texts=texts, texts_are="the person's own")
    if not self_generated:
        return replace(task, texts=default_texts("calibration"), texts_are=SHIPPED)
    check_output(task.moved, task.out, overwrite=task.overwrite)
    text = kept_sample(task.base, task.out, self_generated, task.device, task.settings.seed, on_progress)
    return replace(task, texts={text.name: text}, texts_are="what the base wrote by itself, at temperature 1")


def heal(
    task: Task,
    evaluation_texts: Mapping[str, Text] | None,
    *,
    on_plan: Callable[[Report], None] | None = None,
    on_progress: Tell | None = None,
) -> Report:
    """Train a transplanted model towards its base, write it to `task.out` and return what was done.

    `evaluation_texts` None leaves out the scores before and after; `on_plan` gets what is trained and the memory it
    takes before the first step. A run that was stopped goes on when the same task is given again.

    Raises TokswapError where the body of `task.moved` isn't the base's and the rung needs a teacher, for text that is
    too short, too little memory, a loss that isn't finite, and whatever the commit refuses.
    """
    moved, base, settings = task.moved, task.base, task.settings
    check_output(moved, task.out, overwrite=task.overwrite)
    if settings.rung is not Rung.LM:
        require_same_body(moved, base)
    noted = manifest_of(moved)
    alignment = Subject(moved, base, "", noted).alignment
    if alignment.identical:
        raise TokswapError(
            f"{moved.source} has the tokenizer of its base: it was never moved, and there is nothing to heal",
            "name the folder that tokswap transplant wrote, and with --base the model that it was made from",
        )
    arms = open_arm(moved), open_arm(base)
    corpus = make_corpus(task.texts, *arms, alignment.new_ids, moved.rows)
    device = choose_device(task.device)
    dtype = choose_dtype("auto", device)
    rows = len(rows_to_train(settings.rung, corpus, alignment.new_ids))
    memory = require_memory(moved, base, settings, corpus, rows, (device, dtype))
    plan = _plan(task, corpus, alignment, memory, (str(device), str(dtype).removeprefix("torch.")))
    if on_plan is not None:
        on_plan(plan)
    if on_progress is not None:
        on_progress("open the model", 0, 1)
    pair = Pair(moved, base, arms, device=str(device), dtype=str(dtype).removeprefix("torch."))
    written, progress = _train_and_write(task, pair, corpus, alignment, noted, on_progress)
    del pair  # scoring needs the room
    return _report(task, plan, written, progress, evaluation_texts, on_progress)


def _train_and_write(
    task: Task,
    pair: Pair,
    corpus: Corpus,
    alignment: Alignment,
    noted: Mapping[str, Any],
    on_progress: Tell | None,
) -> tuple[dict[str, Any], Progress]:
    import torch

    settings = task.settings
    trained = stored_names(task.moved, pair.layers) if settings.rung.trains_body else {}
    ids = torch.from_numpy(rows_to_train(settings.rung, corpus, alignment.new_ids))
    body = {layer: pair.layers[layer] for layer in trained.values()}
    adapters = pair.train(ids, body=body, rank=settings.rank, seed=settings.seed)
    if settings.checkpoint_layers:
        pair.save_memory()
    path = Places.of(task.out).state(KIND, task.identity)
    trainer = Trainer(pair, adapters, settings, corpus.train, corpus.held_out, path)
    progress = trainer.run(on_progress, lambda _: _write_curve(task.curve, trainer.progress.curve))
    _write_curve(task.curve, progress.curve)
    trained = trained if progress.best_step else {}  # the start was best: nothing of the body has moved
    written = write_healed(
        task.moved,
        task.out,
        adapters,
        pair.layers,
        noted=noted or {"base": public_name(task.base.source)},
        healing=_told(task, progress, trained),
        trained=trained,
        recipe_id=task.identity,
        overwrite=task.overwrite,
        on_progress=on_progress,
    )
    for left in Places.of(task.out).states(
        KIND
    ):  # other settings that were tried and given up have left theirs too
        left.unlink(missing_ok=True)
    return written, progress


def _told(task: Task, progress: Progress, trained: Mapping[str, str]) -> dict[str, Any]:
    """Return what tokswap.json says: nothing that a second run of the same steps would say otherwise."""
    settings, first = task.settings, progress.curve[0]
    return {
        "rung": str(settings.rung),
        "steps": progress.step,
        "best_step": progress.best_step,
        "budget_seconds": settings.seconds,
        "step_bytes": settings.step_bytes,
        "seed": settings.seed,
        "rank": settings.rank if trained else None,
        "rates": {"factors": settings.rate, "rows": settings.row_rate},
        "texts": text_hashes(task.texts),
        "texts_are": task.texts_are,
        "rows": "of every token in the text" if settings.rung.trains_body else "of new tokens in the text",
        "held_out_bits_per_byte": {"before": first.held_out_bits, "after": progress.best_bits},
    }


def _plan(
    task: Task, corpus: Corpus, alignment: Alignment, memory: Mapping[str, int], where: tuple[str, str]
) -> Report:
    settings = task.settings
    new = alignment.new_ids
    rows = rows_to_train(settings.rung, corpus, new)
    seen = int((corpus.seen[new] > 0).sum())
    facts = {
        "model": task.moved.source,
        "base": task.base.source,
        "out": str(task.out),
        "rung": str(settings.rung),
        "length": length_of(settings),
        "text": task.texts_are,
        "texts": sorted(task.texts),
        "trained": "rows of all tokens in the text, and the body"
        if settings.rung.trains_body
        else "rows of new tokens in the text",
        "device": where[0],
        "dtype": where[1],
        "seed": settings.seed,
    }
    figures = {
        "text_bytes": Figure(corpus.train_bytes, "bytes", note="to train on, in one pass"),
        "held_out_bytes": Figure(sum(s.bytes for s in corpus.held_out), "bytes"),
        "rows_trained": Figure(len(rows), "rows"),
        "new_tokens": Figure(len(new), "tokens"),
        "new_tokens_in_text": Figure(seen, "tokens", note="the others learn nothing"),
        "new_token_share": Figure(_share(corpus, new), "share", note="of the text's tokens"),
        "memory": Figure(sum(memory.values()), "bytes", note="estimated, at its height"),
    }
    parts = Report("memory", {}, {name: Figure(size, "bytes") for name, size in memory.items()})
    return Report("healing_plan", facts, figures, {"memory": parts})


def _report(
    task: Task,
    plan: Report,
    written: Mapping[str, Any],
    progress: Progress,
    texts: Mapping[str, Text] | None,
    on_progress: Tell | None,
) -> Report:
    first = progress.curve[0]
    figures = {
        **plan.figures,
        "steps": Figure(progress.step, "steps"),
        "best_step": Figure(progress.best_step, "steps", note="the state that was kept"),
        "training_time": Figure(round(progress.seconds, 1), "s", note="held-out text and saved states in it"),
        "held_out_before": Figure(first.held_out_bits, "bits/byte", note="of text that training did not see"),
        "held_out_after": Figure(progress.best_bits, "bits/byte", note="of text that training did not see"),
        "tensors_copied_and_proved_equal": Figure(written["untouched"]["tensors"], "tensors"),
    }
    facts = {
        **plan.facts,
        "stopped": progress.stopped or "at the end of its length",
        "loss_is_in": task.settings.rung.unit,
        "curve": [asdict(point) for point in progress.curve],
    }
    report = Report("healing", facts, figures, {}, _warnings(progress))
    if texts is None:
        return report
    return with_evaluation(report, lambda: _measured(task, texts, on_progress))


def _measured(task: Task, texts: Mapping[str, Text], on_progress: Tell | None) -> Report:
    models = {BASE: task.base, BEFORE: task.moved, AFTER: open_checkpoint(task.out, source=str(task.out))}
    return before_and_after(
        models, texts, device=task.device, seed=task.settings.seed, on_progress=on_progress
    )


def _warnings(progress: Progress) -> tuple[str, ...]:
    if progress.best_step == 0:
        return ("no state was better on held-out text than the start: the folder holds the start",)
    return ()


def _share(corpus: Corpus, new: Any) -> float:
    total = int(corpus.seen.sum())
    return int(corpus.seen[new].sum()) / total if total else math.nan


def _write_curve(path: Path | None, curve: Sequence[Point]) -> None:
    if path is None:
        return
    lines = "".join(json.dumps(asdict(point)) + "\n" for point in curve)
    try:
        write_whole(path, lines.encode())
    except OSError as error:
        raise TokswapError(
            f"{path} can't be written: {error.strerror or error}", "give another --curve"
        ) from error
