"""What a trim saves and what it costs, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping

from tokswap.display.text import escape
from tokswap.plan import Plan, size_figures
from tokswap.report import Figure, Report
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import EXAMPLES, unreachable
from tokswap.trimming.counting import Counted
from tokswap.trimming.keep import Kept


def trim_report(
    plan: Plan, kept: Kept, before: Mapping[str, Counted], after: Mapping[str, Counted]
) -> Report:
    """Return the tokens that stay and why, the sizes, and each text's tokens `before` and `after`."""
    reach = unreachable(load_tokenizer(plan.tokenizer.tokenizer, "the new tokenizer"), plan.new_vocab)
    figures = {
        **_tokens(plan, kept),
        "unreachable": Figure(
            len(reach.unreachable), "tokens", note=f"of {reach.tried:,} tried: text never yields them"
        ),
        **_sizes(plan),
        **_text_figures(list(before.values()), list(after.values())),
    }
    texts = {
        name: Report("trimmed text", figures=_text_figures([before[name]], [after[name]], kept))
        for name in before
    }
    facts = {
        "base": plan.base.source,
        "out": plan.recipe.out,
        "tied": not plan.untied,
        "unreachable_examples": [escape(plan.new_vocab.bytes_of(i)) for i in reach.unreachable[:EXAMPLES]],
    }
    return Report("trim", facts, figures, {"texts": Report("texts", sections=texts)}, plan.warnings)


def _tokens(plan: Plan, kept: Kept) -> dict[str, Figure]:
    return {
        "base_tokens": Figure(len(plan.base_vocab), "tokens"),
        "kept": Figure(len(kept.ids), "tokens"),
        "kept_protected": Figure(kept.protected, "tokens", note="bytes, characters, special tokens"),
        "kept_used": Figure(kept.used, "tokens", note="used by the text"),
        "kept_needed": Figure(kept.needed, "tokens", note="what these are merged from"),
        "kept_filled": Figure(kept.filled, "tokens", note="more, in the order of their ids"),
        "coverage": Figure(kept.coverage, "share", note="of the text's tokens"),
        "base_rows": Figure(plan.base_vocab.rows, "rows"),
        "new_rows": Figure(plan.alignment.rows, "rows"),
    }


def _sizes(plan: Plan) -> dict[str, Figure]:
    sizes = size_figures(plan)
    before = sum(info.nbytes for info in plan.base.tensors.values())
    saved = sizes["base_parameters"].value - sizes["new_parameters"].value
    return {
        "base_parameters": sizes["base_parameters"],
        "new_parameters": sizes["new_parameters"],
        "parameters_saved": Figure(saved, "parameters"),
        "base_bytes": Figure(before, "bytes", note="of weights"),
        "bytes_to_write": sizes["bytes_to_write"],
        "bytes_saved": Figure(before - sizes["bytes_to_write"].value, "bytes"),
        "free_disk": sizes["free_disk"],
        "peak_memory": sizes["peak_memory"],
    }


def _text_figures(before: list[Counted], after: list[Counted], kept: Kept | None = None) -> dict[str, Figure]:
    bytes_ = sum(counted.bytes for counted in before)
    old, new = (sum(counted.tokens for counted in its) for its in (before, after))
    figures = {
        "text_bytes": Figure(bytes_, "bytes"),
        "base_bytes_per_token": Figure(bytes_ / max(old, 1), "bytes/token"),
        "bytes_per_token": Figure(bytes_ / max(new, 1), "bytes/token"),
        "token_ratio": Figure(new / max(old, 1), "x", note="tokens after over tokens before"),
    }
    if kept is not None:
        held = sum(int(counted.counts[kept.ids].sum()) for counted in before)
        figures["coverage"] = Figure(held / max(old, 1), "share", note="of the text's tokens")
    return figures
