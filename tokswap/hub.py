"""Bring a model from the Hugging Face Hub into its own cache: safetensors, JSON and tokenizer files only."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tokswap.errors import TokswapError

Progress = Callable[[str, int, int], None]
Part = Literal[
    "all", "headers", "tokenizer"
]  # of a model on the Hub: what is fetched besides its small files

HUB_ID = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[^@\s]+))?")
_TIMEOUT_SECONDS = 10.0  # patience for the first answer: without a network the person hears so at once
_INDEX = "model.safetensors.index.json"
_WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]
_WANTED = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "tekken.json",
    "*.tiktoken",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
]
# Other exports of the same weights: sub-folders (original/, onnx/, …) and Mistral's second copy.
_UNWANTED = ["*/*", "consolidated*.safetensors"]


def download(
    repo: str, revision: str | None = None, on_progress: Progress | None = None, *, weights: bool = True
) -> Path:
    """Return the local snapshot folder of a Hub model; its name is the commit hash.

    Without `weights` none are fetched; those that are there already stay. The Hub's own cache, $HF_HUB_OFFLINE,
    $HF_ENDPOINT and the token in $HF_TOKEN are honoured. Raises TokswapError, at once when there is no network, if
    the model can't be had.
    """
    patterns = [*_WANTED, *_WEIGHTS] if weights else _WANTED
    folder = _snapshot(repo, revision, patterns, on_progress)
    if not weights and (folder / _INDEX).exists():
        # Fetched before, perhaps in part, and an index without its shards is no checkpoint.
        return download(repo, revision, on_progress)
    return folder


def download_small(repo: str, revision: str | None = None, on_progress: Progress | None = None) -> Path:
    """Return the local snapshot folder with all wanted files but weights; raises TokswapError as `download` does."""
    return _snapshot(repo, revision, _WANTED, on_progress)


def offline() -> bool:
    """Return whether the person wants nothing but what is in the Hub's cache on this machine."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def read(repo: str, commit: str, name: str, span: tuple[int, int] | None = None) -> tuple[bytes, int] | None:
    """Return a file of a commit, or its bytes from span[0] up to span[1], with the file's size; None if there is none.

    Nothing is kept. Raises TokswapError as `download` does.
    """
    from huggingface_hub import errors, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    headers = build_hf_headers()
    if span is not None:
        headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    try:
        url = hf_hub_url(repo, name, revision=commit)
        answer = get_session().get(url, headers=headers, timeout=_TIMEOUT_SECONDS)
        hf_raise_for_status(answer)
    except errors.EntryNotFoundError:
        return None
    except Exception as error:
        raise _explained(repo, commit, error) from error
    whole = answer.headers.get("Content-Range", "").rpartition("/")[2]  # bytes 0-99/12345
    return answer.content, int(whole) if whole.isdigit() else len(answer.content)


def _snapshot(repo: str, revision: str | None, patterns: list[str], on_progress: Progress | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repo,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=_UNWANTED,
            etag_timeout=_TIMEOUT_SECONDS,
            tqdm_class=_progress_class(on_progress),
        )
    except Exception as error:
        raise _explained(repo, revision, error) from error
    return Path(folder)


def cached(repo: str) -> bool:
    """Return whether the Hub's cache on this machine holds that model, with weights."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repo, name), str) for name in ("model.safetensors", _INDEX))


def _progress_class(on_progress: Progress | None) -> Any:
    """Return a progress bar for huggingface_hub that draws nothing and passes the bytes on."""
    from huggingface_hub.utils.tqdm import tqdm

    class Relay(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B" and "Reconstruct" in str(kwargs.get("desc"))
            super().__init__(*args, **(kwargs | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if on_progress and self._counts_bytes:
                on_progress("download", int(self.n), int(self.total or 0))

    return Relay


def _explained(repo: str, revision: str | None, error: Exception) -> TokswapError:
    """Say in a person's words why a download failed."""
    from huggingface_hub import errors

    name = f"{repo}@{revision}" if revision else repo
    if isinstance(error, errors.GatedRepoError):
        hint = "accept its terms on the model's page, then set HF_TOKEN in the environment"
        return TokswapError(f"{name} is gated: its owner wants to know who downloads it", hint)
    if isinstance(error, errors.RevisionNotFoundError):
        return TokswapError(f"{repo} has no revision {revision!r}", "give a branch, a tag or a commit hash")
    if isinstance(error, errors.RepositoryNotFoundError):
        hint = "check the spelling; for a private model set HF_TOKEN in the environment"
        return TokswapError(f"the Hub knows no model {name}", hint)
    if isinstance(error, errors.HFValidationError):
        return TokswapError(f"{name!r} is no valid Hub id: {error}", "a Hub id looks like org/name")
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        hint = "check the network and HF_HUB_OFFLINE, or use `smollm2` or `gemma3`, which need no hub"
        return TokswapError(f"the Hub can't be reached, and {name} isn't in its cache here", hint)
    return TokswapError(f"{name} couldn't be downloaded: {error}", "try again; what has arrived is kept")
