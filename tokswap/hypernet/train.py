"""Train a hypernetwork for a base: its rows and merges, text → the loop → a folder → Report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokswap import __version__
from tokswap.checkpoint import Checkpoint, read_embeddings, read_json
from tokswap.commit_stage import Places, require_apart
from tokswap.device import choose_device, choose_dtype
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.texts import Text, load_texts
from tokswap.healing.snippets import text_hashes
from tokswap.healing.state import Progress
from tokswap.hypernet.board import require_tensorboard
from tokswap.hypernet.config import RESIDUAL, ZETT, HypernetConfig, Start, make_config
from tokswap.hypernet.files import Hypernet, build_network
from tokswap.hypernet.memory import estimate, operations, parameters_of, require_memory
from tokswap.hypernet.objective import Material, Objective
from tokswap.hypernet.pairs import merge_pairs
from tokswap.hypernet.places import KIND, replacing_network, staged
from tokswap.hypernet.sampling import as_vocabulary
from tokswap.hypernet.settings import Settings, make_settings
from tokswap.hypernet.streams import Stream, snippets_of
from tokswap.hypernet.student import Student
from tokswap.hypernet.surfaces import fallback_bytes, vocabulary_digest
from tokswap.hypernet.use import cached_folder
from tokswap.initialise import Embeddings, usable_ids
from tokswap.methods import SideBySide, get_method
from tokswap.report import Figure, Report
from tokswap.sources import open_source, public_name
from tokswap.vocab import Vocab, vocab_of

if TYPE_CHECKING:
    import torch

Tell = Callable[[str, int, int], None]
Named = str | PathLike[str]

RESIDUAL_WIDTH, RESIDUAL_LAYERS, LONGEST = 256, 2, 7
"""Sizes of a small network, and the pieces of a spelling that are looked at (as in the released ones)."""


@dataclass(frozen=True)
class Job:
    """What is trained on what: the base, its vocabulary, the network's configuration, settings and texts."""

    base: Checkpoint
    vocab: Vocab
    config: HypernetConfig
    settings: Settings
    texts: Mapping[str, Text]
    donor: Checkpoint | None
    out: Path
    log: Path
    worker: bool = True
    board: Path | None = None

    @property
    def identity(self) -> str:
        """The id of the run: another one doesn't take over its state."""
        return self.settings.identity(
            {
                "base": self.base.identity(),
                "config": self.config.to_dict(),
                "texts": text_hashes(self.texts),
                "donor": None if self.donor is None else _digest(self.donor.tokenizer),
                "tokswap": __version__,
            }
        )


def train_hypernet(
    base: Named,
    out: Named | None = None,
    *,
    stages: Sequence[str] = (),
    texts: Sequence[Named] = (),
    donor: Named | None = None,
    architecture: str = "residual",
    start: str = "subword",
    start_parameters: Mapping[str, Any] | None = None,
    hidden: int | None = None,
    layers: int | None = None,
    seed: int = 0,
    log: Named | None = None,
    tensorboard: Named | None = None,
    device: str = "auto",
    dtype: str = "auto",
    overwrite: bool = False,
    worker: bool = True,
    on_plan: Callable[[Report], None] | None = None,
    on_progress: Tell | None = None,
    **settings: Any,
) -> Report:
    """Train a hypernetwork for `base` and write it to the folder `out`, None standing for the one in the cache.

    `stages` are "spell=2000", "identity=…", "lm=…" and "distil=…" in order; the last two read `texts` through the
    frozen base, under tokenizers that are drawn and, every other turn, that of `donor`. `architecture` is "residual",
    which refines the rows of the method `start`, or "zett". `settings` are other fields of `Settings`. `log` gets a
    JSON line for every step and every look, and the folder `tensorboard` the same as curves. A run that was stopped
    goes on when the same call is made again, and ends in the same bytes.

    The best network by held-out data is what is written, at the end: until then `out` is as it was.

    Raises TokswapError for what can't be trained or written, too little memory, and a loss that isn't finite: the best
    network until then is kept beside `out`.
    """
    checked = make_settings(stages, seed=seed, **settings)
    opened = open_source(fspath(base), on_progress=on_progress)
    given = (
        None if donor is None else open_source(fspath(donor), only_tokenizer=True, on_progress=on_progress)
    )
    vocab = vocab_of(opened)
    place = cached_folder(opened, vocab) if out is None else Path(out).expanduser()
    job = Job(
        base=opened,
        vocab=vocab,
        config=_config(opened, vocab, architecture, _start(start, start_parameters or {}), hidden, layers),
        settings=checked,
        texts=load_texts([Path(text).expanduser() for text in texts]) if texts else {},
        donor=given,
        out=place,
        log=Path(log).expanduser() if log is not None else place / "log.jsonl",
        worker=worker,
        board=None if tensorboard is None else Path(tensorboard).expanduser(),
    )
    if job.board is not None:
        require_tensorboard()
    return _run(job, (device, dtype), overwrite=overwrite, on_plan=on_plan, on_progress=on_progress)


def _run(
    job: Job,
    where: tuple[str, str],
    *,
    overwrite: bool,
    on_plan: Callable[[Report], None] | None,
    on_progress: Tell | None,
) -> Report:
    from tokswap.hypernet.training import Trainer, process

    state = Places.of(job.out).state(KIND, job.identity)
    _require_room(job, state, overwrite=overwrite)
    reads = any(stage.reads_text for stage, _ in job.settings.stages)
    device = choose_device(where[0])
    dtype = choose_dtype(where[1], device)
    donated = 0 if job.donor is None else job.donor.vocab_size or 0
    parts = estimate(job.base, job.config, job.settings, dtype if job.texts else None, donated)
    require_memory(parts, device)
    plan = _plan(job, parts, reads=reads, where=(str(device), str(dtype).removeprefix("torch.")))
    if on_plan is not None:
        on_plan(plan)
    with nullcontext() if process()[0] else replacing_network(job.out, state):
        hypernet, material = _prepared(job, str(device), str(dtype).removeprefix("torch."))
        objective = Objective(hypernet, material, job.settings)
        trainer = Trainer(objective, Places.of(job.out).stage, state, staged(job.out, job.log), job.board)
        try:
            progress = trainer.run(on_progress)
        finally:
            if material.stream is not None:
                material.stream.close()
    return _report(job, plan, trainer.lines, progress)


def _require_room(job: Job, state: Path, *, overwrite: bool) -> None:
    if any(stage.reads_text for stage, _ in job.settings.stages) and not job.texts:
        raise TokswapError(
            "the stages lm and distil read text, and none was given", "give some with --text FILE"
        )
    places = Places.of(job.out)
    require_apart(job.base, places)
    others = [] if state.exists() else places.states(KIND)
    logs = [] if state.exists() else [job.log]  # of this run otherwise
    if not overwrite:
        for path in (job.out, places.old, *logs):
            if path.exists():
                raise TokswapError(
                    f"{path} exists", "choose another place, or pass --overwrite to replace it"
                )
        if others:
            raise TokswapError(
                f"a training of {job.out} with other settings or inputs exists, and has not ended",
                "run its own command again, choose another --out, or pass --overwrite to throw it away",
            )
    # What a killed transplant moved aside is somebody's model, which comes back to its place first.
    for path in (job.out, places.old):
        if path.exists() and not _holds_hypernet(path):
            raise TokswapError(f"{path} holds no hypernetwork, so it isn't replaced", "choose another --out")


def _holds_hypernet(folder: Path) -> bool:
    """Is this a folder of a hypernetwork, or an empty one?"""
    if not folder.is_dir():
        return False
    config = folder / "config.json"
    kind = read_json(config).get("model_type") if config.is_file() else None
    return kind in (RESIDUAL, ZETT) or not any(folder.iterdir())


def _start(name: str, parameters: Mapping[str, Any]) -> Start:
    method = get_method(name)
    reason = ""
    if method.network:
        reason = "it is made by a hypernetwork itself"
    elif method.parallel:
        reason = "it follows from parallel text, which tokenizers that are drawn have none of"
    elif method.space == "donor":
        reason = (
            "it follows from the donor's row of a token, which the tokens of a tokenizer that is drawn don't have, nor "
            "those of the base's own, from whose rows it learns, that the donor lacks"
        )
    if reason:
        raise TokswapError(
            f"a hypernetwork can't refine the rows of {name!r}: {reason}",
            "choose --start subword, mean, normal or zero",
        )
    return Start(method=name, parameters=method.checked(parameters))


def _config(
    base: Checkpoint, vocab: Vocab, architecture: str, start: Start, hidden: int | None, layers: int | None
) -> HypernetConfig:
    """Return the configuration of a new network for a base."""
    if architecture not in ("residual", "zett"):
        raise TokswapError(f"there is no architecture {architecture!r}", "choose --arch residual or zett")
    residual = architecture == "residual"
    width = hidden or (RESIDUAL_WIDTH if residual else base.hidden_size)
    fields: dict[str, Any] = {
        "model_type": RESIDUAL if residual else ZETT,
        "n_embd": base.hidden_size,
        "hn_hidden_size": width,
        "hn_intermediate_size": 2 * width,
        "hn_n_layers": layers or (RESIDUAL_LAYERS if residual else 3),
        "hn_num_attention_heads": max(1, width // 64),
        "hn_surface_maxlen": LONGEST,
        "separate_out_embeddings": not base.tied,
        "original_vocab_size": base.rows,
        "hn_predict_bias": False,
        "vocabulary": vocabulary_digest(vocab, base.rows),
        "start": start.model_dump(),
    }
    if residual:
        fields["pad_token_id"] = base.rows  # an id that no token has
    else:
        pad = next((i for i in (vocab.role_id("pad"), vocab.start_id) if i is not None), 0)
        fields |= {
            "hn_model_type": "roberta",
            "hn_embed_using_source_embeddings": True,
            "hn_rescale_embeddings": True,
            "hn_n_extra_tokens": len(fallback_bytes(vocab)),
            "pad_token_id": pad,
        }
    return make_config(fields)


def _prepared(job: Job, device: str, dtype: str) -> tuple[Hypernet, Material]:
    import torch

    base = Embeddings(*read_embeddings(job.base))
    rows = base.input if base.output is None else SideBySide(base.input, base.output)
    usable = usable_ids(base, job.vocab)
    torch.manual_seed(job.settings.seed)
    hypernet = Hypernet(job.config, build_network(job.config), str(job.out))
    _standardise(hypernet, rows, usable)
    hypernet.network.to(device)
    pairs = merge_pairs(job.base.tokenizer, job.vocab, usable.numpy(), job.settings.seed)
    material = Material(rows, usable, pairs, device=device)
    if not job.texts:
        return hypernet, material
    from tokswap.evaluation.language_model import load_language_model

    lm = load_language_model(job.base.folder, known_ids=job.vocab.ids, device=device, dtype=dtype)
    student = Student(lm, open_arm(job.base), rows)
    return hypernet, replace(material, stream=_stream(job), student=student)


def _stream(job: Job) -> Stream:
    train, held_out = snippets_of(job.texts)
    donor = None
    if job.donor is not None:
        donor = as_vocabulary(job.donor.tokenizer, job.base.tokenizer, job.vocab, job.donor.tokenizer_config)
    return Stream(train, held_out, job.settings, job.base.tokenizer, job.vocab, donor, job.worker)


def _standardise(hypernet: Hypernet, rows: torch.Tensor | SideBySide, usable: torch.Tensor) -> None:
    """Give a fresh network the base's own mean and deviation of each column."""
    import torch

    from tokswap.hypernet.residual import ResidualNetwork

    network: Any = hypernet.network
    if isinstance(network, ResidualNetwork):
        network.standardise(rows, usable)
        return
    known = rows[usable].float()
    mean, deviation = known.mean(0, keepdim=True), known.std(0, keepdim=True).clamp_min(1e-8)
    width = hypernet.config.n_embd
    with torch.no_grad():
        network.in_scaler.w.copy_(1 / deviation)
        network.in_scaler.b.copy_(-mean / deviation)
        for scaler, part in ((network.scaler, slice(0, width)), *([(network.out_scaler, slice(width, None))] if
                             hypernet.config.separate_out_embeddings else [])):  # fmt: skip
            scaler.w.copy_(deviation[:, part])
            scaler.b.copy_(mean[:, part])


def _plan(job: Job, parts: Mapping[str, int], *, reads: bool, where: tuple[str, str]) -> Report:
    settings, config = job.settings, job.config
    facts = {
        "base": public_name(job.base.source),
        "out": str(job.out),
        "architecture": "residual" if config.residual else "zett",
        "start": config.start.method if config.residual else None,
        "stages": [f"{stage}={steps}" for stage, steps in settings.stages],
        "texts": sorted(job.texts),
        "donor": None if job.donor is None else public_name(job.donor.source),
        "device": where[0],
        "dtype": where[1] if job.texts else "float32",
        "seed": settings.seed,
    }
    figures = {
        "parameters": Figure(parameters_of(config), "parameters"),
        "steps": Figure(settings.steps, "steps"),
        "memory": Figure(sum(parts.values()), "bytes", note="estimated, at its height"),
        "operations_a_step": Figure(
            operations(job.base, config, settings, text=reads), "FLOP", note="of the dearest stage"
        ),
    }
    memory = Report("memory", {}, {name: Figure(size, "bytes") for name, size in parts.items()})
    return Report("hypernet_plan", facts, figures, {"memory": memory})


def _report(job: Job, plan: Report, lines: Sequence[Mapping[str, Any]], progress: Progress) -> Report:
    looks = [line for line in lines if "held_out_error" in line]
    first, last = looks[0], next(look for look in looks if look["step"] == progress.best_step)
    figures = {
        **plan.figures,
        "training_time": Figure(round(progress.seconds, 1), "s", note="looks and saved states in it"),
        "written_step": Figure(progress.best_step, "steps", note="the best look at held-out data"),
        "start_error": Figure(
            last["start_error"], "share", note="of the variance of rows that were held out"
        ),
        "held_out_error": Figure(
            last["held_out_error"], "share", note="of the variance of rows that were held out"
        ),
    }
    if last["held_out_bits"] is not None:
        which = (
            "a tokenizer that it did not draw"
            if job.donor is None
            else "the donor's tokenizer, which it reads too"
        )
        note = f"of text that training did not see, under {which}"
        figures["held_out_before"] = Figure(first["held_out_bits"], "bits/byte", note=note)
        figures["held_out_after"] = Figure(last["held_out_bits"], "bits/byte", note=note)
    return Report("hypernet_training", {**plan.facts, "looks": looks, "log": str(job.log)}, figures)


def _digest(tokenizer: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tokenizer, sort_keys=True).encode()).hexdigest()
