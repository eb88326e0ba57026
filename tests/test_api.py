"""The library's front door: lazy, and its functions win over any module, whatever is imported first."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import tokswap

ORDERS = {
    "function first": "import tokswap; f = tokswap.transplant; import tokswap.pipeline, tokswap.comparison",
    "modules first": "import tokswap.pipeline, tokswap.comparison, tokswap.evaluation.evaluate; import tokswap",
    "from package": "from tokswap import transplant, evaluate, compare; import tokswap.pipeline; import tokswap",
}


@pytest.mark.parametrize("order", ORDERS)
def test_functions_stay_functions(order: str) -> None:
    code = (
        f"{ORDERS[order]}\n"
        "import types\n"
        "names = ('transplant', 'evaluate', 'compare', 'verify', 'restore', 'doctor', 'audit')\n"
        "assert all(isinstance(getattr(tokswap, n), types.FunctionType) for n in names)\n"
        "assert tokswap.Report.__name__ == 'Report' and issubclass(tokswap.TokswapError, Exception)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_bears_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(tokswap.__path__)}
    assert not modules & set(tokswap.__all__)


def test_importing_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "numpy", "pydantic", "yaml", "tokenizers")
    code = f"import tokswap, sys; dir(tokswap); print([m for m in {heavy!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_public_names() -> None:
    assert set(tokswap.__all__) <= set(dir(tokswap))
    for name in tokswap.__all__:
        assert getattr(tokswap, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tokswap.nonsense


def test_comparing_fetches_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo: str, *_: object, weights: bool = True) -> None:
        raise tokswap.TokswapError(f"{repo}: weights {weights}", "")

    monkeypatch.setattr("tokswap.hub.download", download)
    with pytest.raises(tokswap.TokswapError, match="org/a: weights False"):
        tokswap.compare("org/a", "org/b")
    with pytest.raises(tokswap.TokswapError, match="org/a: weights True"):
        tokswap.evaluate("org/a")


def test_bad_sources_are_named() -> None:
    with pytest.raises(tokswap.TokswapError, match="no such file or folder"):
        tokswap.compare("./nowhere", "./neither")
    with pytest.raises(tokswap.TokswapError, match="there is no 'metod'"):
        tokswap.transplant("a", "b", metod="omp")
    with pytest.raises(tokswap.TokswapError, match=r"nowhere\.txt"):
        tokswap.evaluate("smollm2", texts=["nowhere.txt"])
