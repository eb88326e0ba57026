"""Look at a model on the Hub without its weights: a folder of its small files and of hollow shards.

A hollow shard has the real one's header and size, and a hole of zeros where the numbers would be: names, dtypes and
shapes are read as from any checkpoint, for some kilobytes instead of 140 GB. It takes no room on a file system that
knows sparse files, and lies in tokswap's cache, never in the Hub's own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tokswap import hub
from tokswap.cache import Origin, build_once, cache_folder
from tokswap.checkpoint import INDEX_NAME, SHARD_NAME, SINGLE_NAME
from tokswap.errors import TokswapError
from tokswap.safetensors_header import MAX_HEADER_BYTES, parse_object

_FIRST_BYTES = 100_000  # most headers are shorter, and one request is then enough

NOTE = "only the headers of its weights were fetched: what their numbers say isn't known"


def download_headers(
    repo: str, revision: str | None, on_progress: hub.Progress | None = None
) -> tuple[Path, Origin]:
    """Return a folder with a Hub model's small files and hollow shards; the real ones if they are here already.

    Raises TokswapError if the model can't be had, or isn't what it says.
    """
    if hub.offline():
        snapshot = hub.download(repo, revision, on_progress)
        return snapshot, Origin(f"{repo}@{snapshot.name}")
    snapshot = hub.download_small(repo, revision, on_progress)
    commit, source = snapshot.name, f"{repo}@{snapshot.name}"
    if _complete(snapshot):
        return snapshot, Origin(source)

    def build(work: Path) -> Origin:
        ready = work / "ready"
        # Links are followed: the Hub's cache may be emptied, this stays. What a broken download left is no weight.
        shutil.copytree(snapshot, ready, ignore=shutil.ignore_patterns("*.safetensors", INDEX_NAME))
        shards = _shards(repo, commit, ready)
        for name in shards:
            _hollow_shard(repo, commit, ready / name)
        return Origin(source, (NOTE,) if shards else ())

    folder = cache_folder() / "headers" / f"{repo.replace('/', '--')}-{commit}"
    return folder, build_once(folder, build)


def _complete(snapshot: Path) -> bool:
    if (snapshot / SINGLE_NAME).exists():
        return True
    index = snapshot / INDEX_NAME
    return index.exists() and all((snapshot / name).exists() for name in _named(index.read_bytes(), index))


def _shards(repo: str, commit: str, ready: Path) -> list[str]:
    """Return the names of the weight files, having put the index, if there is one, into the folder."""
    path = ready / INDEX_NAME
    index = hub.read(repo, commit, INDEX_NAME)
    if index is None:
        return [SINGLE_NAME] if hub.read(repo, commit, SINGLE_NAME, (0, 8)) else []
    path.write_bytes(index[0])
    return _named(index[0], path)


def _named(index: bytes, path: Path) -> list[str]:
    """Return the shards that an index names; raises TokswapError for a name that is no plain file's."""
    table = parse_object(index, path).get("weight_map")
    names = {str(place) for place in table.values()} if isinstance(table, dict) else set[str]()
    if not all(SHARD_NAME.fullmatch(name) for name in names):
        raise TokswapError(f"{path} names files outside of its folder", "don't trust this model")
    return sorted(names)


def _hollow_shard(repo: str, commit: str, path: Path) -> None:
    start, size = hub.read(repo, commit, path.name, (0, _FIRST_BYTES)) or (b"", 0)
    length = 8 + int.from_bytes(start[:8], "little")
    if len(start) < 8 or length > min(size, MAX_HEADER_BYTES):
        raise TokswapError(f"{path.name} of {repo} is no safetensors file", "try another revision")
    if length > len(start):
        more = hub.read(repo, commit, path.name, (len(start), length))
        start += more[0] if more else b""
    if len(start) < length:
        raise TokswapError(f"the header of {path.name} of {repo} didn't arrive whole", "try again")
    with path.open("wb") as file:
        file.write(start[:length])
        file.truncate(size)
