"""Every number that a method takes has bounds, and what is outside them never reaches the method."""

from __future__ import annotations

import math
from typing import Annotated, Any, get_origin

import pytest
from method_tasks import make_task

from tokswap.errors import TokswapError
from tokswap.methods import get_method, methods
from tokswap.methods.bounds import Count, Positive, ShareBelowOne, type_and_bounds
from tokswap.recipe import make_recipe

NUMBERS = [
    (method.name, name)
    for method in methods().values()
    for name, default in method.defaults.items()
    if isinstance(default, int | float) and not isinstance(default, bool)
]
SENSELESS = ["-1", "nan", "-inf", "x"]


def recipe(method: str, name: str, value: Any) -> Any:
    return make_recipe({"base": "b", "donor": "d", "method": method, "parameters": {name: value}})


@pytest.mark.parametrize(("method", "name"), NUMBERS)
def test_every_number_has_bounds_and_a_recipe_outside_them_is_refused(method: str, name: str) -> None:
    annotation = get_method(method).annotations[name]
    assert get_origin(annotation) is Annotated and type_and_bounds(annotation)[1]
    for value in SENSELESS:
        with pytest.raises(TokswapError, match=f"{method}.*{name}: ") as caught:
            recipe(method, name, value)
        assert f"{name}=" in caught.value.hint
    if type_and_bounds(annotation)[0] is int:
        with pytest.raises(TokswapError, match=name):
            recipe(method, name, 0)
    else:
        with pytest.raises(TokswapError, match=name):
            recipe(method, name, math.inf)


@pytest.mark.parametrize(("method", "name"), NUMBERS)
def test_the_least_that_is_allowed_makes_finite_rows(method: str, name: str) -> None:
    bare, bounds = type_and_bounds(get_method(method).annotations[name])
    word, limit = bounds.split(", ")[0].rsplit(" ", 1)
    least = bare(float(limit)) if word == "at least" else math.nextafter(float(limit), math.inf) + 1e-3
    small = {"k": 8} if method == "omp" and name != "k" else {}
    assert get_method(method)(make_task(), **{**small, name: least}).isfinite().all()


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("nearest", {"temperature": 0}), ("wechsel", {"temperature": 0.0}), ("hybrid", {"global_weight": 1.01})],
)
def test_a_method_that_is_called_by_itself_checks_them_too(method: str, parameters: Any) -> None:
    with pytest.raises(TokswapError, match=method):
        get_method(method)(make_task(), **parameters)


def test_bounds_are_said_in_words() -> None:
    assert type_and_bounds(Count) == (int, "at least 1")
    assert type_and_bounds(Positive) == (float, "above 0")
    assert type_and_bounds(ShareBelowOne) == (float, "at least 0, below 1")
    assert type_and_bounds(bool) == (bool, "")
