"""Which special tokens do the same thing in two chat templates, whatever they are called.

Both templates render one conversation. What a template writes between the messages falls into the end of a turn and
the opening of the next one; in each of these places special tokens are matched in their order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from tokswap.token_roles import CONTROL_NAME
from tokswap.tokenization import load_tokenizer
from tokswap.tokenizer_traits import encode
from tokswap.vocab import Vocab

if TYPE_CHECKING:
    from tokswap.checkpoint import Checkpoint

USER, ANSWER, AGAIN = "qzuser", "qzanswer", "qzagain"
"""What is said: words that no template contains, and that none strips or changes."""

PLACES = ("assistant_end", "assistant_open", "user_open", "user_end")
"""Where a template writes, first what the model itself emits; a token in several places is matched by the first."""


@dataclass(frozen=True)
class Written:
    """What a template writes in one place: `special` ids in order, and `name`, ids of the role's name in letters."""

    special: tuple[int, ...]
    name: tuple[int, ...]


def turn_places(config: Mapping[str, Any], tokenizer: Mapping[str, Any], vocab: Vocab) -> dict[str, Written]:
    """Return what the chat template of a tokenizer_config.json writes in each of `PLACES`, {} where that is unclear."""
    texts = place_texts(config)
    if not texts:
        return {}
    engine = load_tokenizer(tokenizer)
    out: dict[str, Written] = {}
    for place, ids in zip(texts, encode(engine, list(texts.values())), strict=True):
        # DeepSeek's `<｜User｜>` is a token like any other to its tokenizer.json.
        controls = [
            i for i in ids if vocab.is_special(i) or CONTROL_NAME.fullmatch(vocab.texts[vocab.position[i]])
        ]
        name = tuple(i for i in ids if i not in controls and vocab.bytes_of(i).strip().isalpha())
        out[place] = Written(tuple(controls), name)
    return out


def place_texts(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each of `PLACES`, {} without a template or for one that can't be taken apart.

    A template that opens no turn for the answer (Mistral's `[/INST]` ends the question) opens it with that end.
    """
    asked = _render(config, (USER, ANSWER, AGAIN), opened=False)
    if not all(text in asked for text in (USER, ANSWER, AGAIN)):
        return {}
    opened = _render(config, (USER, ANSWER, AGAIN), opened=True)
    answered = _render(config, (USER, ANSWER), opened=False)
    if ANSWER not in answered or not opened.startswith(asked):
        return {}
    assistant_end, between = answered.rpartition(ANSWER)[2], asked.partition(ANSWER)[2].partition(AGAIN)[0]
    if not between.startswith(assistant_end):  # Llama 3's first template always opens another turn
        assistant_end = between.removesuffix(_common_end(asked.partition(USER)[0], between))
    user_open = between.removeprefix(assistant_end)
    user_end, assistant_open = asked.rpartition(AGAIN)[2], opened.removeprefix(asked)
    if not assistant_open.strip():
        user_end, assistant_open = "", user_end + assistant_open
    return dict(zip(PLACES, (assistant_end, assistant_open, user_open, user_end), strict=True))


def _common_end(one: str, other: str) -> str:
    """Return what both texts end with, from where a control token can begin."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(reversed(one), reversed(other), strict=False))
    common = "".join(letter for letter, _ in same)[::-1]
    begins = re.search(r"[<\[]", common)
    return common[begins.start() :] if begins else ""


def match_turns(base: Mapping[str, Written], new: Mapping[str, Written]) -> dict[int, tuple[int, ...]]:
    """Return new special id → base ids whose row it gets, or whose rows are averaged, from both sides' places.

    A token that opens a turn and names its speaker by itself (`<|user|>`) gets all that the base opens it with
    (`<|im_start|>`, `user`). What one side lacks is left out.
    """
    out: dict[int, tuple[int, ...]] = {}
    for place in PLACES:
        old, fresh = base.get(place), new.get(place)
        if old is None or fresh is None or not old.special:
            continue
        if len(fresh.special) == 1 and old.name and not fresh.name:
            out.setdefault(fresh.special[0], (*old.special, *old.name))
        for new_id, base_id in zip(fresh.special, old.special, strict=False):
            out.setdefault(new_id, (base_id,))
    return out


def turn_overrides(
    base: tuple[Checkpoint, Vocab], target: tuple[Checkpoint, Vocab]
) -> dict[str, Sequence[str]]:
    """Return spelling of a target's special token → spellings of base tokens, from both chat templates."""
    (old, old_vocab), (new, new_vocab) = base, target
    places = turn_places(old.tokenizer_config, old.tokenizer, old_vocab)
    if not places:
        return {}
    matched = match_turns(places, turn_places(new.tokenizer_config, new.tokenizer, new_vocab))

    def spelt(vocab: Vocab, token_id: int) -> str:
        return vocab.texts[vocab.position[token_id]]

    return {spelt(new_vocab, i): [spelt(old_vocab, b) for b in ids] for i, ids in matched.items()}


def _render(config: Mapping[str, Any], said: Sequence[str], *, opened: bool) -> str:
    """Return a conversation as the template writes it, "" where it fails: a template is a program."""
    from transformers.utils.chat_template_utils import render_jinja_template

    from tokswap.verification.texts import MOST_STEPS, limited_steps

    template = _template(config)
    if not template:
        return ""
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]
    try:
        with limited_steps(MOST_STEPS):
            rendered: Any = render_jinja_template(
                [turns], chat_template=template, add_generation_prompt=opened, **_named_tokens(config)
            )
        return str(rendered[0][0])
    except Exception:  # whatever it raises, the answer is that it says nothing
        return ""


def _template(config: Mapping[str, Any]) -> str:
    """Return the template, of several the one that is called default."""
    found: Any = config.get("chat_template")
    if isinstance(found, list):
        named = {str(entry.get("name")): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else ""


def _named_tokens(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what templates call tokens by: bos_token, eos_token, … → their text."""
    out: dict[str, Any] = {}
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        value: Any = config.get(key)
        value = value.get("content") if isinstance(value, Mapping) else value
        out[key] = value if isinstance(value, str) else ""
    return out
