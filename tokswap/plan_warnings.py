"""What a person should know of a plan before it is carried out, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokswap.align import Alignment
from tokswap.errors import TokswapError
from tokswap.evaluation.texts import default_texts
from tokswap.pretokenizers import gguf_name
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import digit_scheme, number_share
from tokswap.vocab import Vocab, is_byte_level

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint


def warnings_of(
    base: Checkpoint, donor: Checkpoint, old: Vocab, new: Vocab, alignment: Alignment
) -> list[str]:
    """Return what may surprise: tokens without rows, other normalisers, numbers, patterns, and a lack of ends."""
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
    out += _number_warnings(base, donor, old, new)
    if is_byte_level(donor.tokenizer) and gguf_name(donor.tokenizer.get("pre_tokenizer")) is None:
        out.append(
            "the new tokenizer cuts text by a pattern that is none of llama.cpp's: a GGUF made of this model would "
            "cut text otherwise"
        )
    if new.role_id("eos") is None and new.role_id("turn_end") is None:
        out.append("the new tokenizer names no eos token: generation stops at the length limit only")
    return out


def without_effect(base: Checkpoint, parameters: Mapping[str, Any]) -> list[str]:
    """Warn of what was asked for and can't be had, the head being the embedding."""
    if base.tied and parameters.get("output_weights") is not None:
        return ["output_weights has no effect: the base is tied, and one matrix takes the input's weights"]
    return []


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


def _number_warnings(base: Checkpoint, donor: Checkpoint, old: Vocab, new: Vocab) -> list[str]:
    """Warn where the two cut numbers otherwise, with the share of common texts that is at stake."""
    schemes = [
        digit_scheme(load_tokenizer(checkpoint.tokenizer, f"the tokenizer of {checkpoint.source}"), vocab)
        for checkpoint, vocab in ((base, old), (donor, new))
    ]
    if schemes[0] == schemes[1]:
        return []
    share = number_share(text for text in default_texts().values())
    return [
        f"the tokenizers cut numbers otherwise: {schemes[0]}, then {schemes[1]}; {100 * share:.1f} % of the bytes of "
        "common texts are in numbers of several digits"
    ]


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
