"""Read a tokenizer from a file of any kind: tokenizer.json, tekken.json, tiktoken ranks, SentencePiece models."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

from tokswap.errors import TokswapError
from tokswap.pretokenizers import Json
from tokswap.rank_files import read_tekken, read_tiktoken
from tokswap.reasons import reason_of
from tokswap.sentencepiece_files import read_sentencepiece
from tokswap.tokenizer_build import TokenizerFiles

_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
_HEAD_BYTES = 4096  # enough for the first line of any tiktoken file


def read_tokenizer_file(path: Path) -> TokenizerFiles:
    """Return the tokenizer that a file holds; its kind is told from the content.

    What stands beside a tokenizer.json (tokenizer_config.json, special_tokens_map.json) belongs to it.
    Raises TokswapError for a file that is none of the kinds, or damaged.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.lstrip()[:1] == b"{" or path.suffix == ".json":
        return _read_json_kinds(path)
    if _RANK_LINE.match(head):
        return read_tiktoken(path)
    if path.suffix == ".tiktoken":
        raise TokswapError(f"{path.name} is no tiktoken file: its first line isn't base64 and rank", _REFETCH)
    return read_sentencepiece(path)


def files_of(path: Path) -> list[Path]:
    """Return the file and what beside it belongs to it; their content decides what the tokenizer is."""
    beside = [path.with_name(name) for name in _BESIDE] if path.suffix == ".json" else []
    return [path, *(file for file in beside if file.is_file() and file != path)]


def other_tokenizer(folder: Path) -> Path | None:
    """Return the tokenizer file of a folder without tokenizer.json: tekken, SentencePiece or tiktoken."""
    if (folder / "tokenizer.json").exists():
        return None
    named = [folder / name for name in ("tekken.json", "tokenizer.model", "spiece.model")]
    found = [path for path in [*named, *sorted(folder.glob("*.tiktoken"))] if path.is_file()]
    return found[0] if found else None


def write_tokenizer(folder: Path, files: TokenizerFiles, over: Path | None = None) -> None:
    """Write tokenizer.json and tokenizer_config.json into a new folder.

    `over` names an older tokenizer_config.json whose settings stay, but for the class: that must be the one
    that takes tokenizer.json as it is.
    """
    older = _read_object(over) if over is not None and over.is_file() else {}
    config = files.config | older
    if "tokenizer_class" in files.config:
        config["tokenizer_class"] = files.config["tokenizer_class"]
    folder.mkdir()
    # ASCII, so that whatever stood in a file, even half a surrogate pair, can be written.
    (folder / "tokenizer.json").write_text(json.dumps(files.tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


_BESIDE = ("special_tokens_map.json", "tokenizer_config.json", "chat_template.jinja")
_REFETCH = "fetch the file again from its origin"


def _read_json_kinds(path: Path) -> TokenizerFiles:
    data = _read_object(path)
    if isinstance(data.get("model"), dict):
        return TokenizerFiles(data, _config_beside(path))
    if isinstance(data.get("vocab"), list) and isinstance(data.get("config"), dict):
        return read_tekken(path, data)
    raise TokswapError(
        f"{path.name} is neither a tokenizer.json (no `model`) nor a tekken.json (no `vocab` and `config`)",
        "give the tokenizer.json itself, or the model's folder",
    )


def _config_beside(path: Path) -> Json:
    """Return tokenizer_config.json from the same folder, completed by what else stands there."""
    config: Json = {}
    for file in files_of(path)[1:]:
        if file.suffix == ".json":
            config |= _read_object(file)
        else:
            config["chat_template"] = file.read_text(encoding="utf-8", errors="replace")
    return config


def _read_object(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise TokswapError(f"{path.name} isn't valid JSON: {reason_of(error)}", _REFETCH) from error
    if not isinstance(data, dict):
        raise TokswapError(f"{path.name} holds no JSON object", _REFETCH)
    return cast("dict[str, Any]", data)
