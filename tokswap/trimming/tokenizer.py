"""A tokenizer.json without some of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from tokswap.trimming.needs import merge_pairs


def trimmed_tokenizer(tokenizer: Mapping[str, Any], new_id: Mapping[int, int]) -> dict[str, Any]:
    """Return a parsed tokenizer.json with the tokens of `new_id` (old id → new) alone, everything else as it was.

    Merges stay in their order where both parts and the result do. Where the new ids leave gaps, added tokens are
    listed in the model's vocabulary too: the library would number them itself otherwise.
    """
    model = _trimmed_model(tokenizer["model"], new_id)
    added: list[dict[str, Any]] = [
        {**entry, "id": new_id[entry["id"]]}
        for entry in tokenizer.get("added_tokens") or []
        if entry["id"] in new_id
    ]
    added.sort(key=itemgetter("id"))
    ids = set(new_id.values())
    if isinstance(model["vocab"], dict) and max(ids, default=-1) != len(ids) - 1:
        model["vocab"] |= {entry["content"]: entry["id"] for entry in added}
    return {
        **tokenizer,
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "post_processor": _renumbered(tokenizer.get("post_processor"), new_id),
        "model": model,
    }


def _trimmed_model(model: Mapping[str, Any], new_id: Mapping[int, int]) -> dict[str, Any]:
    out = dict(model)
    if isinstance(model["vocab"], list):  # Unigram: an id is a place in the list
        out["vocab"] = [entry for old, entry in enumerate(model["vocab"]) if old in new_id]
        if model.get("unk_id") is not None:
            out["unk_id"] = new_id[model["unk_id"]]
        return out
    kept = {text: new_id[old] for text, old in model["vocab"].items() if old in new_id}
    out["vocab"] = kept
    if "merges" in model:
        out["merges"] = [
            [left, right]
            for left, right in merge_pairs(model)
            if left in kept and right in kept and left + right in kept
        ]
    return out


def _renumbered(step: Any, new_id: Mapping[int, int]) -> Any:
    """Give a post-processor the new numbers of the tokens that it puts around a text."""
    if not isinstance(step, Mapping):
        return step
    out = dict(step)
    if "processors" in out:
        out["processors"] = [_renumbered(part, new_id) for part in out["processors"]]
    for key in ("cls", "sep"):
        if out.get(key):
            text, old = out[key]
            out[key] = [text, new_id[old]]
    if out.get("special_tokens"):
        out["special_tokens"] = {
            name: {**token, "ids": [new_id[i] for i in token["ids"]]}
            for name, token in out["special_tokens"].items()
        }
    return out
