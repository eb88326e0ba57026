"""One small generator per attack: each spoils a sound base or donor folder and names what the error must say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from test_checkpoint_abuse import BAD_FILES

Spoil = Callable[[Path], None]
INDEX = "model.safetensors.index.json"


def weights(content: Callable[[], bytes]) -> Spoil:
    """Replace model.safetensors."""
    return lambda folder: void((folder / "model.safetensors").write_bytes(content()))


def tokenizer(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change tokenizer.json as data."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        change(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return spoil


def raw_tokenizer(content: bytes) -> Spoil:
    return lambda folder: void((folder / "tokenizer.json").write_bytes(content))


def index(place: Any) -> Spoil:
    """Put an index that names `place` in the stead of the weights."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "one.safetensors")
        (folder / INDEX).write_text(
            json.dumps({"metadata": {}, "weight_map": {"model.embed_tokens.weight": place}})
        )

    return spoil


def void(_: object) -> None:
    """Forget what a call returned."""


def pickled(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")

    return spoil


def directory(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def pipe(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")


def normaliser(*steps: dict[str, Any]) -> Spoil:
    return tokenizer(lambda t: t.update(normalizer={"type": "Sequence", "normalizers": list(steps)}))


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def cutting(pattern: str) -> Spoil:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    parts = [step, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    return tokenizer(lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": parts}))


def added(token_id: int, text: str) -> Spoil:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    entry = {"id": token_id, "content": text, "special": True} | flags
    return tokenizer(lambda t: t["added_tokens"].append(entry))


def unknown_special(t: dict[str, Any]) -> None:
    special = {"SpecialToken": {"id": "<q>", "type_id": 0}}
    single = [special, {"Sequence": {"id": "A", "type_id": 0}}]
    t["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}}


def nothing(t: dict[str, Any]) -> None:
    t.update(model={"type": "BPE", "vocab": {}, "merges": []}, added_tokens=[])


def explosion() -> str:
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    return "a: &a [x,x]\n" + "".join(f"{c}: &{c} [*{p},*{p}]\n" for p, c in pairs)


BASES: dict[str, tuple[Spoil, str]] = {
    **{f"weights: {name}": (weights(make), said) for name, (make, said) in BAD_FILES.items()},
    "weights: a directory": (directory, "directory"),
    "weights: a pipe": (pipe, "regular file"),
    **{
        f"index: {place!r}": (index(place), "plain")
        for place in (
            "../one.safetensors", "/etc/one.safetensors", "C:\\one.safetensors", "\\\\host\\one.safetensors",
            "sub/one.safetensors", "one.bin", "one.safetensors\x00", 3, None,
        )
    },
    "index: a missing shard": (index("two.safetensors"), "can't be read"),
    "index: tensors that aren't there": (index("one.safetensors"), "disagree"),
    **{f"pickle: {name}": (pickled(name), "pickle") for name in ("pytorch_model.bin", "model.pt", "a.ckpt")},
    "config: a list": (lambda folder: void((folder / "config.json").write_text("[]")), "no JSON object"),
    "config: deep": (lambda folder: void((folder / "config.json").write_text("[" * 10**6)), "nested"),
}  # fmt: skip

TOKENIZERS: dict[str, tuple[Spoil, str]] = {
    "an id of four thousand million": (
        tokenizer(lambda t: t["model"]["vocab"].update(huge=4_000_000_000)), "out of all bounds",
    ),
    "a negative id": (tokenizer(lambda t: t["model"]["vocab"].update(low=-1)), "out of all bounds"),
    "an id that is no number": (tokenizer(lambda t: t["model"]["vocab"].update(odd="3")), "no integer"),
    "two tokens on one id": (tokenizer(lambda t: t["model"]["vocab"].update(twin=7)), "share id 7"),
    "an added token that is renumbered": (added(290_000, "<|far|>"), "loads as"),
    "an added token on another's id": (added(5, "<|five|>"), "share id 5"),
    "a normaliser that multiplies": (normaliser(replace({"Regex": "."}, "x" * 100_000)), "times as long"),
    "normalisers that multiply together": (
        normaliser(*[replace({"String": "a"}, "aa")] * 40), "times as long",
    ),
    "a decoder that multiplies": (
        tokenizer(lambda t: t.update(decoder=replace({"String": "a"}, "b" * 10**6))), "times as long",
    ),
    "a normaliser that panics": (normaliser(replace({"Regex": ""}, "xx")), "can't be loaded"),
    "a charsmap that panics": (
        normaliser({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "can't be loaded",
    ),
    "a pattern that panics": (cutting("(a+)+Z"), "can't be loaded"),
    "another pattern that panics": (cutting("(a|aa)+$"), "can't be loaded"),
    "a pattern that is none": (cutting("("), "can't be loaded"),
    "pieces of length zero": (
        tokenizer(lambda t: t.update(pre_tokenizer={"type": "FixedLength", "length": 0})), "can't be loaded",
    ),
    "a template of unknown tokens": (tokenizer(unknown_special), ""),
    "nested 250 deep": (raw_tokenizer(b'{"a":' + b"[" * 250 + b"]" * 250 + b"}"), "nested"),
    "truncated": (raw_tokenizer(b'{"model": {"vocab": {"a": 1, '), "no valid JSON"),
    "empty": (raw_tokenizer(b""), "no valid JSON"),
    "a Git-LFS pointer": (raw_tokenizer(b"version https://git-lfs.github.com/spec/v1\n"), "Git-LFS"),
    "unknown model type": (tokenizer(lambda t: t["model"].update(type="Magic")), "Magic"),
    "no model": (tokenizer(lambda t: t.pop("model")), "no 'model'"),
    "a vocabulary of nothing": (tokenizer(nothing), "no tokens"),
    "added tokens that are no list": (tokenizer(lambda t: t.update(added_tokens=3)), "no list"),
    "merges of tokens that aren't there": (
        tokenizer(lambda t: t["model"]["merges"].append(["q", "qqq"])), "can't be loaded",
    ),
}  # fmt: skip

# What comes of these is up to the tokenizers library: a version without its fault takes them, and no harm is done.
UP_TO_THE_LIBRARY = frozenset({
    "an added token that is renumbered", "a normaliser that panics", "a charsmap that panics", "a pattern that panics",
    "another pattern that panics", "pieces of length zero", "a template of unknown tokens",
    "merges of tokens that aren't there",
})  # fmt: skip

RECIPES: dict[str, tuple[str, str]] = {
    "aliases that explode": (explosion(), "aliases"),
    "unknown keys": ("base: x\ndonor: y\nmetod: omp\noot: z\n", "'metod' (did you mean 'method'?)"),
    "wrong in every part at once": (
        "base: x\ndonor: y\nseed: -1\nmethod: omp\noot: z\nparameters: {kk: 1}\n", "method omp: there is no 'kk'",
    ),
    "over a megabyte": ("#" * 1_000_001, "larger than"),
    "a megabyte of lists": ("a: [" + "[]," * 300_000 + "]", "YAML tokens"),
    "a method that is a path": ("base: {base}\ndonor: {donor}\nmethod: os.system\nout: {out}\n", "os.system"),
    "code": ("a: !!python/object/apply:os.system [ls]\n", "no YAML"),
    "deep": ("a: " + "[" * 100_000, "nested"),
    "no mapping": ("- a\n", "no fields"),
    "a padding beyond memory": (
        "base: {base}\ndonor: {donor}\nout: {out}\nmethod: subword\npad_vocab_to: 4000000000\n", "pad_vocab_to",
    ),
}  # fmt: skip
