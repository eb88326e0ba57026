"""`transplant --method hypernet`: the network's rows stand in the new checkpoint, and others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_hypernets import RELEASED, RESIDUAL, _random
from tiny_models import byte_level, checkpoint

import tokswap
from tokswap.checkpoint import open_checkpoint, read_embeddings
from tokswap.errors import TokswapError
from tokswap.hypernet.config import make_config
from tokswap.hypernet.files import Hypernet, build_network, write_hypernet
from tokswap.hypernet.surfaces import surface_matrix, vocabulary_digest
from tokswap.hypernet.use import cached_folder
from tokswap.methods import SideBySide
from tokswap.pieces import spell
from tokswap.vocab import Vocab, vocab_of

ROWS = 304
MERGES = [
    "the harbour wall was built the boats were tied up to the wall\n",
    "return values[len(values) // 2]\n",
]
HOW: dict[str, Any] = {"method": "hypernet", "calibrate": "none", "evaluate": False}


@pytest.fixture
def models(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    base = checkpoint(tmp_path / "base", byte_level(merges=40), tie_word_embeddings=request.param)
    donor = checkpoint(tmp_path / "donor", byte_level(merges=47, corpus=MERGES * 9), seed=1)
    return base.folder, donor.folder


TIED = pytest.mark.parametrize("models", [True, False], ids=["tied", "untied"], indirect=True)
ONLY_TIED = pytest.mark.parametrize("models", [True], ids=["tied"], indirect=True)


def made_for(base: Path, kind: str, *, fresh: bool = False, **more: Any) -> Hypernet:
    """A hypernetwork for a base: `fresh` as before training, else with weights that are all different."""
    opened = open_checkpoint(base)
    sizes = {"n_embd": 32, "hn_hidden_size": 16, "hn_intermediate_size": 24, "hn_num_attention_heads": 2}
    known = {
        "original_vocab_size": ROWS, "separate_out_embeddings": not opened.tied,
        "vocabulary": vocabulary_digest(vocab_of(opened), ROWS),
    }  # fmt: skip
    mine = RESIDUAL | {"pad_token_id": ROWS} if kind == "residual" else RELEASED | {"pad_token_id": 0}
    config = make_config(mine | sizes | known | more)
    return Hypernet(config, build_network(config).eval()) if fresh else _random(config)


def tables(folder: Path) -> torch.Tensor:
    given, output, _ = read_embeddings(open_checkpoint(folder))
    return given if output is None else torch.cat([given, output], dim=1)


def new_tokens(base: Path, donor: Path) -> tuple[Vocab, list[int], list[int]]:
    """The base's vocabulary, and the donor's ids that are new and shared."""
    old, new = vocab_of(open_checkpoint(base)), vocab_of(open_checkpoint(donor))
    ordinary = [i for i in new.ids.tolist() if i < new.rows and not new.is_special(i)]
    shared = [i for i in ordinary if new.bytes_of(i) in old.tokens]
    return old, [i for i in ordinary if i not in shared], shared


@TIED
def test_an_untrained_residual_network_writes_what_its_start_would(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    base, donor = models
    write_hypernet(tmp_path / "h", made_for(base, "residual", fresh=True))
    tokswap.transplant(base, donor, out=tmp_path / "one", hypernet=str(tmp_path / "h"), **HOW)
    tokswap.transplant(base, donor, out=tmp_path / "two", **HOW | {"method": "subword"})
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (
        tmp_path / "two" / "model.safetensors"
    ).read_bytes()


@TIED
@pytest.mark.parametrize("kind", ["zett", "residual"])
@pytest.mark.parametrize("predict_all", [False, True])
def test_the_networks_rows_are_written(
    kind: str, predict_all: bool, models: tuple[Path, Path], tmp_path: Path
) -> None:
    base, donor = models
    hypernet = made_for(base, kind)
    write_hypernet(tmp_path / "h", hypernet, flax=kind == "zett")
    how = HOW | {"hypernet": str(tmp_path / "h"), "predict_all": predict_all}
    report = tokswap.transplant(base, donor, out=tmp_path / "out", **how)
    old, new, shared = new_tokens(base, donor)
    rows, before = tables(tmp_path / "out"), tables(base)
    bytes_of = vocab_of(open_checkpoint(donor)).bytes_of

    predicted = [*new, *shared] if predict_all else new
    opened = open_checkpoint(base)
    pieces = spell(opened.tokenizer, old, [bytes_of(i) for i in predicted])
    surfaces = surface_matrix(pieces, hypernet.config.hn_surface_maxlen, hypernet.config.pad_token_id)
    given, output, _ = read_embeddings(opened)
    source = given if output is None else SideBySide(given, output)
    if kind == "zett":
        expected = hypernet.network(surfaces, source).rows
    else:
        ends = zip(pieces.starts, pieces.starts[1:], strict=False)
        start = torch.stack([before[pieces.ids[a:b]].mean(0) for a, b in ends])
        expected = hypernet.network(surfaces, source, start).rows
    torch.testing.assert_close(rows[predicted], expected, rtol=1e-4, atol=1e-5)
    kept = [] if predict_all else shared
    places = [old.ids[old.tokens.index(bytes_of(i))] for i in kept]
    assert torch.equal(rows[kept], before[places])
    assert torch.equal(rows[0], before[0]), "the start token is never predicted"
    assert report.figures["new"].value == len(predicted)
    manifest = json.loads((tmp_path / "out" / "tokswap.json").read_text())
    assert manifest["recipe"]["hypernet"] == "h" and len(manifest["hypernet"]["sha256"]) == 64


@ONLY_TIED
def test_giving_a_hypernetwork_is_asking_for_it(models: tuple[Path, Path], tmp_path: Path) -> None:
    base, donor = models
    write_hypernet(tmp_path / "h", made_for(base, "residual"))
    plan = tokswap.transplant(base, donor, dry_run=True, hypernet=str(tmp_path / "h"))
    assert plan.facts["method"] == "hypernet" and "was given" in plan.facts["why_this_method"]
    plain = tokswap.transplant(base, donor, dry_run=True)
    assert plain.facts["method"] != "hypernet" and plain.facts["hypernet"] is None
    other = tokswap.transplant(base, donor, dry_run=True, hypernet=str(tmp_path / "h"), method="subword")
    assert any("hypernet and predict_all have no effect" in warning for warning in other.warnings)


@ONLY_TIED
def test_auto_is_the_one_in_the_cache_for_this_base(
    models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKSWAP_DATA", str(tmp_path / "cache"))
    base, donor = models
    with pytest.raises(TokswapError, match="in the cache") as caught:
        tokswap.transplant(base, donor, dry_run=True, hypernet="auto", method="hypernet")
    assert "tokswap hypernet train" in caught.value.hint
    opened = open_checkpoint(base)
    write_hypernet(cached_folder(opened, vocab_of(opened)), made_for(base, "residual"))
    plan = tokswap.transplant(base, donor, dry_run=True, hypernet="auto", method="hypernet")
    assert str(tmp_path / "cache") in plan.facts["hypernet"]


@ONLY_TIED
def test_a_fine_tuned_variant_with_more_control_tokens_is_accepted(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    base, donor = models
    tokenizer = byte_level(merges=40)
    tokenizer["added_tokens"].append(
        {"id": len(tokenizer["model"]["vocab"]), "content": "<|turn|>", "special": True, "single_word": False}
        | {"lstrip": False, "rstrip": False, "normalized": False}
    )
    tuned = checkpoint(tmp_path / "tuned", tokenizer, seed=3, tie_word_embeddings=True)
    write_hypernet(tmp_path / "h", made_for(base, "residual"))
    how = HOW | {"hypernet": str(tmp_path / "h")}
    tokswap.transplant(tuned.folder, donor, out=tmp_path / "out", **how)
    _, new, _ = new_tokens(tuned.folder, donor)
    assert tables(tmp_path / "out")[new].isfinite().all()


@ONLY_TIED
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"n_embd": 48}, "rows of 48 numbers, and the base's have 32"),
        ({"separate_out_embeddings": True}, "untied embeddings"),
        ({"original_vocab_size": 400}, "400 tokens"),
        ({"vocabulary": "0" * 64}, "other tokens"),
    ],
)
def test_the_hypernetwork_of_another_base_is_refused(
    more: dict[str, Any], words: str, models: tuple[Path, Path], tmp_path: Path
) -> None:
    base, donor = models
    write_hypernet(tmp_path / "h", made_for(base, "residual", **more))
    with pytest.raises(TokswapError, match=words) as caught:
        tokswap.transplant(base, donor, dry_run=True, hypernet=str(tmp_path / "h"))
    assert caught.value.hint


@ONLY_TIED
def test_no_network_is_a_named_error(models: tuple[Path, Path], tmp_path: Path) -> None:
    base, donor = models
    for more, words in (
        ({}, "needs a hypernetwork"),
        ({"hypernet": str(tmp_path)}, "no folder of a hypernetwork"),
    ):
        with pytest.raises(TokswapError, match=words) as caught:
            tokswap.transplant(base, donor, dry_run=True, method="hypernet", **more)
        assert caught.value.hint
