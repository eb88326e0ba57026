"""Checks that run the model: it loads whole, padded rows never win, its states are the base's, and it writes."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tokswap.device import choose_device, free_memory
from tokswap.errors import NotFiniteError, TokswapError
from tokswap.report import Figure
from tokswap.verification.check import Finding, failed, first_of, not_checked, passed, warned
from tokswap.verification.rows import not_mean, padded_ids
from tokswap.verification.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

MEMORY_FACTOR = 2.5
"""Free memory asked for, per byte of bf16 weights: they are loaded in fp32, with some room to work in."""
PROMPTS = (
    "The old clock in the hall had stopped again, so",
    "def add(a, b):\n    return a + b\n",
    "In 1984 the prices were 12 and 345, 6789 and 10.",
    "Der Hafen ist klein, le port est petit, el puerto es pequeño.",
)
SAMPLE_TOKENS = 24
DEGENERATE_SHARE = 0.8
"""Share of one token in a greedy sample above which the model says nothing."""


def loads(subject: Subject) -> Finding:
    """Transformers builds the model, finds every weight with its shape, and leaves none over."""
    from tokswap.evaluation.language_model import quiet_transformers

    config = subject.checkpoint.config
    if config.get("auto_map"):
        return not_checked("the model needs code of its own, which is never run here")
    if (why := too_large(subject)) is not None:
        return not_checked(why)
    name = next(iter(config.get("architectures") or []), "")
    try:
        with quiet_transformers() as transformers:
            loader: Any = getattr(transformers, str(name), None) or transformers.AutoModel
            model, told = loader.from_pretrained(
                subject.checkpoint.folder, dtype="auto", local_files_only=True, trust_remote_code=False,
                use_safetensors=True, output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # whatever transformers raises, the answer is the same
        first = next(iter(str(error).splitlines()), "")
        return failed(f"transformers can't load it: {type(error).__name__}: {first}")
    wrong = [
        f"{len(told[key])} {key.replace('_', ' ')} ({first_of(sorted(map(str, told[key])))})"
        for key in _TOLD
        if told[key]
    ]
    if wrong:
        return failed(f"the weights don't fit the architecture: {'; '.join(wrong)}")
    rows = int(model.get_input_embeddings().weight.shape[0])
    parameters = sum(p.numel() for p in model.parameters())
    stored = subject.checkpoint.rows + subject.checkpoint.extra_rows
    if rows != stored:
        return failed(f"it loads with {rows:,} rows, and {stored:,} are stored")
    return passed(
        f"{type(model).__name__}, {parameters:,} parameters", parameters=Figure(parameters, "parameters")
    )


_TOLD = ("missing_keys", "unexpected_keys", "mismatched_keys")


def padded_rows(subject: Subject) -> Finding:
    """A row that no token has is never the likeliest: by proof where it is the mean row, else on texts."""
    ids = padded_ids(subject)
    if not len(ids):
        return passed("every row has a token")
    roles = subject.checkpoint.roles
    unproved = ids if roles.bias else not_mean(subject, ids)
    if not len(unproved):
        return passed(f"{len(ids):,} rows without a token are the mean row, whose logit is never the largest")
    if (why := why_not_run(subject)) is not None:
        return not_checked(why)
    wins, mass, states = _wins(subject, unproved)
    figure = Figure(
        mass, "probability", note=f"the most that {len(unproved):,} rows without a token ever had"
    )
    if wins:
        return failed(f"a row without a token is the likeliest in {wins:,} of {states:,} states", mass=figure)
    return passed(
        f"none of {len(ids):,} rows without a token is the likeliest in {states:,} states of text",
        mass=figure,
    )


def hidden_states(subject: Subject) -> Finding:
    """On prompts of shared tokens the states are the base's bit for bit, and shared logits but for rounding."""
    from tokswap.evaluation.shared_prefix import shared_prefix_check

    if subject.base is None:
        return not_checked(subject.why_no_base)
    if subject.shared_rows_moved:
        return not_checked(subject.shared_rows_moved)
    if subject.trained_since:
        return not_checked("tokswap.json says that the body was trained since the transplant")
    if (why := why_not_run(subject)) is not None:
        return not_checked(why)
    try:
        report = shared_prefix_check(
            subject.checkpoint, subject.base, subject.alignment, PROMPTS, device=subject.device
        )
    except TokswapError as error:
        return not_checked(error.what)
    figures = report.figures
    said = f"{figures['tokens'].value} tokens of {figures['prompts'].value} prompts"
    if not report.facts["identical_states"]:
        gap = figures["largest_state_difference"].value
        return failed(f"on {said} the hidden states differ from the base's by up to {gap:.3g}", **figures)
    if not report.facts["equal_logits"]:
        gap = figures["largest_logit_difference"].value
        return failed(f"on {said} logits of shared tokens differ by up to {gap:.3g}", **figures)
    return passed(f"on {said} the hidden states are the base's, bit for bit", **figures)


def greedy_sample(subject: Subject) -> Finding:
    """The model continues a text with finite logits and more than one token."""
    if (why := why_not_run(subject)) is not None:
        return not_checked(why)
    ids = _greedy(subject, PROMPTS[0])
    if ids is None:
        return failed("the logits are not finite")
    text = json.dumps(str(subject.engine.decode(ids, skip_special_tokens=False)), ensure_ascii=False)
    (_, most), *_ = Counter(ids).most_common(1) or [(0, 0)]
    if len(ids) > 3 and most > DEGENERATE_SHARE * len(ids):
        return warned(f"it repeats one token: {PROMPTS[0]!r} → {text}")
    return passed(f"{PROMPTS[0]!r} → {text}")


def too_large(subject: Subject) -> str | None:
    """Say why the model doesn't fit the free memory, None where it does."""
    size = sum(info.nbytes for info in subject.checkpoint.tensors.values())
    room = free_memory(choose_device(subject.device))
    if size * MEMORY_FACTOR <= room:
        return None
    return f"the model ({size / 1e9:.1f} GB) is too large to run in {room / 1e9:.1f} GB of free memory"


def why_not_run(subject: Subject) -> str | None:
    """Say why the model can't be run as a causal language model, None where it can.

    Raises NotFiniteError for one that runs and computes no numbers.
    """
    if subject.checkpoint.config.get("auto_map"):
        return "the model needs code of its own, which is never run here"
    if (why := too_large(subject)) is not None:
        return why
    try:
        subject.lm  # noqa: B018 - kept for the checks that follow
    except NotFiniteError:
        raise  # it runs, and what it computes is wrong
    except TokswapError as error:
        return f"it can't be run as a causal language model: {error.what}"
    except (RuntimeError, TypeError, ValueError, IndexError) as error:  # of a model that wants other inputs
        return f"it can't be run as a causal language model: {type(error).__name__}: {error}"
    return None


def _wins(subject: Subject, ids: Any) -> tuple[int, float, int]:
    """Return how often one of the rows is the likeliest, the most probability they had, and the number of states."""
    import torch

    from tokswap.evaluation.language_model import logit_slices

    states = torch.cat([_states(subject, prompt) for prompt in PROMPTS])
    padded = torch.from_numpy(ids)
    wins, mass = 0, 0.0
    for _, logits in logit_slices(subject.lm, states):
        wins += int(torch.isin(logits.argmax(-1).cpu(), padded).sum())
        mass = max(mass, float(logits.softmax(-1)[:, padded.to(logits.device)].sum(-1).max()))
    return wins, mass, len(states)


def _states(subject: Subject, prompt: str) -> Tensor:
    import torch

    from tokswap.evaluation.language_model import final_states

    return final_states(subject.lm, torch.tensor([_ids(subject, prompt)]))[0]


def _greedy(subject: Subject, prompt: str) -> list[int] | None:
    """Return the likeliest continuation, or None where a logit is NaN."""
    import torch

    from tokswap.evaluation.language_model import final_states, logits

    read, written = _ids(subject, prompt), list[int]()
    for _ in range(SAMPLE_TOKENS):
        last = logits(subject.lm, final_states(subject.lm, torch.tensor([read + written]))[0, -1])
        if bool(last.isnan().any()):
            return None
        written.append(int(last.argmax()))
    return written


def _ids(subject: Subject, prompt: str) -> list[int]:
    """Return a prompt's ids as the tokenizer gives them, its start token included, as far as they have rows."""
    ids = np.asarray(subject.engine.encode(prompt).ids, dtype=np.int64)
    ids = ids[ids < subject.checkpoint.rows][: subject.lm.max_tokens]
    return ids.tolist() or [0]
