"""Checks of numbers against numbers: rows, ids and flags of configuration, tensors and tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokswap.embedding_roles import text_config, tie_flag, vocab_size
from tokswap.report import Figure
from tokswap.verification.check import Finding, failed, first_of, not_checked, passed, warned
from tokswap.verification.subject import Subject
from tokswap.vocab import Kind, Vocab


def rows(subject: Subject) -> Finding:
    """Configuration, embedding, head and bias have one and the same number of rows."""
    checkpoint = subject.checkpoint
    roles, declared = checkpoint.roles, vocab_size(checkpoint.config)
    if declared is None:
        return failed("config.json declares no vocab_size")
    found = {name: checkpoint.tensors[name].shape[0] for name in (roles.output, roles.bias) if name}
    extra = checkpoint.extra_rows
    wrong = [f"{name} has {count:,}" for name, count in found.items() if count != declared]
    if checkpoint.rows != declared and not wrong:
        wrong.insert(0, f"{roles.input} has {checkpoint.rows:,}")
    per_layer = text_config(checkpoint.config).get("vocab_size_per_layer_input")
    for name in roles.per_layer:
        if checkpoint.tensors[name].shape[0] != (per_layer or declared):
            wrong.append(f"{name} has {checkpoint.tensors[name].shape[0]:,}")
    if wrong:
        return failed(f"config.json declares {declared:,} rows, and {'; '.join(wrong)}")
    more = f", and {extra} more of the input" if extra else ""
    return passed(f"{declared:,} rows everywhere{more}", rows=Figure(declared, "rows"))


def ids_have_rows(subject: Subject) -> Finding:
    """Every token has a row; a special token without one crashes the model where a text names it."""
    vocab = subject.vocab
    outside = vocab.ids[vocab.ids >= vocab.rows + subject.extra_rows]
    if not len(outside):
        return passed(f"the highest of {len(vocab):,} ids is {vocab.max_id:,}, of {vocab.rows:,} rows")
    said = f"{len(outside):,} tokens have no row: {first_of(subject.names(outside))}"
    if all(vocab.is_special(int(i)) for i in outside):
        return warned(f"{said}; special tokens all, so no ordinary text yields them")
    return failed(said)


def tied(subject: Subject) -> Finding:
    """The tied flag of root and text configuration says what the tensors are."""
    checkpoint = subject.checkpoint
    flag, inner = tie_flag(checkpoint.config), text_config(checkpoint.config).get("tie_word_embeddings")
    roles = checkpoint.roles
    if isinstance(inner, bool) and flag is not None and inner != flag:
        return failed(f"tie_word_embeddings is {flag} at the root of config.json and {inner} inside")
    if flag is True and roles.output is not None:
        return failed(f"config.json says tied, and {roles.output} is stored with other values")
    if flag is False and roles.output is None:
        return failed("config.json says untied, and no output embedding is stored")
    kind = "tied: one stored matrix" if roles.output is None else f"untied: {roles.output} is stored"
    return passed(kind if flag is not None else f"{kind}; config.json leaves it to the architecture")


def special_ids(subject: Subject) -> Finding:
    """Every special id in config.json and generation_config.json names a token, bos and eos a special one."""
    vocab, wrong, odd = subject.vocab, list[str](), list[str]()
    extra = range(vocab.rows, vocab.rows + subject.extra_rows)
    for where, key, token_id in _named_ids(subject):
        if token_id in extra:  # an image's row, which no text names
            continue
        if token_id not in vocab.position:
            wrong.append(f"{where}: {key} = {token_id} is no token")
        elif key in ("bos_token_id", "eos_token_id") and not _is_control(vocab, token_id):
            text = vocab.texts[vocab.position[token_id]]
            wrong.append(f"{where}: {key} = {token_id} is the ordinary token {text!r}")
    for name in ("bos", "eos"):
        text = subject.checkpoint.tokenizer_config.get(f"{name}_token")
        text = text.get("content") if isinstance(text, Mapping) else text
        if isinstance(text, str) and text not in vocab.id_of_text:
            wrong.append(f"tokenizer_config.json: {name}_token {text!r} is no token")
        elif isinstance(text, str) and name == "bos":
            odd += _other_start(subject, vocab.id_of_text[text], text)
    if wrong:
        return failed("; ".join(wrong))
    return warned("; ".join(odd)) if odd else passed("all special ids name tokens")


def end_tokens(subject: Subject) -> Finding:
    """Whatever ends a turn or the text under this tokenizer stops generation."""
    from tokswap.verification.texts import rendered

    vocab = subject.vocab
    stops = _stops(subject)
    wanted = {vocab.role_id("eos")} - {None}
    chat = rendered(subject)
    if isinstance(chat, str):
        wanted |= {
            i
            for i, roles in vocab.roles.items()
            if "turn_end" in roles and vocab.texts[vocab.position[i]] in chat
        }
    if not wanted:
        return warned("the tokenizer names no eos token: generation stops at the length limit only")
    if not stops and not subject.checkpoint.tensors:
        return not_checked("a tokenizer alone generates nothing")
    if not stops:
        return failed("no eos_token_id is configured: generation never stops")
    missing = [vocab.texts[vocab.position[i]] for i in wanted if i is not None and i not in stops]
    if missing:
        return failed(f"generation doesn't stop at {first_of(sorted(map(repr, missing)))}")
    return passed(
        f"generation stops at {first_of(sorted(repr(vocab.texts[vocab.position[i]]) for i in wanted if i is not None))}"
    )


def no_duplicates(subject: Subject) -> Finding:
    """No two ordinary tokens have the same spelling: a GGUF converter refuses them."""
    vocab = subject.vocab
    seen: dict[str, int] = {}
    twice = [text for text in vocab.texts if seen.setdefault(text, len(seen)) != len(seen) - 1]
    if twice:
        return failed(f"{len(twice):,} tokens are there twice: {first_of(sorted(map(repr, set(twice))))}")
    return passed("every token's spelling is its own")


def shape_of_base(subject: Subject) -> Finding:
    """Head and bias are stored where the base stores them, or the head was untied on purpose."""
    if subject.base is None:
        return not_checked(subject.why_no_base)
    ours, theirs = subject.checkpoint.roles, subject.base.roles
    if ours.output is None and theirs.output is not None:
        return failed(f"the base stores a head of its own ({theirs.output}), and this folder none")
    if ours.bias is None and theirs.bias is not None:
        return failed(f"the base stores an output bias ({theirs.bias}), and this folder none")
    if ours.output is not None and theirs.output is None:
        return warned("the base is tied, and this folder stores a head of its own")
    return passed("head and bias as in the base")


def _named_ids(subject: Subject) -> Iterator[tuple[str, str, int]]:
    """Yield (file, key, id) of every id that a configuration names, lists taken apart; -1 stands for none."""
    config = subject.checkpoint.config
    parts: list[tuple[str, Mapping[str, Any]]] = [("config.json", config)]
    if (inner := text_config(config)) is not config:
        parts.append(("config.json (text)", inner))
    parts.append(("generation_config.json", subject.checkpoint.generation_config))
    for where, part in parts:
        for key, value in part.items():
            if key.endswith(("_token_id", "_token_index")):
                for token_id in value if isinstance(value, list) else [value]:
                    if isinstance(token_id, int) and token_id >= 0:
                        yield where, key, token_id


def _stops(subject: Subject) -> set[int]:
    """Return the ids at which transformers stops: those of the generation config, else of the config."""
    where = (
        "generation_config.json" if "eos_token_id" in subject.checkpoint.generation_config else "config.json"
    )
    return {i for place, key, i in _named_ids(subject) if key == "eos_token_id" and place.startswith(where)}


def _other_start(subject: Subject, token_id: int, text: str) -> list[str]:
    named = {i for _, key, i in _named_ids(subject) if key == "bos_token_id"}
    if not named or token_id in named:
        return []
    return [
        f"the tokenizer starts with {text!r} ({token_id}), the configuration says {first_of(sorted(map(str, named)))}"
    ]


def _is_control(vocab: Vocab, token_id: int) -> bool:
    return int(vocab.kinds[vocab.position[token_id]]) == Kind.SPECIAL
