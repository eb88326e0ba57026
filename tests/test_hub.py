"""The Hub, played by a small server of our own: what is downloaded, and how refusals are explained."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tiny_gguf import byte_level_fields, tiny_model, write_gguf

from tokswap import hub
from tokswap.gguf_convert import convert_gguf

COMMIT = "0123456789abcdef0123456789abcdef01234567"

HUB_CODE = """
import json, sys
from tokswap import hub
from tokswap.errors import TokswapError
from tokswap.sources import open_source
steps = []
try:
    more = {f"only_{part}": True for part in sys.argv[2:]}
    found = open_source(sys.argv[1], on_progress=lambda *step: steps.append(step), **more)
    files = sorted(path.name for path in found.folder.iterdir())
    cached = hub.cached(sys.argv[1].partition("@")[0])
    shapes = {name: info.shape for name, info in found.tensors.items()}
    print(json.dumps({"source": found.source, "files": files, "steps": steps, "tensors": len(found.tensors),
                      "shapes": shapes, "notes": found.notes, "folder": str(found.folder), "cached": cached}))
except TokswapError as error:
    print(json.dumps({"what": error.what, "hint": error.hint}))
"""


class _Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hub as a download asks for: one open model, one gated one."""

    files: ClassVar[dict[str, bytes]] = {}
    sent: ClassVar[list[tuple[str, int]]] = []

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith(("/api/models/org/gated", "/org/gated")):
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        elif path.startswith("/api/models/org/tiny/revision/"):
            revision = path.rsplit("/", 1)[1]
            if revision not in ("main", "v1", COMMIT):
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            rows = [{"rfilename": name} for name in self.files]
            self._json({"id": "org/tiny", "sha": COMMIT, "siblings": rows, "private": False, "gated": False})
        elif path.startswith("/api/models/org/tiny/tree/"):
            self._json([self._entry(name, data) for name, data in self.files.items()])
        elif path.startswith("/org/tiny/resolve/"):
            self._file(path.split("/", 5)[5])
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _file(self, name: str) -> None:
        if name not in self.files:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        data = self.files[name]
        facts = {"ETag": f'"{_sha1(data)}"', "X-Repo-Commit": COMMIT}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            self._send(200, data, facts)
            return
        start, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        self._send(
            206, data[start : last + 1], facts | {"Content-Range": f"bytes {start}-{last}/{len(data)}"}
        )

    @staticmethod
    def _entry(name: str, data: bytes) -> dict[str, Any]:
        return {"type": "file", "path": name, "size": len(data), "oid": _sha1(data)}

    def _json(self, data: Any) -> None:
        self._send(200, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.sent.append((self.path.rsplit("/", 1)[1], len(body)))
            self.wfile.write(body)


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture
def hub_address(tmp_path: Path) -> Iterator[str]:
    gguf = write_gguf(tmp_path / "tiny.gguf", "llama", tiny_model("llama", 267), byte_level_fields())
    folder = tmp_path / "converted"
    convert_gguf(gguf, folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    unwanted = ["pytorch_model.bin", "original/model.safetensors", "consolidated.safetensors", "run.py"]
    _Hub.files = files | dict.fromkeys(unwanted, b"never to be downloaded")
    _Hub.sent = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def _from_hub(spec: str, tmp_path: Path, *more: str, **environment: str) -> dict[str, Any]:
    variables = (
        os.environ | {"HF_HOME": str(tmp_path / "hf"), "TOKSWAP_DATA": str(tmp_path / "cache")} | environment
    )
    command = [sys.executable, "-c", HUB_CODE, spec, *more]
    result = subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=120)
    assert result.stderr == ""  # no progress bars: those are the caller's
    return json.loads(result.stdout)


def test_a_hub_model_is_pinned_to_its_commit(hub_address: str, tmp_path: Path) -> None:
    found = _from_hub("org/tiny@v1", tmp_path, HF_ENDPOINT=hub_address)
    assert found["source"] == f"org/tiny@{COMMIT}" and found["tensors"] > 10
    wanted = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"]
    assert found["files"] == [*wanted, "tokenizer_config.json"]
    assert found["steps"] and found["steps"][-1][0] == "download"
    again = _from_hub(f"org/tiny@{COMMIT}", tmp_path, HF_HUB_OFFLINE="1", HF_ENDPOINT=hub_address)
    assert again["source"] == found["source"]  # from the Hub's cache, without the Hub


def test_for_a_tokenizer_no_weights_are_fetched(hub_address: str, tmp_path: Path) -> None:
    found = _from_hub("org/tiny", tmp_path, "tokenizer", HF_ENDPOINT=hub_address)
    assert found["tensors"] == 0 and "tokenizer.json" in found["files"]
    assert not found["cached"] and not [name for name in found["files"] if "safetensors" in name]
    whole = _from_hub("org/tiny", tmp_path, HF_ENDPOINT=hub_address)
    assert whole["cached"] and whole["tensors"] > 10, "what was left out is fetched when it is needed"
    assert _from_hub("org/tiny", tmp_path, "tokenizer", HF_ENDPOINT=hub_address)["tensors"] > 10


def test_to_look_at_a_model_its_headers_do(hub_address: str, tmp_path: Path) -> None:
    """Names and shapes as with the weights, which aren't fetched; the same command finds them when they are here."""
    _Hub.files["model.safetensors"] = with_a_long_header(_Hub.files["model.safetensors"])
    looked = _from_hub("org/tiny", tmp_path, "headers", HF_ENDPOINT=hub_address)
    fetched = sum(size for name, size in _Hub.sent if name == "model.safetensors")
    weights = _Hub.files["model.safetensors"]
    assert fetched < 150_000 < len(weights), "a header and no more"
    assert "only the headers" in looked["notes"][0] and not looked["cached"]
    hollow = Path(looked["folder"]) / "model.safetensors"
    assert hollow.stat().st_size == len(weights) and hollow.stat().st_blocks * 512 < len(weights)
    assert not list((tmp_path / "hf").rglob("*.safetensors")), "nothing hollow in the Hub's own cache"
    before = len(_Hub.sent)
    assert _from_hub("org/tiny", tmp_path, "headers", HF_ENDPOINT=hub_address)["shapes"] == looked["shapes"]
    assert "model.safetensors" not in [name for name, _ in _Hub.sent[before:]], "the second look is free"
    whole = _from_hub("org/tiny", tmp_path, HF_ENDPOINT=hub_address)
    assert whole["shapes"] == looked["shapes"] and whole["source"] == looked["source"] and not whole["notes"]
    again = _from_hub("org/tiny", tmp_path, "headers", HF_ENDPOINT=hub_address)
    assert again["folder"] == whole["folder"] and not again["notes"]
    offline = _from_hub("org/tiny", tmp_path, "headers", HF_ENDPOINT=hub_address, HF_HUB_OFFLINE="1")
    assert offline["folder"] == whole["folder"]


def with_a_long_header(weights: bytes) -> bytes:
    """Pad a header beyond what one request brings."""
    length = int.from_bytes(weights[:8], "little")
    return (
        (length + 120_000).to_bytes(8, "little")
        + weights[8 : 8 + length]
        + b" " * 120_000
        + weights[8 + length :]
    )


def test_headers_of_shards(hub_address: str, tmp_path: Path) -> None:
    sharded()
    looked = _from_hub("org/tiny", tmp_path, "headers", HF_ENDPOINT=hub_address)
    assert looked["tensors"] > 10 and "model-1.safetensors" in looked["files"]
    assert _from_hub("org/tiny", tmp_path, HF_ENDPOINT=hub_address)["shapes"] == looked["shapes"]


def test_an_index_can_not_name_files_elsewhere(hub_address: str, tmp_path: Path) -> None:
    sharded("../../elsewhere.safetensors")
    answer = _from_hub("org/tiny", tmp_path, "headers", HF_ENDPOINT=hub_address)
    assert "outside of its folder" in answer["what"]
    assert not list(tmp_path.rglob("elsewhere*")) and not list(tmp_path.glob("cache/headers/*/"))


def test_a_shard_that_is_none(hub_address: str, tmp_path: Path) -> None:
    _Hub.files["model.safetensors"] = b"<html>moved</html>"
    answer = _from_hub("org/tiny", tmp_path, "headers", HF_ENDPOINT=hub_address)
    assert "no safetensors file" in answer["what"]


def sharded(place: str = "model-1.safetensors") -> None:
    """Turn the model's one file into one shard with an index, in which `place` is its name."""
    weights = _Hub.files.pop("model.safetensors")
    names = list(json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")]))
    index = {"metadata": {}, "weight_map": {n: place for n in names if n != "__metadata__"}}
    _Hub.files |= {"model.safetensors.index.json": json.dumps(index).encode(), "model-1.safetensors": weights}


def test_shards_that_were_begun_are_completed(hub_address: str, tmp_path: Path) -> None:
    """An index whose shards haven't come is no checkpoint, not for its tokenizer either."""
    sharded()
    assert _from_hub("org/tiny", tmp_path, HF_ENDPOINT=hub_address)["tensors"] > 10
    (shard,) = tmp_path.glob("hf/hub/*/snapshots/*/model-1.safetensors")
    shard.resolve().unlink()
    shard.unlink(missing_ok=True)
    found = _from_hub("org/tiny", tmp_path, "tokenizer", HF_ENDPOINT=hub_address)
    assert found.get("tensors", 0) > 10, found


@pytest.mark.parametrize(
    ("spec", "what", "hint"),
    [
        ("org/gated", "gated", "HF_TOKEN"),
        ("org/none", "knows no model", "spelling"),
        ("org/tiny@v9", "no revision 'v9'", "commit"),
    ],
)
def test_what_the_hub_refuses_is_explained(
    hub_address: str, tmp_path: Path, spec: str, what: str, hint: str
) -> None:
    answer = _from_hub(spec, tmp_path, HF_ENDPOINT=hub_address)
    assert what in answer["what"] and hint in answer["hint"]


def test_without_a_network_the_hub_fails_at_once(tmp_path: Path) -> None:
    begin = time.monotonic()
    answer = _from_hub("org/tiny", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert "can't be reached" in answer["what"] and "smollm2" in answer["hint"]
    assert time.monotonic() - begin < 30.0
    offline = _from_hub("org/tiny", tmp_path, HF_HUB_OFFLINE="1")
    assert "can't be reached" in offline["what"]


def test_hub_ids_are_recognised() -> None:
    match = hub.HUB_ID.fullmatch("Qwen/Qwen3-0.6B@main")
    assert match and match["repo"] == "Qwen/Qwen3-0.6B" and match["revision"] == "main"
    for spec in ("qwen", "a/b/c", "/a/b", "../b", "a/b@", "a b/c"):
        assert not hub.HUB_ID.fullmatch(spec)
