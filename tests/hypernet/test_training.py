"""Training: held-out data gains, a killed run ends in the same bytes, and a loss that isn't finite harms nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import byte_level, checkpoint

from tokswap.checkpoint import open_checkpoint
from tokswap.commit_files import System
from tokswap.errors import TokswapError
from tokswap.hypernet import objective, places, training
from tokswap.hypernet.files import load_hypernet
from tokswap.hypernet.objective import Objective
from tokswap.hypernet.settings import Stage, make_settings, parse_stage
from tokswap.hypernet.train import train_hypernet
from tokswap.hypernet.use import find_hypernet
from tokswap.report import Report
from tokswap.vocab import vocab_of

HOW: dict[str, Any] = {
    "hidden": 16, "pieces": 500, "pairs": 64, "negatives": 40, "step_bytes": 2048, "accumulate": 2, "serves": 2,
    "worker": False, "looks": 1, "rate": 3e-3,
}  # fmt: skip
STAGES = ["spell=6", "lm=3", "distil=2"]


def lines() -> str:
    return "".join(
        f"The wall of harbour {i} was built by {i * 7} people; the boats were tied up to it.\n"
        f"def values_{i}(n):\n    return n[len(n) // {i + 2}]\n"
        for i in range(120)
    )


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hypernet") / "base"
    checkpoint(folder, byte_level(merges=60), rows=320, tie_word_embeddings=True)
    return folder


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_text(lines())
    return path


def trained(base: Path, out: Path, text: Path, stages: list[str] = STAGES, **more: Any) -> Report:
    return train_hypernet(base, out, stages=stages, texts=[text], **HOW | more)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class KilledError(Exception):
    pass


def killed_at(step: int) -> Any:
    def kill(stage: str, done: int, total: int) -> None:
        if stage == "train" and done == step:
            raise KilledError

    return kill


def test_held_out_text_gains_and_the_log_says_what_happened(base: Path, text: Path, tmp_path: Path) -> None:
    report = trained(base, tmp_path / "out", text, ["lm=8"], auxiliary=0.0)
    figures = report.figures
    assert figures["held_out_after"].value < figures["held_out_before"].value - 0.005
    entries = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in entries if "loss" in entry]
    assert [entry["step"] for entry in steps] == list(range(1, 9)) and {e["stage"] for e in steps} == {"lm"}
    assert max(entry["rate"] for entry in steps) <= 3e-3 and steps[-1]["rate"] < steps[2]["rate"]
    looks = [entry for entry in entries if "held_out_bits" in entry]
    assert [look["step"] for look in looks] == [0, 8] and looks == report.facts["looks"]
    assert looks[-1]["held_out_bits"] == figures["held_out_after"].value
    assert load_hypernet(tmp_path / "out").config.start.method == "subword"


@pytest.mark.parametrize("arch", ["residual", "zett"])
def test_rows_of_held_out_tokens_come_nearer(arch: str, tmp_path: Path) -> None:
    """A base in which a token's row is its first piece's half way to its second's can be learnt."""
    made = checkpoint(tmp_path / "base", byte_level(merges=60), rows=320, tie_word_embeddings=True)
    stages = ["spell=30"] if arch == "residual" else ["identity=40"]
    report = train_hypernet(
        made.folder, tmp_path / "out", stages=stages, architecture=arch,
        **HOW | {"pairs": 60, "looks": 2, "hidden": 32, "rate": 1e-2},
    )  # fmt: skip
    entries = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    assert len(report.facts["looks"]) == 3
    first = report.facts["looks"][0]
    assert (first["held_out_error"] == first["start_error"]) == (arch == "residual")


@pytest.mark.parametrize("step", [0, 4, 7, 10])
def test_a_killed_run_goes_on_to_the_same_bytes(
    step: int, base: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(base, tmp_path / "whole", text)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    with pytest.raises(KilledError):
        trained(base, tmp_path / "out", text, on_progress=killed_at(step))
    assert list(tmp_path.glob(".out.tokswap-hypernet-*"))
    told: list[int] = []
    trained(
        base, tmp_path / "out", text, on_progress=lambda s, d, _: told.append(d) if s == "train" else None
    )
    assert told == list(range(step, 11))
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert not list(tmp_path.glob(".out.*"))


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_stops_and_leaves_the_best_network_until_then(
    where: str, base: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Objective.loss

    def broken(self: Objective, stage: Stage, step: int, part: int) -> torch.Tensor:
        loss = honest(self, stage, step, part)
        if step < 4:
            return loss
        if where == "loss":
            return loss * torch.nan
        loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss

    monkeypatch.setattr(Objective, "loss", broken)
    with pytest.raises(TokswapError, match=r"not finite at step 5 \(stage lm\)") as caught:
        trained(base, tmp_path / "out", text, ["lm=8"], auxiliary=0.0, looks=4)
    staged = tmp_path / ".out.tokswap-staged"
    assert "--rate" in caught.value.hint and f"of step 4, is in {staged}" in caught.value.hint
    assert not (tmp_path / "out").exists()
    left = load_hypernet(staged).network.state_dict()
    assert left["output_projection.weight"].abs().max() > 0, "good steps are in it"


def test_the_best_network_by_held_out_bits_is_written_not_the_last(
    base: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps far too long ruin the network after some looks: what is written is what it was at the best of them."""
    honest, seen = training.rate_factor, dict[int, dict[str, torch.Tensor]]()
    monkeypatch.setattr(training, "rate_factor", lambda done: 60.0 if done >= 0.5 else honest(done))
    look = training.Trainer._look

    def remembering(self: training.Trainer) -> None:
        seen[self.progress.step] = {n: p.detach().clone() for n, p in self.parameters.items()}
        look(self)

    monkeypatch.setattr(training.Trainer, "_look", remembering)
    report = trained(base, tmp_path / "out", text, ["lm=8"], auxiliary=0.0, looks=8)
    looks = {look["step"]: look["held_out_bits"] for look in report.facts["looks"]}
    best = min(looks, key=lambda step: looks[step])
    assert 0 < best < 8 and looks[8] > looks[best] + 0.01
    assert report.figures["written_step"].value == best
    assert report.figures["held_out_after"].value == looks[best]
    written = load_hypernet(tmp_path / "out").network.state_dict()
    assert all(torch.equal(written[name], tensor) for name, tensor in seen[best].items())
    assert any(not torch.equal(written[name], tensor) for name, tensor in seen[8].items())


def test_the_old_network_stays_until_the_new_one_is_complete(
    base: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    opened = open_checkpoint(base, source="base")
    trained(base, out, text, ["spell=2"])
    before = content(out)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    with pytest.raises(KilledError):
        trained(base, out, text, ["spell=4"], overwrite=True, on_progress=killed_at(3))
    assert content(out) == before
    assert find_hypernet(str(out), opened, vocab_of(opened)) == out, "the old one is whole, and can be used"
    with pytest.raises(TokswapError, match="exists"):
        trained(base, out, text, ["spell=4"])
    trained(base, out, text, ["spell=4"], overwrite=True)
    trained(base, tmp_path / "whole", text, ["spell=4"])
    assert content(out) == content(tmp_path / "whole") != before
    assert not list(tmp_path.glob(".out.*"))


@pytest.mark.parametrize("rename", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_is_killed_at_the_switch_is_mended(
    rename: int, after: bool, base: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every instant the old network is at its place, or beside it and put back, or the new one is complete."""
    out = tmp_path / "out"
    trained(base, out, text, ["spell=2"])
    trained(base, tmp_path / "whole", text, ["spell=4"])
    calls: list[Path] = []

    class Dying(System):
        def rename(self, old: Path, new: Path) -> None:
            calls.append(old)
            if len(calls) == rename and not after:
                os._exit(1)
            super().rename(old, new)
            if len(calls) == rename:
                os._exit(1)

    child = os.fork()
    if not child:
        places.SYSTEM = Dying()
        trained(base, out, text, ["spell=4"], overwrite=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    trained(base, out, text, ["spell=4"], overwrite=True)
    assert content(out) == content(tmp_path / "whole")
    assert not [path for path in tmp_path.glob(".out.*") if not path.name.endswith("lock")]


def test_parts_of_a_step_add_up_to_the_step(base: Path, text: Path, tmp_path: Path) -> None:
    """Accumulated over parts, a text step is the same step: the mean of its snippets' losses."""
    one = trained(base, tmp_path / "one", text, ["lm=1"], auxiliary=0.0, accumulate=1)
    two = trained(base, tmp_path / "two", text, ["lm=1"], auxiliary=0.0, accumulate=2)
    losses = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[1])["loss"]
        for name in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1]) and one.facts["looks"][-1] == two.facts["looks"][-1]


def test_rows_made_in_blocks_and_again_for_their_gradient_are_the_same_step(
    base: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(base, tmp_path / "one", text, ["lm=2", "distil=1"])
    monkeypatch.setattr(objective, "ROWS_AT_ONCE", 7)
    trained(base, tmp_path / "blocks", text, ["lm=2", "distil=1"])
    one, blocks = (load_hypernet(tmp_path / name).network.state_dict() for name in ("one", "blocks"))
    assert any(bool(tensor.ne(one[name]).any()) for name, tensor in blocks.items()), "sums in another order"
    for name, tensor in one.items():
        torch.testing.assert_close(blocks[name], tensor, rtol=1e-3, atol=1e-4)


def test_another_run_does_not_take_over_a_state_and_an_output_is_not_overwritten(
    base: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    with pytest.raises(KilledError):
        trained(base, tmp_path / "out", text, ["spell=4"], on_progress=killed_at(2))
    with pytest.raises(TokswapError, match="exists"):
        trained(base, tmp_path / "out", text, ["spell=4"], seed=1)
    told: list[int] = []
    tell = lambda s, d, _: told.append(d) if s == "train" else None  # noqa: E731
    trained(base, tmp_path / "out", text, ["spell=4"], seed=1, overwrite=True, on_progress=tell)
    assert told == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"stages": ["lm=2"], "texts": []}, "read text"),
        ({"stages": ["lm"]}, "no stage with its steps"),
        ({"stages": ["spell=0"]}, "no stage"),
        ({"start": "omp"}, "can't refine the rows of 'omp'"),
        ({"start": "hypernet"}, "can't refine"),
        ({"start": "subwrod"}, "no method"),
        ({"architecture": "t5"}, "no architecture"),
        ({"rate": -1.0}, "the rate is"),
        ({"seed": -1}, "the seed"),
        ({"speed": 3}, "no setting 'speed'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    more: dict[str, Any], words: str, base: Path, text: Path, tmp_path: Path
) -> None:
    with pytest.raises(TokswapError, match=words) as caught:
        train_hypernet(base, tmp_path / "out", **{"stages": ["spell=2"], "texts": [text]} | HOW | more)
    assert caught.value.hint and not (tmp_path / "out").exists()


def test_too_little_memory_is_said_before_the_start(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokswap.hypernet import memory

    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    told: list[Report] = []
    with pytest.raises(TokswapError, match=r"training takes about .* GB"):
        train_hypernet(base, tmp_path / "out", stages=["spell=2"], on_plan=told.append, **HOW)
    assert not (tmp_path / "out").exists()


def test_neither_the_base_nor_a_strangers_folder_nor_a_log_is_overwritten(
    base: Path, text: Path, tmp_path: Path
) -> None:
    before = content(base)
    with pytest.raises(TokswapError, match="the base itself"):
        trained(base, base, text, ["spell=1"], overwrite=True)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(TokswapError, match="holds no hypernetwork"):
        trained(base, stranger, text, ["spell=1"], overwrite=True)
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    with pytest.raises(TokswapError, match="exists"):
        trained(base, tmp_path / "out", text, ["spell=1"], log=precious)
    assert content(base) == before and [p.name for p in stranger.iterdir()] == ["config.json"]
    assert precious.read_text() == "mine"


def test_a_training_that_has_not_ended_is_no_hypernetwork_yet(base: Path, text: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(base, source="base")
    vocab = vocab_of(opened)
    with pytest.raises(KilledError):
        trained(base, tmp_path / "out", text, on_progress=killed_at(2))
    with pytest.raises(TokswapError, match="has not ended"):
        find_hypernet(str(tmp_path / "out"), opened, vocab)
    trained(base, tmp_path / "out", text)
    assert find_hypernet(str(tmp_path / "out"), opened, vocab) == tmp_path / "out"


def test_stages_follow_one_another() -> None:
    settings = make_settings(["spell=3", "lm=2"], looks=1)
    at = [settings.at(step)[1:] for step in range(5)]
    assert at == [
        (Stage.SPELL, 0.0), (Stage.SPELL, 1 / 3), (Stage.SPELL, 2 / 3), (Stage.LM, 0.0), (Stage.LM, 0.5),
    ]  # fmt: skip
    assert [settings.is_look(step) for step in range(1, 6)] == [False, False, True, False, True]
    assert parse_stage(" LM=20 ") == (Stage.LM, 20)
