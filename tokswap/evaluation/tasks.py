"""Tasks of lm-eval (EleutherAI's harness) on a checkpoint; its extra is `tokswap[eval]`."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tokswap.errors import TokswapError
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.task_model import TaskModel
from tokswap.report import Figure, Report

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

UNITS = {
    "word_perplexity": "perplexity/word",
    "byte_perplexity": "perplexity/byte",
    "bits_per_byte": "bits/byte",
    "perplexity": "perplexity",
}
SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "f1", "em")
BOOTSTRAPS = 1000
"""Resamples of the metrics that have no formula for their standard error; 0 would leave all without one."""


class _NamesOnly(yaml.SafeLoader):
    """Reads a task's name; what is code in it (`!function`) stays unread."""


def _unread(_loader: yaml.SafeLoader, _suffix: str, _node: yaml.Node) -> None:
    """Stand for what is not read."""


_NamesOnly.add_multi_constructor("!", _unread)


def evaluate_tasks(
    model: Checkpoint,
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Return the metrics of lm-eval's tasks, one section a task.

    A task is a name that lm-eval knows or the path of a task's .yaml, whose data may lie in files beside it: that needs
    no network. `limit` takes only so many examples of each. Raises TokswapError without the extra, and for tasks that
    are not known or whose data can't be had.
    """
    harness = _harness()
    names, folders = _names(tasks)
    manager = harness.tasks.TaskManager(include_path=folders or None)
    unknown = [name for name in names if name not in manager.all_tasks]
    if unknown:
        raise TokswapError(
            f"lm-eval knows no task {unknown[0]!r}", "name one of `lm-eval ls tasks`, or a .yaml"
        )
    if on_progress is not None:
        on_progress("load model", 0, 1)
    from tokswap.evaluation.language_model import load_language_model

    arm = open_arm(model)
    lm = load_language_model(arm.folder, known_ids=arm.vocab.ids, device=device, dtype=dtype)
    adapter = _adapter(harness, TaskModel(lm, arm), on_progress)
    try:
        found = harness.simple_evaluate(
            model=adapter,
            tasks=names,
            limit=limit,
            task_manager=manager,
            bootstrap_iters=BOOTSTRAPS,
            log_samples=False,
        )
    except TokswapError:
        raise
    except (
        Exception
    ) as error:  # a task is a program: its templates, functions and loaders fail in their own ways
        raise TokswapError(
            f"lm-eval can't run {', '.join(names)}: {str(error).splitlines()[0] if str(error) else error!r}",
            "its data may need a network, or --tasks a .yaml whose data_files are here",
        ) from error
    facts = {
        "model": arm.source,
        "tasks": names,
        "device": str(lm.device),
        "dtype": str(lm.dtype).removeprefix("torch."),
        "lm_eval": importlib.metadata.version("lm-eval"),
    }
    counts = found.get("n-samples", {})
    sections = {
        name: Report("task", {"examples": counts.get(name, {}).get("effective")}, _figures(its))
        for name, its in found["results"].items()
    }
    return Report("tasks", facts, {}, sections)


def _harness() -> Any:
    try:
        harness = importlib.import_module("lm_eval")
        importlib.import_module("lm_eval.tasks")
        importlib.import_module("lm_eval.api.model")
    except ImportError as error:
        raise TokswapError(
            "tasks need lm-eval, which isn't installed", "pip install 'tokswap[eval]'"
        ) from error
    return harness


def _names(tasks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of tasks, those in files read from there, and the folders of these files."""
    names: list[str] = []
    folders: list[str] = []
    for task in tasks:
        if not task.endswith((".yaml", ".yml")):
            names.append(task)
            continue
        file = Path(task).expanduser()
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=_NamesOnly)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise TokswapError(
                f"{file} is no task that can be read", "give the path of a task's .yaml"
            ) from error
        if not isinstance(content, Mapping) or not isinstance(content.get("task"), str):
            raise TokswapError(f"{file} has no name under `task:`", "see lm-eval's guide to new tasks")
        names.append(content["task"])
        folders.append(str(file.resolve().parent))
    return names, folders


def _adapter(harness: Any, model: TaskModel, on_progress: Callable[[str, int, int], None] | None) -> Any:
    """Return the model as the class that lm-eval asks."""

    def each(stage: str, requests: Sequence[Any], answer: Callable[[Any], Any]) -> list[Any]:
        out: list[Any] = []
        for request in requests:
            out.append(answer(request.args))
            if on_progress is not None:
                on_progress(stage, len(out), len(requests))
        return out

    class Adapter(harness.api.model.LM):
        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            return model.options([request.args for request in requests])

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            return model.texts([request.args[0] for request in requests])

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return each("answer", requests, lambda args: model.answer(args[0], args[1]))

    return Adapter()


def _figures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Return lm-eval's metrics, whose names are `metric,filter`, with the 95 % interval of their standard error."""
    out: dict[str, Figure] = {}
    for key, value in result.items():
        metric, _, kind = key.partition(",")
        if not kind or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = result.get(f"{metric}_stderr,{kind}")
        wide = 1.96 * error if isinstance(error, int | float) and math.isfinite(error) else None
        name = metric if kind == "none" else f"{metric}_{kind}"
        out[name] = Figure(
            float(value),
            UNITS.get(metric, "share" if metric in SHARES else "points"),
            low=None if wide is None else value - wide,
            high=None if wide is None else value + wide,
            note="" if wide is None else "interval: 1.96 standard errors",
        )
    return out
