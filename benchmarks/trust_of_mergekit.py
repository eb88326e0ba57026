"""`tokswap verify` on what mergekit-tokensurgeon and tokswap write from the same inputs: what survives, what breaks.

    python benchmarks/trust_of_mergekit.py --mergekit /path/to/mergekit-tokensurgeon
    python benchmarks/trust_of_mergekit.py --outputs bench-omp-64 --base gemma3

The inputs are tiny models of the architectures and situations of the acceptance tests, so that a case takes seconds;
with --outputs the folders `mergekit` and `tokswap` that against_mergekit.py left in its --work folder are verified.
mergekit (LGPL) is called as a program in an environment of its own and never imported.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from against_mergekit import find_mergekit

import tokswap
from tokswap.report import Report

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "evaluation"), str(TESTS / "acceptance")]
K = 8
LONGEST = 300  # seconds for one run of either tool


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mergekit", help="a mergekit-tokensurgeon program; without it one is installed")
    parser.add_argument("--cases", nargs="*", help="only these cases")
    parser.add_argument("--outputs", type=Path, help="verify these outputs of against_mergekit.py")
    parser.add_argument("--base", default="gemma3", help="the base of --outputs")
    parser.add_argument("--out", help="write the result as JSON")
    arguments = parser.parse_args()
    if arguments.outputs:
        found = {"as given": {name: _verified(arguments.outputs / name, arguments.base) for name in TOOLS}}
    else:
        program = find_mergekit(arguments.mergekit)
        with tempfile.TemporaryDirectory() as root:
            names = arguments.cases or list(CASES)
            found = {name: _case(name, Path(root) / str(i), program) for i, name in enumerate(names)}
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(_table(found))


TOOLS = ("mergekit", "tokswap")
Result = dict[str, Any]


def _case(name: str, root: Path, program: Path) -> dict[str, Result]:
    """Write the inputs of one case, let both tools move them, and verify what they wrote."""
    root.mkdir()
    base, donor = CASES[name](root)
    commands = {
        "mergekit": [str(program), str(base), str(donor), str(root / "mergekit"), "-k", str(K), "-a", "omp", "--quiet"],
        "tokswap": [
            sys.executable, "-m", "tokswap_cli", "transplant", "--base", str(base), "--donor", str(donor), "--out",
            str(root / "tokswap"), "--method", "omp", "--set", f"k={K}", "--no-evaluate", "--calibrate", "none", "-q",
        ],
    }  # fmt: skip
    found: dict[str, Result] = {}
    for tool, command in commands.items():
        ran = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        if ran.returncode:
            found[tool] = {
                "output": "left half-written" if (root / tool).exists() else "none",
                "error": _last(ran.stderr),
            }
        else:
            found[tool] = _verified(root / tool, str(base))
        print(f"{name}: {tool}: {found[tool].get('failed', found[tool])}", file=sys.stderr)
    return found


def _verified(folder: Path, base: str) -> Result:
    report = tokswap.verify(folder, against=base)
    return {"failed": _failed(report), "checks": {n: s.facts["outcome"] for n, s in report.sections.items()}}


def _failed(report: Report) -> dict[str, str]:
    checks = report.sections.items()
    return {n: str(s.facts["sentence"]) for n, s in checks if s.facts["outcome"] == "failed"}


def _last(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")]
    return (said or lines or [""])[-1][:200]


def _table(found: dict[str, dict[str, Result]]) -> str:
    lines = ["| input | " + " | ".join(TOOLS) + " |", "|---|---|---|"]
    for name, results in found.items():
        lines.append(f"| {name} | " + " | ".join(_cell(results[tool]) for tool in TOOLS) + " |")
    return "\n".join(lines)


def _cell(result: Result) -> str:
    if "failed" not in result:
        return f"no output ({result['output']}): {result['error']}"
    return (
        "; ".join(f"**{n.replace('_', ' ')}**: {s}" for n, s in result["failed"].items())
        or "every check passes"
    )


def _inputs(architecture: str, **how: Any) -> Callable[[Path], tuple[Path, Path]]:
    """Return a writer of a base of that architecture and a Llama donor with a chat template."""

    def write(root: Path) -> tuple[Path, Path]:
        import torch
        from architectures import MODELS
        from test_verification import TEMPLATE, chatty
        from tiny_models import byte_level
        from tokenizer_families import byte_level as trained
        from transplants import ROWS, llama, saved

        torch.manual_seed(0)
        base = saved(MODELS[architecture](), root / "base", byte_level())
        torch.manual_seed(1)
        pieces = how.get("sentencepiece")
        tokenizer = chatty() if pieces else trained(400, specials=("<s>", "<|turn|>", "<|im_end|>"))
        donor = saved(llama(rows=ROWS if pieces else 400), root / "donor", tokenizer)
        _configure(base, "GPT2TokenizerFast")
        _configure(donor, "LlamaTokenizerFast" if pieces else "GPT2TokenizerFast", chat_template=TEMPLATE)
        for change in how.get("changes", ()):
            change(base, donor)
        return (base, base) if how.get("own") else (base, donor)

    return write


def _configure(folder: Path, kind: str, **more: Any) -> None:
    config = {"bos_token": "<s>", "eos_token": "<s>", "tokenizer_class": kind, "model_max_length": 512}
    (folder / "tokenizer_config.json").write_text(json.dumps(config | more))


def _broken_donor_rows(base: Path, donor: Path) -> None:  # noqa: ARG001 - one signature for all changes
    from safetensors.torch import load_file, save_file

    state = load_file(donor / "model.safetensors")
    state["model.embed_tokens.weight"][5:9] = float("nan")
    state["model.embed_tokens.weight"][9:12] = 0
    save_file(state, donor / "model.safetensors", metadata={"format": "pt"})


def _base_with_template(base: Path, donor: Path) -> None:  # noqa: ARG001
    (base / "chat_template.jinja").write_text("{% for m in messages %}<|old|>{{ m.content }}{% endfor %}")
    (base / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 77], "do_sample": False}))


CASES: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    "Llama, tied": _inputs("llama, tied"),
    "Llama, head of its own": _inputs("llama"),
    "padded rows, own tokenizer": _inputs("llama, tied", own=True),
    "NaN and zero rows in the donor": _inputs("llama, tied", changes=(_broken_donor_rows,)),
    "chat template and ends of the base": _inputs("llama, tied", changes=(_base_with_template,)),
    "SentencePiece donor": _inputs("llama, tied", sentencepiece=True),
    "Qwen2": _inputs("qwen2"),
    "Gemma 3, wrapped": _inputs("gemma3, wrapped"),
    "Gemma 3n": _inputs("gemma3n"),
    "Mllama": _inputs("mllama"),
    "Phi, head with a bias": _inputs("phi"),
    "GPT-2": _inputs("gpt2"),
    "BERT": _inputs("bert"),
    "Mixtral": _inputs("mixtral"),
}

if __name__ == "__main__":
    main()
