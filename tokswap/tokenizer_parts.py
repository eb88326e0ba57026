"""Parts of a parsed tokenizer.json, which may hold anything: taken apart and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokswap.errors import TokswapError

BROKEN = "the tokenizer.json is damaged or made by hand: fetch it again from its origin"
"""What to do about a file that no tokenizer library would have written."""
START_STEPS = ("TemplateProcessing", "BertProcessing", "RobertaProcessing")
"""Steps of a post-processor that may put a token before a text."""


def adds_bos(tokenizer: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> bool:
    """Tell whether encoding a text puts a start token before it: the post-processor decides, else the flag."""
    if any(s.get("type") in START_STEPS for s in steps(tokenizer.get("post_processor"), "processors")):
        return template_start(tokenizer) is not None
    return bool(tokenizer_config.get("add_bos_token"))


def template_start(tokenizer: Mapping[str, Any]) -> str | None:
    """Return the special token that the post-processor puts before a text, or None."""
    for step in steps(tokenizer.get("post_processor"), "processors"):
        if step.get("type") == "TemplateProcessing":
            first = next(iter(list_of(step.get("single"), "single")), None)
            special = first.get("SpecialToken") if isinstance(first, Mapping) else None
            return str(special["id"]) if isinstance(special, Mapping) and "id" in special else None
        if step.get("type") in START_STEPS:
            return str(next(iter(list_of(step.get("cls"), "cls")), ""))
    return None


def steps(component: Any, children: str) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a component one by one, those of a sequence (its list is called `children`) in their order."""
    if not isinstance(component, Mapping):
        return
    if component.get("type") == "Sequence":
        for child in list_of(component.get(children), children):
            yield from steps(child, children)
    else:
        yield component


def list_of(value: Any, name: str) -> Sequence[Any]:
    """Return a list, empty for none. Raises TokswapError for anything else."""
    if value is not None and not isinstance(value, list):
        raise TokswapError(f"the tokenizer's {name!r} is no list", BROKEN)
    return value or []


def section_of(value: Any, name: str) -> Mapping[str, Any]:
    """Return a section. Raises TokswapError where it is missing or no mapping."""
    if not isinstance(value, Mapping):
        raise TokswapError(f"the tokenizer has no {name!r} section", BROKEN)
    return value
