"""Tiny outputs of tokswap, written under this environment's transformers, read by another version in one of its own.

    python tests/read_by_other_transformers.py --version '4.57.*' --venv .venv-transformers-4

Makes the environment when it isn't there (pip must be able to download) and runs this very file in it: every output
has to load with no weight missing or left over, encode as it does here, give the same logits, and generate the same
ids. Exits with 1 when one differs. With --reuse-torch the environment takes torch from here and installs no other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

PROBES = ["The wall, 42 times.", "  two\n\n\tlines ", "naïve 水路 🙂", "<s>the wall"]
SAME_LOGITS = 1e-4  # nats; fp32 on one machine, where versions may order sums otherwise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", default="4.57.*")
    parser.add_argument("--venv", type=Path, default=Path(".venv-transformers-4"))
    parser.add_argument("--reuse-torch", action="store_true")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        sys.exit(compare(arguments.read))
    python = environment(arguments.venv, arguments.version, reuse_torch=arguments.reuse_torch)
    with tempfile.TemporaryDirectory() as root:
        write(Path(root))
        command = [str(python), str(Path(__file__).resolve()), "--read", root]
        sys.exit(subprocess.run(command, check=False).returncode)


def environment(folder: Path, version: str, *, reuse_torch: bool) -> Path:
    """Return the python of an environment with that transformers."""
    python = folder / "bin" / "python"
    if not python.exists():
        import torch

        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = [f"transformers=={version}"] + [f"torch=={torch.__version__.split('+')[0]}"] * (
            not reuse_torch
        )
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
        if reuse_torch:  # looked at after the environment's own packages, so that those win
            site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
            (site / "torch_from_elsewhere.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def write(root: Path) -> None:
    """Write tiny outputs of several architectures, and beside each what this environment makes of it."""
    here = Path(__file__).parent
    sys.path[:0] = [str(here), str(here / "evaluation"), str(here / "acceptance")]
    import torch
    from architectures import MODELS
    from test_verification import TEMPLATE, chatty
    from tiny_models import byte_level
    from transplants import moved, saved, with_tokenizer

    donor = with_tokenizer(root / "donor", chatty())
    (donor / "chat_template.jinja").write_text(TEMPLATE)
    for name in ("llama", "llama, tied", "qwen2", "qwen3", "gemma3", "gpt2", "neox", "phi", "mixtral"):
        torch.manual_seed(0)
        base = saved(MODELS[name](), root / f"base {name}", byte_level())
        out = moved(base, donor, root / f"out {name}", untie=name == "gemma3")
        (root / f"{name}.json").write_text(json.dumps(seen(out)))


def seen(folder: Path) -> dict[str, Any]:
    """Return what this environment's transformers makes of a checkpoint."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model, told = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    model = model.float().eval()
    prompt = torch.tensor([[0, 5, 9, 30]])
    with torch.no_grad():
        logits = model(prompt).logits[0, -1]
        written = model.generate(prompt, max_new_tokens=6, do_sample=False, pad_token_id=0)
    chat = [{"role": "user", "content": "the wall"}, {"role": "assistant", "content": "a wall"}]
    return {
        "not loaded": sorted(
            map(str, [*told["missing_keys"], *told["unexpected_keys"], *told["mismatched_keys"]])
        ),
        "ids": [tokenizer(text).input_ids for text in PROBES],
        "texts": [tokenizer.decode(tokenizer(text).input_ids) for text in PROBES],
        "chat": tokenizer.apply_chat_template(chat, tokenize=False),
        "ends": model.generation_config.eos_token_id,
        "written": written[0].tolist(),
        "logits": [float(x) for x in logits],
    }


def compare(root: Path) -> int:
    """Print what differs here from what was written down, and return how many outputs do."""
    import transformers

    wrong = 0
    for path in sorted(root.glob("*.json")):
        expected = json.loads(path.read_text())
        try:
            found = seen(root / f"out {path.stem}")
        except Exception as error:  # whatever it raises, this output isn't read
            found = {"logits": [], "error": f"{type(error).__name__}: {error}"}
        gap = max(
            (abs(a - b) for a, b in zip(expected.pop("logits"), found.pop("logits"), strict=False)),
            default=9.0,
        )
        differ = [key for key in expected if expected[key] != found.get(key)] + ["logits"] * (
            gap > SAME_LOGITS
        )
        wrong += bool(differ)
        said = f"differs: {', '.join(differ)} {found.get('error', '')}" if differ else "the same"
        print(f"transformers {transformers.__version__}: {path.stem}: {said} (logits within {gap:.1e})")
    return 1 if wrong else 0


if __name__ == "__main__":
    main()
