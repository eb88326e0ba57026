"""What may import what: pure modules stay pure, and light ones load without the heavy libraries."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tokswap

PACKAGE = Path(tokswap.__file__).parent
PURE = ["vocab", "align", "calibrate", "initialise", "graft", "pieces", "cooccurrence", "auxiliary/ngrams"]
PURE += [f"methods/{path.stem}" for path in sorted((PACKAGE / "methods").glob("*.py"))]
IMPURE = {
    "pathlib",
    "os",
    "io",
    "shutil",
    "logging",
    "transformers",
    "typer",
    "rich",
    "subprocess",
    "huggingface_hub",
}
CALLS = {"print", "open", "input", "breakpoint", "exec", "eval"}
HEAVY = ("torch", "transformers", "tokenizers", "sklearn", "scipy", "pydantic")


def imported(tree: ast.Module) -> set[str]:
    """Top-level names of everything imported anywhere in a file."""
    out: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            out.add((node.module or "").split(".")[0])
    return out


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_touch_no_file_and_no_person(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    assert not imported(tree) & IMPURE
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not called & CALLS


def test_the_library_never_prints() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        }
        assert "print" not in names, path
        assert not imported(tree) & {"typer", "rich", "logging", "tokswap_cli"}, path


@pytest.mark.parametrize(
    "module", ["tokswap", "tokswap.vocab", "tokswap.align", "tokswap.report", "tokswap.errors"]
)
def test_light_modules_load_without_heavy_libraries(module: str) -> None:
    code = f"import {module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
