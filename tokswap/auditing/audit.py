"""The audit of a model: its rows, and of the models that it was made from the tokens that training never reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokswap.align import Origin
from tokswap.auditing.suspects import Suspect, find_suspects
from tokswap.auditing.undertrained import undertrained
from tokswap.errors import TokswapError
from tokswap.provenance import manifest_of
from tokswap.report import Figure, Report
from tokswap.verification.subject import Subject
from tokswap.vocab import Kind

if TYPE_CHECKING:
    from tokswap.auditing.evidence import Evidence
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.texts import Text

Progress = Callable[[str, int, int], None]
SHOWN = 20
"""Rows that are listed one by one; the figures count them all."""


def audit_checkpoint(
    model: Checkpoint,
    texts: Mapping[str, Text],
    *,
    base: Checkpoint | None = None,
    donor: Checkpoint | None = None,
    device: str = "auto",
    on_progress: Progress | None = None,
) -> Report:
    """Report rows of `model` that are suspicious, and tokens of it, `base` and `donor` that training never reached.

    With `base` the rows that it lacks are the suspects and those that it has are trusted; without, every row is judged
    among all. The fact `sound` is false when a row is suspicious.
    """
    subject = Subject(model, base, manifest=manifest_of(model), device=device)
    evidence, why = _evidence(subject, texts, on_progress)
    candidates, trusted = _sides(subject)
    facts = list(subject.tables.values())[-1]  # of the output, where it is stored apart
    suspects = find_suspects(candidates, trusted, facts.norms, evidence)
    parts = {"model": model, "base": base, "donor": donor}
    sections = {
        name: _undertrained(part) for name, part in parts.items() if part is not None and part.tensors
    }
    return Report(
        "audit",
        {
            "model": model.source,
            "against": None if base is None else base.source,
            "sound": not suspects,
            "suspects": [_shown(subject, suspect) for suspect in suspects[:SHOWN]],
        },
        {
            "judged": Figure(len(candidates), "rows"),
            "trusted": Figure(len(trusted), "rows", note="that they are compared with"),
            "suspicious": Figure(len(suspects), "rows"),
            "states": Figure(
                0 if evidence is None else evidence.states, "states", note="of text that were looked at"
            ),
        },
        sections,
        _not_looked_at(why, donor),
    )


def _not_looked_at(why: str, donor: Checkpoint | None) -> tuple[str, ...]:
    """Return what the audit couldn't see: `why` the model couldn't be run, "" where it was, a donor without rows."""
    out = [f"logits and wins were not looked at: {why}"] * bool(why)
    if donor is not None and not donor.tensors:
        out.append(f"the donor {donor.source} is a tokenizer without weights: it has no rows to look at")
    return tuple(out)


def _evidence(
    subject: Subject, texts: Mapping[str, Text], on_progress: Progress | None
) -> tuple[Evidence | None, str]:
    from tokswap.auditing.evidence import gather
    from tokswap.evaluation.arm import open_arm
    from tokswap.verification.running import why_not_run

    if (why := why_not_run(subject)) is not None:
        return None, why
    try:
        progress = None if on_progress is None else partial(on_progress, "audit")
        return gather(subject.lm, open_arm(subject.checkpoint), texts.values(), on_progress=progress), ""
    except TokswapError as error:
        return None, error.what


def _sides(subject: Subject) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to be judged and those that they are compared with."""
    ordinary = np.flatnonzero(subject.ordinary)
    if subject.base is None:
        return ordinary, ordinary
    origin = subject.alignment.origin
    return np.flatnonzero(origin == Origin.NEW), np.flatnonzero(
        (origin == Origin.SAME_BYTES) & subject.ordinary
    )


def _undertrained(checkpoint: Checkpoint) -> Report:
    """Report the tokens of text whose output rows lie where rows lie that nothing ever trained."""
    subject = Subject(checkpoint)
    roles, vocab = checkpoint.roles, subject.vocab
    reserved = vocab.ids[(vocab.kinds == Kind.SPECIAL) & (vocab.ids < checkpoint.rows)]
    idle = np.asarray([int(i) for i in reserved if not vocab.roles.get(int(i))], dtype=np.int64)
    reference = np.concatenate([np.flatnonzero(~subject.known), idle])
    table = checkpoint.read_rows(roles.output or roles.input, 0, checkpoint.rows)
    found = undertrained(table, reference, np.flatnonzero(subject.ordinary))
    return Report(
        "undertrained",
        {"source": checkpoint.source, "tokens": subject.names(found[:SHOWN])},
        {
            "reference": Figure(
                len(reference), "rows", note="that no text trains: padding and reserved tokens"
            ),
            "undertrained": Figure(len(found), "tokens"),
        },
    )


def _shown(subject: Subject, suspect: Suspect) -> dict[str, Any]:
    (name,) = subject.names(np.asarray([suspect.token_id], dtype=np.int64))
    return {
        "id": suspect.token_id,
        "token": name,
        "reasons": list(suspect.reasons),
        "norm": round(suspect.norm, 3),
        "logit": round(suspect.logit, 2),
        "wins": round(suspect.wins, 4),
    }
