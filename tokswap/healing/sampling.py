"""Text of the base's own, for healing where a person has none: what it writes after its start token, at temperature 1.

Nothing is cut off or sharpened: the student is to learn the base's distribution, tails included.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from tokswap.checkpoint import read_json
from tokswap.commit_stage import Places
from tokswap.errors import TokswapError
from tokswap.evaluation.arm import open_arm
from tokswap.evaluation.texts import Text
from tokswap.whole_file import write_whole

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.language_model import LanguageModel

AT_ONCE = 16
"""Texts that are written side by side."""
MOST_TOKENS = 384
"""Tokens of one text."""
NAME = "self-generated"


def kept_sample(
    base: Checkpoint,
    out: Path,
    size: int,
    device: str,
    seed: int,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Text:
    """Return `sample_text`, kept beside the output until that is written: a stopped run goes on with the same text."""
    key = hashlib.sha256(json.dumps([base.identity(), size, seed]).encode()).hexdigest()
    path = _beside(out, key[:16])
    if path.is_file():
        return Text(NAME, tuple(read_json(path)["documents"]))
    told = None if on_progress is None else partial(on_progress, "sample the base")
    text = sample_text(base, size, device=device, seed=seed, on_progress=told)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"documents": text.documents}).encode())
    except OSError as error:
        raise TokswapError(
            f"{path} can't be written: {error.strerror or error}", "give another --out"
        ) from error
    return text


def sample_files(out: Path) -> list[Path]:
    """Return the samples that runs left beside an output."""
    name = _beside(out, "*")
    return sorted(name.parent.glob(glob.escape(name.name[:-1]) + "*"))


def _beside(out: Path, key: str) -> Path:
    place = Places.of(out).out
    return place.with_name(f".{place.name}.tokswap-sample-{key}")


def sample_text(
    base: Checkpoint,
    size: int,
    *,
    device: str = "auto",
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Text:
    """Return documents that `base` wrote, of about `size` bytes together; the same seed gives the same text.

    Raises TokswapError where the base can't be run.
    """
    import torch

    from tokswap.evaluation.language_model import load_language_model

    arm = open_arm(base)
    lm = load_language_model(base.folder, known_ids=arm.vocab.ids, device=device)
    ends = [i for i in map(int, arm.vocab.ids) if arm.vocab.is_special(i) and i < lm.rows]
    documents: list[str] = []
    written = 0
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        while written < size:
            if on_progress is not None:
                on_progress(written, size)
            before = written
            for ids in _write(lm, arm.start_id, ends):
                text = arm.decode(ids).replace("\ufffd", "")
                if text.strip():
                    documents.append(text)
                    written += len(text.encode())
            if written == before:
                raise TokswapError("the base writes no text by itself", "give text of your own with --text")
    return Text(NAME, tuple(documents))


def _write(lm: LanguageModel, start_id: int, ends: list[int]) -> list[list[int]]:
    """Return the ids of AT_ONCE texts, each up to its first special token."""
    import torch
    from transformers import GenerationConfig

    how = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=min(MOST_TOKENS, (lm.max_tokens or MOST_TOKENS + 1) - 1),
        eos_token_id=ends or None,
        pad_token_id=start_id,
        suppress_tokens=lm.unknown_rows.tolist() or None,
    )
    ids = torch.full((AT_ONCE, 1), start_id, device=lm.device)
    # What is unset would be filled in from the model's own: a repetition penalty, say, which sharpens what is taught.
    lm.model.generation_config = GenerationConfig()
    with torch.no_grad():
        out = lm.model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=how)
    stops = set(ends)
    return [list(takewhile(lambda i: i not in stops, row)) for row in out[:, 1:].tolist()]
