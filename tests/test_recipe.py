from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tokswap.errors import TokswapError
from tokswap.methods import methods
from tokswap.recipe import MAX_RECIPE_BYTES, Recipe, load_recipe, make_recipe

SMALL = {"base": "b", "donor": "d"}


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_all_unknown_fields_are_named_at_once_with_the_nearest() -> None:
    with pytest.raises(TokswapError) as caught:
        make_recipe({"base": "b", "donnor": "d", "metod": "omp", "zzz": 1, "seed": -3})
    what = caught.value.what
    assert "'donnor' (did you mean 'donor'?)" in what and "'metod' (did you mean 'method'?)" in what
    assert (
        "there is no 'zzz'" in what
        and "seed: " in what
        and "donor: is missing" in what
        and "seed: must be 0 or more" in what
    )
    assert all(name in caught.value.hint for name in Recipe.model_fields)


def test_wrong_fields_and_parameters_are_named_at_once() -> None:
    with pytest.raises(TokswapError) as caught:
        make_recipe(
            {**SMALL, "seed": -3, "calibrate": "maybe", "method": "omp", "parameters": {"kk": 3, "k": "x"}}
        )
    what, hint = caught.value.what, caught.value.hint
    assert all(part in what for part in ("seed: ", "calibrate: ", "no 'kk'", "k: "))
    assert "its fields are" in hint and "its parameters are k=" in hint
    with pytest.raises(TokswapError, match=r"seed: .*no method 'ompp'"):
        make_recipe({**SMALL, "seed": -3, "method": "ompp"})
    with pytest.raises(
        TokswapError
    ) as caught:  # the parameters of a method whose field is misspelt are no fault
        make_recipe({**SMALL, "metod": "omp", "parameters": {"k": 3}})
    assert "the method is auto" not in caught.value.what


@pytest.mark.parametrize(
    "fields",
    [
        {"base": 3},
        {"calibrate": "maybe"},
        {"pad_vocab_to": 0},
        {"map": {"a": ["b"]}},
        {"untie": "perhaps"},
        {1: 2},
        {"method": "a.b"},
    ],
)
def test_wrong_values_are_refused(fields: dict[Any, Any]) -> None:
    with pytest.raises(TokswapError):
        make_recipe({**SMALL, **fields})


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("chain+lexicon", "lexicon+chain"),
        ("fit-all+chain", "chain+fit-all"),
        ("fit", "fit"),
        ("auto", "auto"),
    ],
)
def test_stages_of_calibration_are_joined_in_their_order(given: str, kind: str) -> None:
    assert make_recipe({**SMALL, "calibrate": given}).calibrate == kind


@pytest.mark.parametrize(
    "given", ["", "+", "fit+fit-all", "chain+chain", "chain+shift", "chain,fit", "none+fit"]
)
def test_stages_that_do_not_go_together_are_refused(given: str) -> None:
    with pytest.raises(TokswapError, match="calibrate: "):
        make_recipe({**SMALL, "calibrate": given})


def test_parameters_are_typed_and_completed() -> None:
    recipe = make_recipe({**SMALL, "method": "omp", "parameters": {"k": "8"}})
    assert recipe.parameters == {"k": 8, "tolerance": 0.0, "rest": "drop"}
    subword = make_recipe({**SMALL, "method": "subword", "parameters": {"weights": "last", "decay": "0.25"}})
    assert subword.parameters == {"weights": "last", "output_weights": None, "decay": 0.25}


def test_every_method_takes_its_own_defaults() -> None:
    for method in methods().values():
        assert method.checked({}) == dict(method.defaults)
        assert method.checked(method.defaults) == dict(method.defaults)
        with pytest.raises(TokswapError, match=method.name):
            method.checked({"no_such_parameter": 1})


@pytest.mark.parametrize(
    ("method", "parameters", "sentence"),
    [
        ("omp", {"kk": 3, "tolerence": 1}, r"no 'kk'.*no 'tolerence' \(did you mean 'tolerance'\?\)"),
        ("omp", {"k": "many"}, "k: "),
        ("subword", {"weights": "middle"}, "weights: "),
        ("auto", {"k": 3}, "the method is auto"),
        ("ompp", {}, "no method 'ompp'"),
    ],
)
def test_wrong_parameters_are_named(method: str, parameters: Any, sentence: str) -> None:
    with pytest.raises(TokswapError, match=sentence):
        make_recipe({**SMALL, "method": method, "parameters": parameters})


def test_a_recipe_is_read_from_yaml(tmp_path: Path) -> None:
    recipe = make_recipe({**SMALL, "method": "omp", "map": {"<|x|>": "a b"}, "seed": 7})
    path = written(tmp_path, yaml.safe_dump(recipe.model_dump()))
    assert make_recipe(load_recipe(path)) == recipe


def test_aliases_are_refused_before_they_explode(tmp_path: Path) -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 40))
    with pytest.raises(TokswapError, match="aliases"):
        load_recipe(written(tmp_path, f"l0: &l0 [lol]\n{levels}\n"))
    with pytest.raises(TokswapError, match="aliases"):
        load_recipe(written(tmp_path, "base: &b x\ndonor: *b\n"))


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    with pytest.raises(TokswapError, match="larger than 1,000,000 bytes"):
        load_recipe(written(tmp_path, "#" * (MAX_RECIPE_BYTES + 1)))
    assert load_recipe(written(tmp_path, "base: x\n" + "#" * (MAX_RECIPE_BYTES - 8))) == {"base": "x"}


@pytest.mark.parametrize(
    "text",
    [
        "a: [", "- a\n- b\n", "", "just text", "a: \x00", b"\xff\xfe\x00", "a: !!python/object/apply:os.system [ls]",
        "a: 2024-13-45", "a: !!int x", "a: !!timestamp x", "a: !!bool x", "? [a]\n: b",
        "a: !!binary é", "a: " + "[" * 900_000, "a: " + "{b: " * 200_000, "- " * 400_000,
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(TokswapError) as caught:
        make_recipe(load_recipe(written(tmp_path, text)))
    assert caught.value.hint


def test_many_overrides_are_read_and_a_megabyte_of_them_is_refused(tmp_path: Path) -> None:
    fields = load_recipe(written(tmp_path, "map:\n" + "".join(f"  a{i}: b\n" for i in range(20_000))))
    assert len(fields["map"]) == 20_000
    with pytest.raises(TokswapError, match="YAML tokens"):
        load_recipe(written(tmp_path, "map:\n" + "".join(f"  a{i}: b\n" for i in range(70_000))))


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(TokswapError, match="can't be read"):
            load_recipe(path)


def test_identity_knows_the_recipe_and_not_its_order() -> None:
    fields = {
        **SMALL,
        "method": "subword",
        "parameters": {"weights": "last", "decay": 0.5},
        "map": {"a": "b", "c": "d"},
    }
    one = make_recipe(fields)
    backwards = {
        k: dict(reversed(v.items())) if isinstance(v, dict) else v for k, v in reversed(fields.items())
    }
    inputs = {"base": "1", "donor": "2"}
    identity = one.identity(inputs)
    assert make_recipe(backwards).identity(dict(reversed(inputs.items()))) == identity
    elsewhere = one.model_copy(
        update={"out": "/x", "evaluate": False, "device": "cuda", "evaluation_texts": ["t"]}
    )
    assert elsewhere.identity(inputs) == identity
    assert one.identity({**inputs, "base": "3"}) != identity


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"weights": "first"}}, {"method": "mean", "parameters": {}}, {"seed": 1}, {"untie": True},
        {"calibrate": "none"}, {"pad_vocab_to": 8}, {"pad_to_multiple_of": 8}, {"base": "x"}, {"map": {"a": "b"}},
        {"calibration_texts": ["t"]},
    ],
)  # fmt: skip
def test_identity_changes_with_whatever_decides_the_bytes(change: dict[str, Any]) -> None:
    fields = {**SMALL, "method": "subword"}
    assert make_recipe({**fields, **change}).identity({}) != make_recipe(fields).identity({})
