"""Bits per byte before and after, and of the base: three models over the same bytes, one in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tokswap.evaluation.arm import Arm, Tokenized, document_windows, fit_windows, open_arm
from tokswap.evaluation.evaluate import DOMAIN_NOTE, WINDOW_BYTES
from tokswap.evaluation.figures import arm_figures, pair_figures
from tokswap.evaluation.score import Scored, score_documents
from tokswap.evaluation.texts import Text
from tokswap.report import Figure, Report

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

BASE, BEFORE, AFTER = "base", "before", "after"


def before_and_after(
    models: Mapping[str, Checkpoint],
    texts: Mapping[str, Text],
    *,
    device: str = "auto",
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Score the models named base, before and after; a section each text, all texts together in the report itself.

    All see the same bytes with the same bytes of context; ratios are of the same chunks of bytes, with 95 % intervals.
    """
    arms = {name: open_arm(model) for name, model in models.items()}
    read = {
        name: {t: [arm.tokenize(d) for d in text.documents] for t, text in texts.items()}
        for name, arm in arms.items()
    }
    flat = [(arm, [d for its in read[name].values() for d in its]) for name, arm in arms.items()]
    window = fit_windows(flat, WINDOW_BYTES, WINDOW_BYTES // 2)
    scored = {
        name: _score(
            arm,
            read[name],
            window,
            device,
            None if on_progress is None else partial(on_progress, f"score {name}"),
        )
        for name, arm in arms.items()
    }
    sections = {
        name: Report("text", {}, _figures(_words(text), {k: s[name] for k, s in scored.items()}, seed))
        for name, text in texts.items()
    }
    together = {k: [d for its in s.values() for d in its] for k, s in scored.items()}
    words = sum(map(_words, texts.values()))
    facts = {"window_bytes": window[0], "note": DOMAIN_NOTE}
    return Report("healing_evaluation", facts, _figures(words, together, seed), sections)


def _score(
    arm: Arm,
    read: Mapping[str, Sequence[Tokenized]],
    window: tuple[int, int],
    device: str,
    on_windows: Callable[[int, int], None] | None,
) -> dict[str, list[Scored]]:
    from tokswap.evaluation.language_model import load_language_model

    lm = load_language_model(arm.folder, known_ids=arm.vocab.ids, device=device)
    documents = [d for its in read.values() for d in its]
    found = iter(
        score_documents(
            lm,
            documents,
            [document_windows(d, *window) for d in documents],
            start_id=arm.start_id,
            on_windows=on_windows,
        )
    )
    return {name: [next(found) for _ in its] for name, its in read.items()}


def _figures(words: int, scored: Mapping[str, Sequence[Scored]], seed: int) -> dict[str, Figure]:
    """Return bits per byte of each model, and what after is to before and both to the base."""
    out = {
        f"{name}_bits_per_byte": arm_figures(its, words=words, seed=seed)["bits_per_byte"]
        for name, its in scored.items()
    }
    for one, other in ((AFTER, BEFORE), (BEFORE, BASE), (AFTER, BASE)):
        pair = pair_figures(scored[one], scored[other], seed=seed)
        out |= {
            f"{one}_over_{other}": _noted(pair["ratio"], f"bits per byte {one} over {other}"),
            f"{one}_less_{other}": _noted(pair["difference"], f"bits per byte {one} minus {other}"),
        }
    return out


def _noted(figure: Figure, note: str) -> Figure:
    return Figure(figure.value, figure.unit, low=figure.low, high=figure.high, note=note)


def _words(text: Text) -> int:
    return sum(len(document.split()) for document in text.documents)
