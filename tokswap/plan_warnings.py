"""What a plan warns of: nothing here is an error, and all of it has cost people work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokswap.align import Alignment
from tokswap.auxiliary import DONOR
from tokswap.digits import differing_share
from tokswap.errors import TokswapError
from tokswap.methods import Method
from tokswap.pretokenizers import gguf_name
from tokswap.recipe import Recipe
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import digit_scheme, encode
from tokswap.vocab import Vocab, is_byte_level

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint
    from tokswap.evaluation.texts import Text

KEEP_DIGITS = "; --keep-digits base keeps the base's way where the donor can follow"

Side = tuple[Any, Vocab]
"""A tokenizer made to encode, and its vocabulary."""


def vocab_warnings(
    base: Checkpoint, donor: Checkpoint, old: Vocab, new: Vocab, alignment: Alignment
) -> list[str]:
    """Warn of how the models were made, tokens without rows, normalisers, patterns, a lost template, a missing eos."""
    out = [*base.notes, *donor.notes]
    for name, vocab, rows in (("base", old, old.rows), ("donor", new, alignment.rows)):
        outside = vocab.ids[vocab.ids >= rows]
        if len(outside):
            texts = ", ".join(repr(vocab.texts[vocab.position[int(i)]]) for i in outside[:3])
            out.append(f"{len(outside):,} tokens of the {name} have no row ({texts}): they are left out")
    before, after = _normaliser(base.tokenizer), _normaliser(donor.tokenizer)
    if before != after:
        out.append(
            f"the tokenizers normalise text differently: {before or 'not at all'}, then {after or 'not at all'}"
        )
    if is_byte_level(donor.tokenizer) and gguf_name(donor.tokenizer.get("pre_tokenizer")) is None:
        out.append(
            "the new tokenizer cuts text by a pattern that is none of llama.cpp's: a GGUF made of this model would "
            "cut text otherwise"
        )
    if base.tokenizer_config.get("chat_template") and not donor.tokenizer_config.get("chat_template"):
        out.append(
            "the base's chat template goes with its tokenizer, and the donor has none: conversations need a template "
            "written in the new tokenizer's special tokens"
        )
    if new.role_id("eos") is None and new.role_id("turn_end") is None:
        out.append("the new tokenizer names no eos token: generation stops at the length limit only")
    return out


def require_distinct(donor: Checkpoint) -> None:
    """Refuse a vocabulary that lists a piece twice: a GGUF converter would, after the checkpoint is written."""
    pieces = (donor.tokenizer.get("model") or {}).get("vocab")
    if not isinstance(pieces, list):
        return
    seen: set[str] = set()
    twice = [piece[0] for piece in pieces if piece[0] in seen or seen.add(piece[0])]
    if twice:
        raise TokswapError(
            f"{donor.source}: {len(twice):,} pieces of the new tokenizer are there twice, as {twice[0]!r}",
            "its tokenizer.json is damaged or made by hand: fetch it again from its origin",
        )


def cut_warnings(
    base: Checkpoint,
    old: Vocab,
    tokenizer: Mapping[str, Any],
    new: Vocab,
    texts: Mapping[str, Text],
    *,
    draft: bool = False,
) -> list[str]:
    """Warn of texts that the body has never seen cut as the new tokenizer cuts them: their beginnings, and numbers.

    A `draft` can't do anything about either: its tokenizer is the target's.
    """
    if base.tokenizer == tokenizer:
        return []
    before = load_tokenizer(base.tokenizer, f"the tokenizer of {base.source}"), old
    after = load_tokenizer(tokenizer, "the new tokenizer"), new
    return [*_first_space(before, after), *_numbers(before, after, texts, "" if draft else KEEP_DIGITS)]


def _first_space(before: Side, after: Side) -> list[str]:
    spaced = [_puts_space(*side) for side in (before, after)]
    if spaced[0] == spaced[1]:
        return []
    said = ("a space", "none") if spaced[1] else ("no space", "one")
    return [
        f"the new tokenizer puts {said[0]} before a text, and the base {said[1]}: its first word is read otherwise"
    ]


def _puts_space(engine: Any, vocab: Vocab) -> bool:
    (ids,) = encode(engine, ["word"])
    return b"".join(map(vocab.bytes_of, ids)).startswith(b" ")


def _numbers(before: Side, after: Side, texts: Mapping[str, Text], advice: str) -> list[str]:
    """Warn of numbers that are cut otherwise, with their share of `texts`."""
    schemes = digit_scheme(*before), digit_scheme(*after)
    differing, total = differing_share(before, after, texts.values())
    if not differing and schemes[0] == schemes[1]:
        return []
    share = f", which is {100 * differing / total:.1f} % of the evaluation text" if total else ""
    return [
        f"numbers are cut differently{share} (the base: {schemes[0]}; the new tokenizer: {schemes[1]})"
        f"{advice}"
    ]


def without_effect(
    recipe: Recipe, base: Checkpoint, method: Method, parameters: Mapping[str, Any]
) -> list[str]:
    """Warn of what was asked for and changes nothing."""
    out: list[str] = []
    if base.tied and parameters.get("output_weights") is not None:
        out.append("output_weights has no effect: the base is tied, and one matrix takes the input's weights")
    if method.space == "base" and recipe.auxiliary != DONOR:
        out.append(f"auxiliary has no effect: method {method.name} looks at no donor or auxiliary space")
    if (recipe.hypernet or recipe.predict_all) and not method.network:
        out.append(f"hypernet and predict_all have no effect: method {method.name} takes no network")
    if recipe.parallel_texts and not method.parallel:
        out.append(f"parallel_texts have no effect: method {method.name} looks at none")
    return out


def _normaliser(tokenizer: Mapping[str, Any]) -> str:
    """Name what a normaliser changes in a text; the space marks of SentencePiece change nothing."""
    found: list[str] = []

    def visit(part: Any) -> None:
        if isinstance(part, Mapping):
            if part.get("type") == "Sequence":
                for child in part.get("normalizers") or []:
                    visit(child)
            elif part.get("type") not in ("Replace", "Prepend"):
                found.append(str(part.get("type")))

    visit(tokenizer.get("normalizer"))
    return ", ".join(found)
