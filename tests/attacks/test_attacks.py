"""Each attack ends in exit 2, one `error:` line and a `hint:`, in time and memory, with nothing written."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from hostile import BASES, INDEX, RECIPES, TOKENIZERS, UP_TO_THE_LIBRARY
from limits import MEGABYTES, SECONDS, Ended, run, snapshot
from tiny_models import byte_level, sentencepiece
from transplants import llama, saved, with_tokenizer

import tokswap
import tokswap_cli.app  # noqa: F401 - loaded before the fork, as its time is no attack's
from tokswap.checkpoint import open_checkpoint

QUICK = ("--method", "subword", "--calibrate", "none", "--no-evaluate", "--quiet")


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import whatever a transplant imports, by doing one."""
    root = tmp_path_factory.mktemp("warm")
    base = saved(llama(), root / "base", byte_level())
    tokswap.transplant(base, base, out=root / "out", method="subword", calibrate="none", evaluate=False)
    assert transformers.AutoTokenizer.from_pretrained(root / "out")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return saved(llama(), tmp_path / "base", byte_level())


@pytest.fixture
def donor(tmp_path: Path) -> Path:
    return with_tokenizer(tmp_path / "donor", sentencepiece())


def refused(ended: Ended, said: str) -> None:
    lines = ended.err.splitlines()
    assert ended.code == 2, ended.err
    *errors, hint = [line.split(":")[0] for line in lines if not line.startswith("warning: ")]
    # A recipe's errors take a line each.
    assert errors and set(errors) == {"error"} and hint == "hint", ended.err
    assert not lines[-2].startswith("error: internal")
    assert "Traceback" not in ended.err and "panicked" not in ended.err and not ended.out
    assert said in ended.err
    assert ended.seconds < SECONDS and ended.megabytes < MEGABYTES


@pytest.mark.parametrize("attack", BASES)
def test_hostile_base(attack: str, base: Path, donor: Path, tmp_path: Path) -> None:
    spoil, said = BASES[attack]
    spoil(base)
    before = snapshot(tmp_path)
    refused(
        run(["transplant", "--base", base, "--donor", donor, "--out", tmp_path / "out", *QUICK], tmp_path),
        said,
    )
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("attack", TOKENIZERS)
def test_hostile_tokenizer(attack: str, base: Path, donor: Path, tmp_path: Path) -> None:
    spoil, said = TOKENIZERS[attack]
    with_tokenizer(donor, byte_level())
    spoil(donor)
    before = snapshot(tmp_path)
    ended = run(["transplant", "--base", base, "--donor", donor, "--out", tmp_path / "out", *QUICK], tmp_path)
    if attack in UP_TO_THE_LIBRARY and ended.code == 0:
        assert ended.seconds < 2 * SECONDS and ended.megabytes < MEGABYTES
        assert run(["verify", tmp_path / "out", "--files-only"], tmp_path).code == 0
        return
    refused(ended, said)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("attack", TOKENIZERS)
def test_a_hostile_tokenizer_harms_no_other_command(attack: str, base: Path, tmp_path: Path) -> None:
    TOKENIZERS[attack][0](base)
    (tmp_path / "text.txt").write_text("A text.\n")
    for command in (
        ("inspect", base, "--tokens", "a text"),
        ("doctor", base),
        ("verify", base, "--files-only"),
        ("trim", base, "--text", tmp_path / "text.txt", "--dry-run"),
    ):
        ended = run(command, tmp_path)
        assert ended.code in (0, 1, 2) and "Traceback" not in ended.err and "internal" not in ended.err, (
            ended.err
        )
        assert ended.seconds < 2 * SECONDS and ended.megabytes < MEGABYTES


@pytest.mark.parametrize("attack", RECIPES)
def test_hostile_recipe(attack: str, base: Path, donor: Path, tmp_path: Path) -> None:
    text, said = RECIPES[attack]
    for name in ("base", "donor", "out"):
        text = text.replace(f"{{{name}}}", str(tmp_path / name))
    (tmp_path / "recipe.yaml").write_text(text)
    before = snapshot(tmp_path)
    refused(run(["recipes", "run", tmp_path / "recipe.yaml"], tmp_path), said)
    assert snapshot(tmp_path) == before


def test_models_that_need_code_run_none_of_it(base: Path, donor: Path, tmp_path: Path) -> None:
    """Evaluating one is refused; transplanting it needs no code at all."""
    config = json.loads((base / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"},
    }
    (base / "config.json").write_text(json.dumps(config))
    (base / "evil.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')")
    refused(run(["evaluate", base, "--max-bytes", "500"], tmp_path), "causal language model")
    ended = run(["transplant", "--base", base, "--donor", donor, "--out", tmp_path / "out", *QUICK], tmp_path)
    assert ended.code == 0, ended.err
    assert not (tmp_path / "pwned").exists() and not (tmp_path / "out" / "evil.py").exists()
    assert "auto_map" not in json.loads((tmp_path / "out" / "config.json").read_text())
    assert run(["verify", tmp_path / "out"], tmp_path).code in (0, 1) and not (tmp_path / "pwned").exists()


def test_an_index_without_metadata_is_repaired_from_the_headers(
    base: Path, donor: Path, tmp_path: Path
) -> None:
    places = dict.fromkeys(open_checkpoint(base).tensors, "one.safetensors")
    (base / "model.safetensors").rename(base / "one.safetensors")
    (base / INDEX).write_text(json.dumps({"weight_map": places}))
    ended = run(["transplant", "--base", base, "--donor", donor, "--out", tmp_path / "out", *QUICK], tmp_path)
    assert ended.code == 0, ended.err
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    written = open_checkpoint(tmp_path / "out")
    assert index["metadata"]["total_size"] == sum(info.nbytes for info in written.tensors.values())


@pytest.mark.parametrize("where", ["the base", "inside the base", "exists"])
def test_hostile_output(where: str, base: Path, donor: Path, tmp_path: Path) -> None:
    out = {"the base": base, "inside the base": base / "out", "exists": tmp_path / "there"}[where]
    (tmp_path / "there").mkdir()
    before = snapshot(tmp_path)
    ended = run(["transplant", "--base", base, "--donor", donor, "--out", out, *QUICK], tmp_path)
    refused(ended, {"the base": "base itself"}.get(where, where))
    assert snapshot(tmp_path) == before


def test_a_full_disk(base: Path, donor: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = ["transplant", "--base", base, "--donor", donor, "--out", tmp_path / "out", *QUICK]
    refused(run(command, tmp_path, small_files), "the disk is full")
    assert not (tmp_path / "out").exists()
    assert run(command, tmp_path).code == 0  # and the same command goes on from there


@pytest.mark.skipif(sys.platform != "linux", reason="takes root's rights away by Linux's numbers")
def test_a_folder_that_cannot_be_written(base: Path, donor: Path, tmp_path: Path) -> None:
    import os

    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for folder in [tmp_path, *tmp_path.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)

    for file in (*base.iterdir(), *donor.iterdir()):
        file.chmod(0o644)

    def nobody() -> None:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

    ended = run(
        ["transplant", "--base", base, "--donor", donor, "--out", locked / "out", *QUICK], tmp_path, nobody
    )
    refused(ended, "can't be written")
    assert not list(locked.iterdir())


def test_a_chat_template_without_an_end_is_cut_off(base: Path, tmp_path: Path) -> None:
    template = "{% for a in range(9999) %}" * 3 + "{% endfor %}" * 3
    (base / "chat_template.jinja").write_text(template)
    ended = run(["verify", base, "--files-only", "--json"], tmp_path)
    document: dict[str, Any] = json.loads(ended.out)
    assert "doesn't end" in document["sections"]["chat_template"]["facts"]["sentence"]
    assert ended.code == 1 and ended.megabytes < MEGABYTES
