"""A ZeTT network against FOCUS and the mean row, in bits per byte, on a model small enough to be trained here.

    python benchmarks/hypernet_tiny.py work/

All of it is made in the run: a language model, and for each seed a hypernetwork for it by the paper's recipe (one-piece
tokens first, then text through the frozen model under sampled Unigram tokenizers with noise, the auxiliary loss beside
it). Three tokenizers that training never saw take the model's place: two by BPE, one by Unigram, trained on other text.
FOCUS gets what its authors gave it: vectors of the new tokens from text that the new tokenizer has cut. Shared tokens
keep their rows under every method. Scored is text that nothing was trained on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mixture_texts
import numpy as np

import tokswap
from tokswap.hypernet.train import train_hypernet
from tokswap.tokenization import load_tokenizer

OUT = Path(__file__).parent / "results" / "hypernet-tiny.json"
WIDTH, LAYERS, ROWS = 128, 3, 2048
TRAIN, HELD_OUT, OTHER = 1_500_000, 20_000, 600_000
"""Bytes of help pages to train on and to score, and of manual pages for the other tokenizers."""
BATCH, LENGTH, EPOCHS, RATE = 16, 128, 2, 3e-3
DONORS = {"bpe-4000": ("bpe", 4000), "bpe-1200": ("bpe", 1200), "unigram-3000": ("unigram", 3000)}
HYPERNET: dict[str, Any] = {
    "architecture": "zett", "stages": ["identity=60", "lm=80"], "rate": 1e-3, "pieces": 1500, "negatives": 500,
    "step_bytes": 8192, "accumulate": 4, "serves": 8, "pairs": 256, "looks": 2, "worker": False,
}  # fmt: skip
METHODS = ("hypernet", "focus", "mean", "subword")
STUDENT = {2: 4.303, 4: 2.776, 9: 2.262}
"""Of 3, 5 and 10 seeds: the half width of a 95 % interval in standard errors."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, default=3, choices=[n + 1 for n in STUDENT])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    train, held_out, other = texts(given.work)
    base = given.work / "base"
    if not (base / "model.safetensors").exists():
        train_base(base, train.read_text())
    for name, (kind, size) in DONORS.items():
        make_donor(given.work / name, kind, size, other.read_text(), train.read_text())
    result: dict[str, Any] = {
        "base": bits(base, held_out), "base_cpu_seconds": round(time.process_time() - began), "scores": {},
    }  # fmt: skip
    for seed in range(given.seeds):
        began = time.process_time()
        report = train_hypernet(
            base, given.work / f"hypernet-{seed}", texts=[train], seed=seed, overwrite=True, **HYPERNET
        )
        seconds = round(time.process_time() - began)
        result.setdefault("hypernets", []).append(
            {"cpu_seconds": seconds, "looks": [look["held_out_bits"] for look in report.facts["looks"]]}
        )
        print(seed, result["hypernets"][-1], flush=True)
        for name in DONORS:
            scored = score(given.work, name, held_out, seed)
            print(seed, name, scored, flush=True)
            result["scores"].setdefault(name, []).append(scored)
        result["differences"] = differences(result["scores"])
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def texts(work: Path) -> tuple[Path, Path, Path]:
    """Write what is trained on, what is scored, and what the other tokenizers are trained on."""
    found = mixture_texts.texts("domains")
    (help_pages,), (manuals,) = (list(found[name].glob("*.txt")) for name in ("help", "manpages"))
    pages = help_pages.read_bytes()
    parts = {
        "train": pages[:TRAIN], "held_out": pages[-HELD_OUT:], "other": manuals.read_bytes()[:OTHER]
    }  # fmt: skip
    for name, content in parts.items():
        (work / f"{name}.txt").write_text(content.decode("utf-8", "ignore"))
    train, held_out, other = (work / f"{name}.txt" for name in parts)
    return train, held_out, other


def tokenizer(kind: str, size: int, text: str) -> Any:
    """Train a byte-level tokenizer with the engine's own trainers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = kind == "bpe"
    engine: Any = Tokenizer(models.BPE() if bpe else models.Unigram())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    common: dict[str, Any] = {
        "vocab_size": size, "special_tokens": ["<s>"], "show_progress": False,
        "initial_alphabet": pre_tokenizers.ByteLevel.alphabet(),
    }  # fmt: skip
    trainer = trainers.BpeTrainer(**common) if bpe else trainers.UnigramTrainer(**common, unk_token="<s>")
    engine.train_from_iterator(text.splitlines(keepends=True), trainer)
    return engine


def train_base(folder: Path, text: str) -> None:
    """Train a Llama of about a million parameters on text, and save it."""
    import torch

    engine = tokenizer("bpe", ROWS, text)
    ids = torch.tensor(engine.encode(text).ids)
    model = llama(ROWS, WIDTH, LAYERS)
    blocks = ids[: len(ids) // LENGTH * LENGTH].view(-1, LENGTH)
    steps = EPOCHS * (len(blocks) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        if step % (steps // EPOCHS) == 0:
            order = torch.randperm(len(blocks), generator=generator)
        at = step % (steps // EPOCHS) * BATCH
        batch = blocks[order[at : at + BATCH]]  # pyright: ignore[reportPossiblyUnboundVariable]
        loss = model(input_ids=torch.cat([torch.zeros_like(batch[:, :1]), batch], 1),
                     labels=torch.cat([torch.zeros_like(batch[:, :1]), batch], 1)).loss  # fmt: skip
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 0:
            print(f"base: step {step} of {steps}, loss {float(loss):.3f}", flush=True)
    save(model, engine, folder)


def llama(rows: int, width: int, layers: int) -> Any:
    import torch
    import transformers

    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=rows, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024, bos_token_id=0,
            eos_token_id=0, tie_word_embeddings=True,
        )
    )  # fmt: skip


def save(model: Any, engine: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(engine.to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<s>"}))


def make_donor(folder: Path, kind: str, size: int, other: str, text: str) -> None:
    """Write a tokenizer, trained on other text, and rows of co-occurrence in the text that it has cut."""
    import torch

    if (folder / "model.safetensors").exists():
        return
    engine = tokenizer(kind, size, other)
    rows = engine.get_vocab_size()
    vectors = cooccurrence(load_tokenizer(json.loads(engine.to_str())).encode(text).ids, rows)
    model = llama(rows, vectors.shape[1], 1)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(torch.from_numpy(vectors))
    save(model, engine, folder)


def cooccurrence(ids: Sequence[int], rows: int, width: int = 64, window: int = 4) -> Any:
    """Return Float[rows width]: a truncated SVD of positive pointwise mutual information in a window."""
    from scipy.sparse import coo_matrix
    from sklearn.decomposition import TruncatedSVD

    tokens = np.asarray(ids)
    near = [(tokens[:-gap], tokens[gap:]) for gap in range(1, window + 1)]
    left, right = (np.concatenate([pair[side] for pair in near]) for side in (0, 1))
    one = coo_matrix((np.ones(len(left)), (left, right)), shape=(rows, rows)).tocsr()
    counts = (one + one.T).tocoo()
    sums = np.asarray(counts.sum(1)).ravel()
    information = np.log(counts.data * counts.data.sum() / (sums[counts.row] * sums[counts.col]))
    positive = coo_matrix((np.maximum(information, 0), (counts.row, counts.col)), shape=(rows, rows))
    return TruncatedSVD(width, random_state=0).fit_transform(positive.tocsr()).astype(np.float32)


def score(work: Path, name: str, held_out: Path, seed: int) -> dict[str, float]:
    """Return bits per byte of held-out text after a transplant by each method."""
    out: dict[str, float] = {}
    for method in METHODS:
        moved = work / f"moved-{name}-{method}"
        more = {"hypernet": str(work / f"hypernet-{seed}")} if method == "hypernet" else {}
        if method == "hypernet" or not moved.exists():
            tokswap.transplant(
                work / "base", work / name, out=moved, method=method, seed=seed, overwrite=True, **more
            )
        out[method] = bits(moved, held_out)
    return out


def bits(folder: Path, text: Path) -> float:
    report = tokswap.evaluate(folder, texts=[text], max_bytes=HELD_OUT)
    return float(report.sections[text.stem].figures["bits_per_byte"].value)


def differences(scores: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, list[float | None]]:
    """Return what each other method's bits per byte are above the hypernetwork's: mean and 95 % interval over seeds.

    Of each seed the mean over tokenizers is one observation.
    """
    return {other: list(_interval(_gaps(scores, other))) for other in METHODS[1:]}


def _gaps(scores: Mapping[str, Sequence[Mapping[str, float]]], other: str) -> list[float]:
    seeds = zip(*scores.values(), strict=True)
    return [statistics.mean(one[other] - one["hypernet"] for one in seed) for seed in seeds]


def _interval(values: Sequence[float]) -> Iterator[float | None]:
    mean = statistics.mean(values)
    yield round(mean, 4)
    wide = STUDENT.get(len(values) - 1)
    if wide is None:
        yield from (None, None)
        return
    half = wide * statistics.stdev(values) / math.sqrt(len(values))
    yield from (round(mean - half, 4), round(mean + half, 4))


def table(result: Mapping[str, Any]) -> str:
    lines = ["| tokenizer | " + " | ".join(METHODS) + " |", "|---" * (len(METHODS) + 1) + "|"]
    for name, scores in result["scores"].items():
        cells = [f"{statistics.mean(one[method] for one in scores):.3f}" for method in METHODS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", json.dumps(result["differences"])])


if __name__ == "__main__":
    main()
