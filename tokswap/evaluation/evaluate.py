"""Score a model, and the model that it came from, on the same bytes with the same context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.align import align
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import Arm, Tokenized, document_windows, fit_windows, open_arm
from tokswap.evaluation.bootstrap import CHUNK_BYTES
from tokswap.evaluation.exact import ByteNats, codec_of, exact_figures, score_exactly
from tokswap.evaluation.figures import segmentation_figures, text_figures
from tokswap.evaluation.kept import Kept
from tokswap.evaluation.probe import Written, bits_of, default_prompts, probe_facts, probe_figures, write_on
from tokswap.evaluation.sample import PROMPT, greedy_sample
from tokswap.evaluation.score import Scored, score_documents
from tokswap.evaluation.segmentation import resegment
from tokswap.evaluation.texts import Text
from tokswap.report import Figure, Report

if TYPE_CHECKING:
    from tokswap.bytewise.codec import ByteCodec
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.language_model import LanguageModel

Progress = Callable[[str, int, int], None]
"""Told the stage, how much of it is done and how much there is."""

WINDOW_BYTES = 2048
"""Scored in strides of half a window: each byte has at least 1,024 bytes before it, but for a document's first ones."""

NO_BASE = "name the model it came from with --against"

DOMAIN_NOTE = "these texts are few and of few kinds: a figure stands for them, not for a language"


@dataclass(frozen=True)
class _Run:
    """What is the same for both arms."""

    window_bytes: int
    stride_bytes: int
    device: str
    dtype: str
    sample_prompt: str | None
    prompts: tuple[str, ...]
    on_progress: Progress | None
    keep: Path | None = None

    def say(self, stage: str, done: int = 0, total: int = 1) -> None:
        """Tell the caller how far this is."""
        if self.on_progress is not None:
            self.on_progress(stage, done, total)


Documents = Mapping[str, Sequence[Tokenized]]


@dataclass(frozen=True)
class _Result:
    """One arm's documents by text, how it was run, and what it writes.

    `segmented`: the base's score of the model's segmentation, by text. `bits` are its bits per byte of what model
    and base wrote. `exact` are the exact nats of each byte of each document, by text.
    """

    scored: Mapping[str, list[Scored]]
    facts: Mapping[str, Any]
    segmented: Mapping[str, list[Scored]] = field(default_factory=dict[str, "list[Scored]"])
    written: Written | None = None
    bits: tuple[float | None, float | None] = (None, None)
    exact: ByteNats = field(default_factory=dict[str, "list[NDArray[np.float64]]"])


def evaluate(
    model: Checkpoint,
    texts: Mapping[str, Text],
    *,
    against: Checkpoint | None = None,
    device: str = "auto",
    dtype: str = "auto",
    window_bytes: int = WINDOW_BYTES,
    stride_bytes: int | None = None,
    max_bytes: int | None = None,
    sample_prompt: str | None = PROMPT,
    segmentation: bool = False,
    probe: bool = False,
    exact_bytes: bool = False,
    seed: int = 0,
    keep: str | Path | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """Return bits per byte and more of `model` on `texts`, and where `against` is given, of that base beside it.

    Both arms see the same bytes with the same bytes of context, after their own start token. `stride_bytes` None is
    half a window; `max_bytes` shortens each text; `sample_prompt` None leaves out the greedy sample; `seed` is the
    bootstrap's. `segmentation` adds the base's score of the model's token borders, `probe` what both write after
    some prompts, `exact_bytes` the exact loss of each byte (`tokswap.bytewise`). One model is in memory at a time.
    `keep` is a folder for what the base scores and writes: the next model that is held against it on the same texts
    takes it from there.

    Raises TokswapError for models, tokenizers, devices and windows that can't be used.
    """
    if not texts:
        raise TokswapError("there is no text to score", "name a file of plain text, or leave out --text")
    if segmentation and against is None:
        raise TokswapError("the segmentation reference is the base's score, and there is no base", NO_BASE)
    if max_bytes is not None:
        texts = {name: text.first(max_bytes) for name, text in texts.items()}
    given = [checkpoint for checkpoint in (model, against) if checkpoint is not None]
    arms = [open_arm(checkpoint) for checkpoint in given]
    codecs = [codec_of(c, arm) if exact_bytes else None for c, arm in zip(given, arms, strict=True)]
    tokenized = [_tokenize(arm, texts) for arm in arms]
    alignment = align(arms[1].vocab, arms[0].vocab) if against is not None else None
    segmented: Documents = {}
    if segmentation and against is not None and alignment is not None:
        segmented = {
            name: resegment(its, alignment, arms[0].vocab, against.tokenizer, arms[1].vocab)
            for name, its in tokenized[0].items()
        }
    fitted = _fit([*zip(arms, tokenized, strict=True), (arms[-1], segmented)], window_bytes, stride_bytes)
    prompts = default_prompts() if probe else ()
    run = _Run(
        *fitted, device, dtype, sample_prompt, prompts, on_progress, None if keep is None else Path(keep)
    )
    new_ids = None if alignment is None else alignment.new_ids
    results = [_run_arm(arms[0], "model", run, tokenized[0], new_ids=new_ids, codec=codecs[0])]
    if against is not None:
        results += [
            _run_arm(
                arms[1],
                "base",
                run,
                tokenized[1],
                segmented=segmented,
                other=results[0].written,
                identity=against.identity(),
                codec=codecs[1],
            )
        ]
    warnings = [_lossy_warning(arm, its) for arm, its in zip(arms, tokenized, strict=True)]
    if fitted[0] != window_bytes:
        warnings.append(f"windows of {fitted[0]} bytes, not {window_bytes}: a model has too few positions")
    return Report(
        kind="evaluation",
        facts=_facts(arms, results, run, texts),
        figures=_figures(list(texts), texts, results, seed) | _probed(arms[0], results, new_ids),
        sections={name: _section(name, text, results, seed) for name, text in texts.items()},
        warnings=tuple(filter(None, warnings)),
    )


def _tokenize(arm: Arm, texts: Mapping[str, Text]) -> dict[str, list[Tokenized]]:
    return {name: [arm.tokenize(d) for d in text.documents] for name, text in texts.items()}


def _fit(
    arms: Sequence[tuple[Arm, Documents]], window_bytes: int, stride_bytes: int | None
) -> tuple[int, int]:
    stride = window_bytes // 2 if stride_bytes is None else stride_bytes
    flat = [(arm, [d for its in by_text.values() for d in its]) for arm, by_text in arms]
    return fit_windows(flat, window_bytes, stride)


def _run_arm(
    arm: Arm,
    stage: str,
    run: _Run,
    documents: Documents,
    *,
    new_ids: NDArray[np.int64] | None = None,
    segmented: Documents | None = None,
    other: Written | None = None,
    identity: str = "",
    codec: ByteCodec | None = None,
) -> _Result:
    """Load an arm's model, score every text, let it write, and let the model go.

    `segmented` are texts in the base's ids at the model's borders, `other` what the model wrote: the base scores both.
    `identity` is the base's: under it its results are kept. With `codec` every byte is scored exactly too.
    """
    from tokswap.evaluation.language_model import load_language_model

    run.say(f"load {stage}")
    lm = load_language_model(arm.folder, known_ids=arm.vocab.ids, device=run.device, dtype=run.dtype)
    kept = Kept(run.keep, (identity, str(lm.device), str(lm.dtype))) if run.keep and identity else None
    scored = _score(lm, arm, documents, run, f"score {stage}", new_ids, kept)
    at_borders = _score(lm, arm, segmented, run, "score segmentation", None, kept) if segmented else {}
    windows = run.window_bytes, run.stride_bytes
    exact = (
        score_exactly(lm, arm, codec, documents, windows, partial(run.say, f"bytes {stage}")) if codec else {}
    )
    facts: dict[str, Any] = {"device": str(lm.device), "dtype": str(lm.dtype).removeprefix("torch.")}
    if run.sample_prompt:
        run.say(f"sample {stage}")
        facts["sample"] = greedy_sample(lm, arm, run.sample_prompt)
    if not run.prompts:
        return _Result(scored, facts, at_borders, exact=exact)
    run.say(f"sample {stage}: {len(run.prompts)} prompts")
    compute = partial(write_on, lm, arm, run.prompts)
    written = compute() if kept is None else kept.written(run.prompts, compute)
    bits = (None if other is None else bits_of(lm, arm, other, *windows), bits_of(lm, arm, written, *windows))
    return _Result(scored, facts, at_borders, written, bits, exact)


def _score(
    lm: LanguageModel,
    arm: Arm,
    by_text: Documents,
    run: _Run,
    stage: str,
    new_ids: NDArray[np.int64] | None = None,
    kept: Kept | None = None,
) -> dict[str, list[Scored]]:
    names = [name for name, its in by_text.items() for _ in its]
    documents = [document for its in by_text.values() for document in its]
    windows = [document_windows(document, run.window_bytes, run.stride_bytes) for document in documents]
    compute = partial(
        score_documents,
        lm,
        documents,
        windows,
        start_id=arm.start_id,
        new_ids=new_ids,
        on_windows=partial(run.say, stage),
    )
    scored = compute() if kept is None else kept.scores(documents, windows, compute)
    return {name: [s for s, its in zip(scored, names, strict=True) if its == name] for name in by_text}


def _figures(
    names: Sequence[str], texts: Mapping[str, Text], results: Sequence[_Result], seed: int
) -> dict[str, Figure]:
    model, *base = [[s for name in names for s in result.scored[name]] for result in results]
    words = sum(len(document.split()) for name in names for document in texts[name].documents)
    out = text_figures(model, base[0] if base else None, words=words, compared=bool(base), seed=seed)
    if base and results[1].segmented:
        borders = [s for name in names for s in results[1].segmented[name]]
        out |= segmentation_figures(model, base[0], borders, seed=seed)
    if results[0].exact:
        out |= exact_figures(
            [[n for name in names for n in result.exact[name]] for result in results], seed=seed
        )
    return out


def _probed(arm: Arm, results: Sequence[_Result], new_ids: NDArray[np.int64] | None) -> dict[str, Figure]:
    """Return the figures of what was written, if anything was asked for."""
    written = results[0].written
    if written is None:
        return {}
    if len(results) == 1:
        return probe_figures(arm, written, None, None)
    return probe_figures(arm, written, results[1].written, new_ids, results[1].bits)


def _section(name: str, text: Text, results: Sequence[_Result], seed: int) -> Report:
    return Report(
        kind="text",
        facts={"documents": len(text.documents), "bytes": text.bytes},
        figures=_figures([name], {name: text}, results, seed),
    )


def _facts(
    arms: Sequence[Arm], results: Sequence[_Result], run: _Run, texts: Mapping[str, Text]
) -> dict[str, Any]:
    out: dict[str, Any] = {"model": arms[0].source}
    if len(arms) > 1:
        out["against"] = arms[1].source
    out |= {
        "start_token": _start_tokens([arm.start_text for arm in arms]),
        "window_bytes": run.window_bytes,
        "stride_bytes": run.stride_bytes,
        "interval": f"95 %, bootstrap over chunks of {CHUNK_BYTES} bytes" + (", paired" if arms[1:] else ""),
        "device": results[0].facts["device"],
        "dtype": results[0].facts["dtype"],
        "texts": len(texts),
        "documents": sum(len(text.documents) for text in texts.values()),
        "bytes": sum(text.bytes for text in texts.values()),
        "note": DOMAIN_NOTE,
    }
    if run.sample_prompt:
        out["sample_prompt"] = run.sample_prompt
        out |= {f"{name}sample": r.facts["sample"] for name, r in zip(("", "base_"), results, strict=False)}
    if results[0].written is not None:
        out |= probe_facts(arms[0], results[0].written, results[1].written if len(results) > 1 else None)
    return out


def _start_tokens(texts: Sequence[str]) -> str:
    """Say which token comes before every window, and whose it is where model and base differ."""
    if len(set(texts)) > 1:
        return f"model: {texts[0]!r}, base: {texts[1]!r}, before every window"
    return f"{texts[0]!r} before every window" + (", in both arms" if len(texts) > 1 else "")


def _lossy_warning(arm: Arm, tokenized: Mapping[str, Sequence[Tokenized]]) -> str:
    lossy = [name for name, its in tokenized.items() if not all(d.spans.exact for d in its)]
    if not lossy:
        return ""
    return (
        f"the tokenizer of {arm.source} changes the text of {', '.join(lossy)} (it normalises, or lacks characters): "
        "its figures are too low there, since what it drops isn't predicted, and its token borders are estimates"
    )
