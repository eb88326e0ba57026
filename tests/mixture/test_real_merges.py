"""The merges of real tokenizers, against each other: some were published twice, once in order and once expanded."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from real_tokenizers import KNOWN, known_merges, tokenizer

from tokswap.mixture.merges import merge_list
from tokswap.mixture.prefixes import read_known
from tokswap.mixture.types import MergeList
from tokswap.mixture.words import word_spec

pytestmark = pytest.mark.real


def pairs_of(merges: MergeList) -> list[tuple[bytes, bytes]]:
    return [(merges.tokens[left], merges.tokens[right]) for left, right in merges.pairs]


def published(name: str) -> list[list[str]]:
    """The list in the file, of a tokenizer that was written as it was learnt."""
    merges = tokenizer(name)["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in merges]


def test_gpt_oss_gives_back_o200ks_list_in_order() -> None:
    found = merge_list(tokenizer("gptoss"))
    assert len(tokenizer("gptoss")["model"]["merges"]) == 446_189
    assert [[found.texts[a], found.texts[b]] for a, b in found.pairs] == published("gpt4o")
    assert len(found.pairs) == 199_742 and found.set_aside == 0
    assert found.shared_prefix == ("o200k", 199_742)


def test_llama_3_begins_with_all_of_cl100k() -> None:
    found = merge_list(tokenizer("llama3"), skip="auto")
    first = [[found.texts[a], found.texts[b]] for a, b in found.pairs[:100_000]]
    assert first == published("gpt35turbo")
    assert found.shared_prefix == ("cl100k", 100_000) and found.skip == 100_000
    assert len(found.pairs) + found.set_aside == 127_744


def test_qwen_has_cl100ks_merges_but_for_numbers() -> None:
    found = merge_list(tokenizer("qwen3"), skip="auto")
    kept = [
        pair
        for pair in pairs_of(merge_list(tokenizer("gpt35turbo")))
        if not re.search(rb"\d\d", b"".join(pair))
    ]
    assert len(kept) == 98_900 and pairs_of(found)[:98_900] == kept
    assert found.shared_prefix == ("cl100k", 98_900) and found.skip == 98_900


@pytest.mark.parametrize("name", ["gemma3", "gemini"])
def test_runs_that_gemmas_makers_put_in_are_set_aside(name: str) -> None:
    found = merge_list(tokenizer(name), skip="auto")
    assert any("90 runs of white space" in note for note in found.notes) and found.skip == 0
    assert found.set_aside < 100 and not {"▁▁", "\n\n", "\t\t"} & set(found.texts)
    spec = word_spec(tokenizer(name), found)
    assert (
        spec.runs
        and spec.spaces
        and spec.scripts
        and spec.marks_join
        and "0123456789\t\n" in spec.apart + "\r"
    )


def test_mistral_learnt_its_runs_of_spaces_first() -> None:
    found = merge_list(tokenizer("mistral"))
    assert [found.texts[result] for result in found.results[:3]] == ["▁▁", "▁▁▁▁", "▁t"]
    assert len(found.pairs) == 28_446 and found.set_aside == 0


@pytest.mark.parametrize("shown", ["GPT-2", "cl100k", "Mistral", "Claude"])
def test_fingerprints_are_those_of_the_real_lists(shown: str) -> None:
    assert known_merges(shown) == next(one for one in read_known() if one.name == shown)
    assert set(KNOWN) == {one.name for one in read_known()}
