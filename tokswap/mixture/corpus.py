"""The texts of a category, streamed: plain text and source code, .jsonl, .parquet, and the same as .gz or .zst."""

from __future__ import annotations

import codecs
import glob
import gzip
import hashlib
import importlib
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tokswap.errors import TokswapError
from tokswap.reasons import reason_of

BLOCK_BYTES = 1 << 18  # read and cut into words at once: larger blocks take longer a byte
SPAN_BYTES = 16 << 20  # of files given to a process at once
LONGEST_BLOCK = 16 << 20  # characters without a place to cut before a word is cut: minified code, mostly
_REACH_BYTES = 1 << 16  # searched for a place to cut a file in spans
_PEEK_BYTES = 8192  # a zero byte among them makes a file binary, as git sees it
_ROWS = 4096  # of a parquet file, read at once
_UTF8 = "convert it first, as with `iconv -t utf-8`, or name the files wanted"
_NAME = "name a folder, a pattern such as 'texts/*.txt', or files: .txt, .jsonl, .parquet, .gz, .zst"
_PACKED = (".gz", ".zst")
# Pre-tokenizers let a word end here whatever follows: after one line break, which belongs to what comes before.
_CUT = re.compile(r"(?<=\S)\n(?=[^\s/])")


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `stop` of a file, both moved on to the next place where text may be cut."""

    path: Path
    start: int
    stop: int


def category_files(name: str, sources: Sequence[str | Path]) -> list[Path]:
    """Return what `text_files` returns of a category's sources; raises TokswapError that names the category as well."""
    try:
        return text_files(sources)
    except TokswapError as error:
        raise TokswapError(f"category {name!r}: {error.what}", error.hint) from None


def text_files(sources: Sequence[str | Path]) -> list[Path]:
    """Return the files that folders, patterns and files name, sorted, each once.

    In folders, hidden and binary files are passed over. Raises TokswapError where a source names nothing.
    """
    found: dict[Path, None] = {}
    for source in sources:
        try:
            files = _files(Path(source).expanduser(), str(source))
        except (
            OSError,
            RuntimeError,
        ) as error:  # a name too long, a folder that is locked, a ~user who isn't there
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise TokswapError(f"{source} can't be read: {reason}", _NAME) from None
        if not files:
            raise TokswapError(f"there is no text at {source}", _NAME)
        found |= dict.fromkeys(file.resolve() for file in files)
    return sorted(found)


def _files(path: Path, pattern: str) -> list[Path]:
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        return [file for file in inside if not _hidden(file.relative_to(path)) and _is_text(file)]
    if path.is_file():
        return [path]
    # Path.glob takes no absolute patterns.
    found = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207
    return [Path(name) for name in found if Path(name).is_file()]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_text(file: Path) -> bool:
    if file.suffix in (*_PACKED, ".parquet"):
        return True
    with file.open("rb") as opened:
        return b"\0" not in opened.read(_PEEK_BYTES)


def content_hash(files: Iterable[Path]) -> str:
    """Return a hash of what files hold, whatever they are called and in whatever order."""
    digests: list[str] = []
    for file in files:
        with file.open("rb") as opened:
            kind = (
                "".join(file.suffixes[-2:]) if _reader_kind(file) != "text" or file.suffix in _PACKED else ""
            )
            digests.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}{kind}")
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def spans_of(files: Iterable[Path], size: int = SPAN_BYTES) -> list[list[Span]]:
    """Group files into work of about `size` bytes; large files of plain text are cut, others are one span."""
    groups: list[list[Span]] = [[]]
    room = size
    for file in files:
        length = file.stat().st_size
        step = size if _reader_kind(file) == "text" and file.suffix not in _PACKED else max(length, 1)
        for start in range(0, max(length, 1), step):
            span = Span(file, start, min(start + step, length))
            if room < span.stop - span.start and groups[-1]:
                groups.append([])
                room = size
            groups[-1].append(span)
            room -= span.stop - span.start
    return [group for group in groups if group]


def read_texts(span: Span, field: str) -> Iterator[str]:
    """Yield the text of a span in blocks of about `BLOCK_BYTES`, or the `field` of each record.

    Raises TokswapError for what is no UTF-8, naming file and byte, and for broken or unreadable files.
    """
    try:
        yield from _READERS[_reader_kind(span.path)](span, field)
    except _broken(span.path) as error:
        raise TokswapError(
            f"{span.path} can't be read: {reason_of(error)}", "fetch or pack the file again"
        ) from error


def _broken(path: Path) -> tuple[type[Exception], ...]:
    packed = (_extra("zstandard").ZstdError,) if path.suffix == ".zst" else ()
    return (OSError, EOFError, zlib.error, *packed)


def _reader_kind(file: Path) -> str:
    suffix = Path(file.stem).suffix if file.suffix in _PACKED else file.suffix
    return suffix if suffix in (".jsonl", ".parquet") else "text"


def _open(path: Path) -> io.BufferedReader[Any]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path))
    if path.suffix == ".zst":
        zstandard: Any = _extra("zstandard")
        return io.BufferedReader(
            zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
        )
    return path.open("rb")


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = "install it with `pip install 'tokswap[mixture]'`"
        raise TokswapError(f"reading this needs the package {name}", hint) from error


def _plain(span: Span, field: str) -> Iterator[str]:  # noqa: ARG001
    with _open(span.path) as file:
        if span.path.suffix in _PACKED:
            start, stop = 0, None
        else:
            start = _cut_after(file, span.start) if span.start else 0
            stop = _cut_after(file, span.stop)
            file.seek(start)
        yield from _blocks(_decoded(file, span.path, start, stop))


def _cut_after(file: IO[bytes], at: int) -> int:
    """Return the first byte at or after `at` where text may be cut; the next character where none is near."""
    file.seek(at)
    data = file.read(_REACH_BYTES)
    lead = next((i for i, byte in enumerate(data) if byte & 0xC0 != 0x80), len(data))
    text = data[lead:].decode("utf-8", "ignore")
    found = _CUT.search(text)
    return at + lead + (len(text[: found.end()].encode()) if found else 0)


def _decoded(file: IO[bytes], path: Path, at: int, stop: int | None) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    first = at == 0
    while True:
        left = BLOCK_BYTES if stop is None else min(BLOCK_BYTES, stop - at)
        data = file.read(left) if left else b""
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise TokswapError(f"{path} isn't UTF-8 (byte {at - waiting + error.start:,})", _UTF8) from error
        yield text.removeprefix("\ufeff") if first else text
        first = False
        at += len(data)
        if not data:
            return


def _blocks(parts: Iterable[str]) -> Iterator[str]:
    """Join parts and cut them anew where no word is cut, if there is such a place in a block."""
    rest = ""
    for part in parts:
        rest += part
        cut = _last_cut(rest) if len(rest) >= BLOCK_BYTES else 0
        cut = cut or (len(rest) if len(rest) >= LONGEST_BLOCK else 0)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


def _last_cut(text: str) -> int:
    at = len(text) - 1
    while (at := text.rfind("\n", 1, at)) > 0:
        if _CUT.match(text, at):
            return at + 1
    return 0


def _records(span: Span, field: str) -> Iterator[str]:
    at = 0
    with _open(span.path) as file:
        for number, line in enumerate(file, start=1):
            try:
                text = json.loads(line)[field] if line.strip() else ""
            except UnicodeDecodeError as error:
                raise TokswapError(f"{span.path} isn't UTF-8 (byte {at + error.start:,})", _UTF8) from error
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                hint = f"each line must be a JSON object with its text under {field!r}"
                raise TokswapError(
                    f"line {number} of {span.path} has no {field!r}: {reason_of(error)}", hint
                ) from error
            at += len(line)
            yield from _pieces(span.path, number, field, text)


def _pieces(path: Path, number: int, field: str, text: Any) -> Iterator[str]:
    if not isinstance(text, str):
        raise TokswapError(
            f"{field!r} of record {number} of {path} is no text", "name the field that holds the text"
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokswapError(f"record {number} of {path} holds half a surrogate pair", _UTF8) from error
    yield from _blocks([text])


def _rows(span: Span, field: str) -> Iterator[str]:
    pl = _extra("polars")
    if span.path.suffix in _PACKED:
        raise TokswapError(f"{span.path} is a packed parquet file", "unpack it: parquet is compressed inside")
    try:
        frame = pl.scan_parquet(span.path)
        if field not in frame.collect_schema():
            names = ", ".join(frame.collect_schema().names())
            raise TokswapError(f"{span.path} has no column {field!r}", f"it has {names}")
        height = frame.select(pl.len()).collect().item()
        for start in range(0, height, _ROWS):
            column = frame.slice(start, _ROWS).select(field).collect()[field].drop_nulls()
            for number, text in enumerate(column.to_list(), start=start + 1):
                yield from _pieces(span.path, number, field, text)
    except pl.exceptions.PolarsError as error:
        raise TokswapError(
            f"{span.path} is no parquet file that can be read: {reason_of(error)}", "write it again"
        ) from error


_READERS = {"text": _plain, ".jsonl": _records, ".parquet": _rows}
